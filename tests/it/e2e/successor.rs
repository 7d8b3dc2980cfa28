//! An agent that is killed and the one after it: every record is read once, left in the ring for
//! the next, or counted as lost.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sim_truth::{Outcome, Truth};
use warplens::pipeline::Input;
use warplens::recording::Reader;
use warplens_tests::harness::agent::start_record;
use warplens_tests::harness::child::send;
use warplens_tests::harness::ring::{self, RingView};
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::kernel::event_kind;
use wire::shim::{Level, Payload, record_kind};

const LIMIT: Duration = Duration::from_secs(20);
/// The heartbeat's limit, a turn of the shim's thread, and a busy machine.
const DORMANT_LIMIT: Duration = Duration::from_millis(4500);
/// How soon a successor must have the worker.
const ATTACH_LIMIT: Duration = Duration::from_secs(5);

#[test]
fn every_record_around_a_killed_agent_is_seen_or_lost() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let arguments = ["--seconds", "0", "--rate", "4000", "--graphs", "20", "--threads", "2"];
    let mut worker = run.work(&arguments).unwrap();
    let pid = worker.pid();
    let view = || ring::look(pid).unwrap();
    let at_level =
        |level: Level| move |view: RingView| (view.level() == level as u32).then_some(());

    let (first, out) = start_record(pid, 60, run.folder(), "first").unwrap();
    wait::until(LIMIT, || ring::look(pid).and_then(at_level(Level::Stacks))).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    send(first.pid(), Signal::KILL);
    let killed = Instant::now();
    drop(first);
    let (_, taken_by_first) = view().positions();
    assert!(taken_by_first > 5_000, "the first agent took {taken_by_first} records");
    assert!(!out.exists(), "nothing half-written");

    // In the gap the worker goes on, and the shim goes dormant.
    wait::until(DORMANT_LIMIT, || ring::look(pid).and_then(at_level(Level::Dormant))).unwrap();
    let dormant = killed.elapsed();
    let (head, tail) = view().positions();
    assert_eq!(tail, taken_by_first, "nobody reads");
    assert!(head > tail, "what came until then waits in the ring");

    let begin = Instant::now();
    let (mut second, out) = start_record(pid, 3, run.folder(), "second").unwrap();
    wait::until(ATTACH_LIMIT, || ring::look(pid).and_then(at_level(Level::Stacks))).unwrap();
    let attached = begin.elapsed();
    let ended = second.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    wait::until(DORMANT_LIMIT, || ring::look(pid).and_then(at_level(Level::Dormant))).unwrap();
    let view = view();
    let (head, taken) = view.positions();
    let seen = recording(&out.join("recording.warplens"));
    println!(
        "dormant after {dormant:?}, attached after {attached:?}; records: first {taken_by_first}, \
         second {}, left {}, lost {}",
        seen.records.len(),
        head - taken,
        view.lost()
    );
    assert_eq!(view.lost(), 0);
    assert_eq!(
        taken - taken_by_first,
        seen.records.len() as u64,
        "the second begins where the first ended"
    );
    // Names and stacks are present for the second agent, too.
    assert_eq!(seen.kernels.difference(&seen.names).count(), 0, "kernels without a name");
    assert!(!seen.names.is_empty() && seen.stacks > 20, "{} stacks", seen.stacks);

    let activities = view.activities();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    let truth = Truth::read(&run.truth().join(format!("{pid}.truth"))).unwrap();
    let delivered =
        truth.joined().filter(|work| work.outcome() == Some(Outcome::Delivered)).count() as u64;
    assert_eq!(activities, delivered, "the shim saw what CUPTI delivered");
}

/// What a recording holds.
#[derive(Default)]
struct Seen {
    records: Vec<Payload>,
    /// Name ids of kernel records.
    kernels: HashSet<u32>,
    names: HashSet<u32>,
    stacks: u64,
}

fn recording(path: &Path) -> Seen {
    let mut reader = Reader::open(path).unwrap();
    let mut seen = Seen::default();
    while let Some(input) = reader.next_input().unwrap() {
        match input {
            Input::Records { payloads, .. } => seen.records.extend(payloads),
            Input::Name { id, .. } => {
                seen.names.insert(id);
            }
            Input::KernelEvent(bytes) => {
                let kind = bytes.first_chunk().copied().map(u32::from_ne_bytes);
                seen.stacks += u64::from(kind == Some(event_kind::LAUNCH_STACK));
            }
            _ => {}
        }
    }
    let kernels = seen
        .records
        .iter()
        .filter(|payload| payload[0] & u64::from(u16::MAX) == u64::from(record_kind::KERNEL));
    seen.kernels = kernels.map(|payload| u32::try_from(payload[4] >> 32).unwrap()).collect();
    seen
}
