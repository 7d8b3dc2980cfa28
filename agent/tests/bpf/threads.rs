//! Which threads sleep: first threads and threads that launch, for how long, and who sleeps still.

use std::arch::naked_asm;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use warplens::bpf::Bpf;
use warplens::observe::now;
use wire::kernel::event_kind::{CPU_SAMPLE, LAUNCH_STACK, OFF_CPU_STACK};
use wire::kernel::{WAIT_MIN_NS, WaitEvent};

use crate::support::{drain, load, locate, stacks, tid, until, until_asleep, wait_for, waits};

fn asleep(bpf: &Bpf, tid: u32) -> Option<WaitEvent> {
    let mut found = None;
    bpf.sleepers(now().0, |wait| found = found.or(Some(wait).filter(|wait| wait.tid == tid)))
        .unwrap();
    found
}

/// `cat`: sleeps until it is told something, and says it back.
struct Echo {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Echo {
    fn start() -> Self {
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut echo = Self { child, to, from };
        // It has become `cat`, and sleeps.
        echo.ask();
        until_asleep(echo.pid());
        echo
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was woken at the earliest, and when it had answered.
    fn ask(&mut self) -> (u64, u64) {
        let woken = now().0;
        self.to.write_all(b"x").unwrap();
        let mut byte = [0];
        self.from.read_exact(&mut byte).unwrap();
        (woken, now().0)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_sleep_is_told_when_it_ends_and_seen_while_it_lasts() {
    let Some(mut bpf) = load() else { return };
    assert!(bpf.tells_threads());
    let mut echo = Echo::start();
    let pid = echo.pid();
    let before = now().0;
    bpf.watch(pid).unwrap();
    let after = now().0;
    // It slept before anybody watched: from then on is what is known.
    let first = until("the first sleep", || asleep(&bpf, pid));
    assert!((before..=after).contains(&first.from_ns), "{first:?} {before} {after}");
    assert_eq!((first.tgid, first.open), (pid, 1));
    let mut edges = Vec::new();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        // On a busy machine it may still be on its way there.
        until_asleep(pid);
        edges.push(echo.ask());
    }
    let last =
        until("the last sleep", || asleep(&bpf, pid).filter(|wait| wait.from_ns > edges[19].0));
    let told = waits(&drain(&mut bpf), pid);
    // Each ends when it was woken. Where it sleeps twice for one question, both are told.
    let ended: Vec<u64> = told.iter().map(|wait| wait.to_ns).collect();
    for (woken, answered) in edges {
        let within = |to: &&u64| (woken..=answered).contains(to);
        assert!(
            ended.iter().any(|to| within(&to)),
            "no sleep ended in [{woken}, {answered}]: {told:?}"
        );
    }
    assert_eq!(told[0].from_ns, first.from_ns);
    for pair in told.windows(2) {
        assert!(pair[0].to_ns < pair[1].from_ns, "{pair:?}");
    }
    assert!(told.iter().all(|wait| wait.open == 0 && wait.to_ns - wait.from_ns >= WAIT_MIN_NS));
    assert!(last.from_ns > told.last().unwrap().to_ns);
    let counters = bpf.counters().unwrap();
    assert_eq!((counters.waits_lost, counters.sleepers_full), (0, 0));
    assert!(counters.waits >= 20, "{counters:?}");
    bpf.unwatch(pid).unwrap();
    assert_eq!(asleep(&bpf, pid), None, "nobody asks for it any more");
}

#[test]
fn a_thread_that_never_sleeps_is_never_told() {
    let Some(mut bpf) = load() else { return };
    let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = child.id();
    bpf.watch(pid).unwrap();
    // Twice as many busy threads as this machine has CPUs: it is preempted.
    let mut others: Vec<Child> = (0..2)
        .map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
        .collect();
    let mut echo = Echo::start();
    bpf.watch(echo.pid()).unwrap();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        echo.ask();
    }
    let events =
        wait_for(&mut bpf, "sleeps of another", |events| !waits(events, echo.pid()).is_empty());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let voluntary = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .unwrap()
        .trim()
        .parse::<usize>()
        .unwrap();
    let told = waits(&events, pid);
    assert!(asleep(&bpf, pid).is_none());
    // Starting it reads files; what it waited for then may have been seen.
    assert!(told.len() <= voluntary, "{told:?}");
    let busy_from = told.last().map_or(0, |wait| wait.to_ns);
    assert!(now().0 - busy_from > 100_000_000, "{told:?}");
    for child in others.iter_mut().chain([&mut child]) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[unsafe(naked)]
extern "C" fn point(_correlation: u64, _weight: u64, _thread: u64, _key: u64) {
    naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "nop", "ret")
}

#[test]
fn where_sleeps_are_not_wanted_only_threads_that_launch_are_told() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let probe: extern "C" fn(u64, u64, u64, u64) = point;
    let (file, offset) = locate(probe as usize);
    bpf.watch_on_cpu(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    let (launching, idling) = std::thread::scope(|scope| {
        let launching = scope.spawn(|| {
            point(1, 1, 0, 0);
            std::thread::sleep(Duration::from_millis(5));
            tid()
        });
        let idling = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            tid()
        });
        (launching.join().unwrap(), idling.join().unwrap())
    });
    let events = drain(&mut bpf);
    let told = waits(&events, launching);
    assert!(
        told.iter().any(|wait| wait.tgid == pid && wait.to_ns - wait.from_ns > 4_000_000),
        "{told:?}"
    );
    assert_eq!(waits(&events, idling), []);
    assert!(stacks(&events, OFF_CPU_STACK).is_empty());
}

#[test]
fn of_a_process_watched_for_its_threads_nothing_else_is_told() {
    let Some(mut bpf) = load() else { return };
    let mut echo = Echo::start();
    let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    bpf.watch_threads(echo.pid()).unwrap();
    bpf.watch_threads(busy.id()).unwrap();
    assert!(bpf.start_cpu_sampling(999).unwrap() >= 1);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        echo.ask();
    }
    let events = wait_for(&mut bpf, "sleeps", |events| waits(events, echo.pid()).len() >= 10);
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(stacks(&events, CPU_SAMPLE).is_empty());
    assert!(stacks(&events, LAUNCH_STACK).is_empty());
}
