//! Where threads sleep: places told apart, time exact, stacks now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use warplens::bpf::Setup;
use warplens::observe::now;
use wire::kernel::event_kind::OFF_CPU_STACK;
use wire::kernel::{OFF_CPU_MIN_NS, SLEPT_BEFORE, WaitEvent, stack_flag};
use wire::limits::OFF_CPU_STACKS;

use crate::python::{Python, interpreters, walked};
use crate::support::{Event, Stack, drain, load, load_with, stacks, tid, until_asleep, waits};

/// Sleeps of a thread by where they were: how many, and ns in all.
fn by_place(waits: &[WaitEvent]) -> BTreeMap<u64, (u64, u64)> {
    let mut places = BTreeMap::new();
    for wait in waits {
        let (times, ns) = places.entry(wait.signature).or_insert((0, 0));
        *times += 1;
        *ns += wait.to_ns - wait.from_ns;
    }
    places
}

fn of_thread(events: &[Event], tid: u32) -> Vec<&Stack> {
    stacks(events, OFF_CPU_STACK).into_iter().filter(|stack| stack.head.tid == tid).collect()
}

#[inline(never)]
fn nap(ns: u64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::try_from(ns).unwrap() };
    // SAFETY: the time is read only; nobody asks for the rest.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

#[inline(never)]
fn short(ns: u64) {
    nap(ns);
    std::hint::black_box(());
}

#[inline(never)]
fn long(ns: u64) {
    let room = std::hint::black_box([0_u8; 3000]);
    nap(ns);
    std::hint::black_box(&room);
}

const PLACES: [(fn(u64), u64); 2] = [(short, 3_000_000), (long, 5_000_000)];

/// How often this thread has slept: a timer may end before its thread has gone to sleep.
fn slept() -> u64 {
    let mut usage = std::mem::MaybeUninit::uninit();
    // SAFETY: room for what the call writes.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) }, 0);
    // SAFETY: written above.
    let usage: libc::rusage = unsafe { usage.assume_init() };
    u64::try_from(usage.ru_nvcsw).unwrap()
}

/// A sleep whose end the kernel does not tell is told with the thread's next one, which this is.
fn once_more() {
    nap(3_000_000);
}

#[test]
fn two_places_are_told_apart_and_each_nanosecond_is() {
    let Some(mut bpf) = load() else { return };
    bpf.watch(std::process::id()).unwrap();
    let times = 30;
    let (mine, own) = std::thread::spawn(move || {
        let mut own = [(0, 0); 2];
        for _ in 0..times {
            for (index, (function, ns)) in PLACES.into_iter().enumerate() {
                let (clock, before) = (Instant::now(), slept());
                function(ns);
                own[index].0 += slept() - before;
                own[index].1 += u64::try_from(clock.elapsed().as_nanos()).unwrap();
            }
        }
        once_more();
        (tid(), own)
    })
    .join()
    .unwrap();
    let events = drain(&mut bpf);
    let places = by_place(&waits(&events, mine));
    let seen = of_thread(&events, mine);
    let counters = bpf.counters().unwrap();
    for ((function, asked), (times, own)) in PLACES.into_iter().zip(own) {
        let start = function as usize as u64;
        let here: Vec<_> = seen
            .iter()
            .filter(|stack| {
                stack.chain().iter().any(|address| (start..start + 200).contains(address))
            })
            .collect();
        let signatures: BTreeSet<u64> = here.iter().map(|stack| stack.head.key).collect();
        assert_eq!(signatures.len(), 1, "{seen:?}");
        let head = here[0].head;
        assert_ne!(head.flags & stack_flag::IN_KERNEL, 0);
        assert_eq!(i64::from(head.syscall), libc::SYS_clock_nanosleep);
        assert!(head.kernel_frames > 2, "{head:?}");
        // A second apart; the whole may take several on a machine with much else to do.
        assert!(here.len() as u64 <= 2 + own * 3 / 1_000_000_000, "{}", here.len());
        let (count, ns) = places[&head.key];
        assert_eq!(count, times, "{places:?} {seen:?}");
        assert!(ns <= own, "{ns} of {own}");
        // A timer starts shortly before its thread leaves the CPU.
        assert!(ns >= asked * count * 98 / 100, "{ns} of {}", asked * count);
    }
    assert_eq!((counters.waits_lost, counters.sleepers_full, counters.scratch_busy), (0, 0, 0));
}

/// Sleeps at a depth of its own.
#[inline(never)]
fn deep(depth: u32, ns: u64) {
    if depth == 0 {
        nap(ns);
    } else {
        deep(depth - 1, ns);
    }
    std::hint::black_box(());
}

#[test]
fn a_thread_that_sleeps_everywhere_is_held_to_its_budget() {
    let Some(mut bpf) = load() else { return };
    bpf.watch(std::process::id()).unwrap();
    let clock = Instant::now();
    let (mine, slept) = std::thread::spawn(|| {
        let before = slept();
        (0..400).for_each(|depth| deep(depth, 1_500_000));
        let slept = slept() - before;
        once_more();
        (tid(), slept)
    })
    .join()
    .unwrap();
    let seconds = clock.elapsed().as_secs();
    let events = drain(&mut bpf);
    let told = waits(&events, mine);
    let counters = bpf.counters().unwrap();
    let known = told.len() as u64 + counters.short_sleeps;
    assert!(known >= slept, "{} {slept} {counters:?}", told.len());
    let places = by_place(&told).len() as u64;
    assert!(places >= 300, "{places}");
    let taken = of_thread(&events, mine).len() as u64;
    // What may be taken at once, and then as many a second.
    let most = OFF_CPU_STACKS * (2 + seconds) + 1;
    assert!((OFF_CPU_STACKS..=most).contains(&taken), "{taken} in {seconds} s");
    assert!(counters.off_cpu_over_budget >= places - taken, "{counters:?}");
}

#[test]
fn short_sleeps_are_only_counted() {
    let setup = Setup { off_cpu_min_ns: 20_000_000, ..Setup::default() };
    let Some(mut bpf) = load_with(setup) else { return };
    bpf.watch(std::process::id()).unwrap();
    let mine = std::thread::spawn(|| {
        (0..10).for_each(|_| short(2_000_000));
        (0..5).for_each(|_| long(30_000_000));
        once_more();
        tid()
    })
    .join()
    .unwrap();
    let events = drain(&mut bpf);
    let told = waits(&events, mine);
    assert!(told.iter().all(|wait| wait.to_ns - wait.from_ns >= 20_000_000), "{told:?}");
    let counters = bpf.counters().unwrap();
    let long = told.iter().filter(|wait| wait.to_ns - wait.from_ns >= 29_000_000).count() as u64;
    assert!(long >= 5, "{told:?}");
    // On a machine with much else to do a short sleep may have become a long one.
    let rest = 15_u64.saturating_sub(told.len() as u64);
    assert!(counters.short_sleeps >= rest, "{counters:?}");
    assert!(counters.short_sleep_ns >= rest * 1_900_000, "{counters:?}");
}

#[test]
fn lines_and_callers_of_a_python_program_are_told_apart() {
    let found = interpreters();
    if found.is_empty() {
        println!("SKIP sleeps: no CPython 3.10 to 3.14 is installed");
    }
    for interpreter in found {
        python_places(&interpreter);
    }
}

fn python_places(interpreter: &Path) {
    let Some(mut bpf) = load() else { return };
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bpf/sleeps.py"));
    let mut python = Python::start(interpreter, &[script]);
    let pid = python.pid();
    until_asleep(pid);
    let before = now().0;
    bpf.watch(pid).unwrap();
    let after = now().0;
    bpf.set_python(pid, &python.layout).unwrap();
    // Three threads sleep already: since when or where, nobody saw.
    std::thread::sleep(std::time::Duration::from_nanos(2 * OFF_CPU_MIN_NS));
    let mut asleep = Vec::new();
    bpf.all_sleepers(now().0, |wait| asleep.push(wait)).unwrap();
    assert_eq!(asleep.len(), 3, "{asleep:?}");
    assert!(
        asleep.iter().all(|wait| {
            wait.signature == SLEPT_BEFORE
                && wait.tgid == pid
                && (before..=after).contains(&wait.from_ns)
        }),
        "{asleep:?} {before} {after}"
    );
    let mut told = Vec::new();
    bpf.sleepers(now().0, |wait| told.push(wait.tid)).unwrap();
    assert_eq!(told, [pid]);

    python.go_on();
    let truth = python.line();
    let events = drain(&mut bpf);
    let places = by_place(&waits(&events, pid));
    let seen = of_thread(&events, pid);
    assert!(seen.iter().all(|stack| stack.head.python_frames > 0), "{seen:?}");
    let codes = truth["codes"].as_array().unwrap();
    let line_of = |code: u64, offset: i64| -> Option<u64> {
        let lines = codes.iter().find(|known| known[0] == code)?[1].as_array().unwrap();
        let range = lines.iter().find(|line| {
            (line[0].as_i64().unwrap()..line[1].as_i64().unwrap()).contains(&offset)
        })?;
        range[2].as_u64()
    };
    // What the stacks of each signature say of where it is: line and caller. The way of a call through
    // the interpreter changes as it warms up, so a place may have several.
    let mut places_of: BTreeMap<(u64, Option<u64>, u64), BTreeSet<u64>> = BTreeMap::new();
    for stack in &seen {
        let frames = walked(python.minor, &stack.python);
        let (leaf, offset) = frames[0];
        let caller = frames.get(1).map_or(0, |(caller, _)| *caller);
        let place = (leaf, line_of(leaf, offset), caller);
        places_of.entry(place).or_default().insert(stack.head.key);
    }
    let mut signatures: Vec<u64> = places_of.values().flatten().copied().collect();
    signatures.sort_unstable();
    let stacks_of = signatures.len();
    signatures.dedup();
    if python.minor >= 11 {
        assert_eq!(signatures.len(), stacks_of, "one signature for two places: {places_of:?}");
    }
    // Every sleep was at a place that there is a stack of, but for the one before it was watched.
    let unknown: Vec<_> = places.keys().filter(|key| !signatures.contains(key)).collect();
    assert_eq!(unknown, [&SLEPT_BEFORE], "{places:?}");

    let code = |index: usize| codes[index][0].as_u64().unwrap();
    let own = |name: &str| truth["slept"][name].as_u64().unwrap();
    // Sleeps at places of this function, and callers: how many, and ns.
    let told_at = |leaf: u64, line: Option<u64>, caller: Option<u64>| -> (u64, u64) {
        let keys: BTreeSet<u64> = places_of
            .iter()
            .filter(|((code, at, _), _)| *code == leaf && (line.is_none() || *at == line))
            .filter(|((_, _, code), _)| caller.is_none_or(|caller| caller == *code))
            .flat_map(|(_, keys)| keys.iter().copied())
            .collect();
        let told = keys.iter().filter_map(|key| places.get(key));
        told.fold((0, 0), |sum, (times, ns)| (sum.0 + times, sum.1 + ns))
    };
    // Each place is slept at twenty times.
    let check = |name: &str, (times, ns): (u64, u64), places: u64, asked: u64, own: u64| {
        assert_eq!(times, 20 * places, "{name}");
        let least = asked * times * 97 / 100 / 20 / places;
        assert!(ns <= own && ns >= least, "{name}: {ns} of {least} to {own}");
    };
    let first_line = codes[0][2].as_u64().unwrap();
    for (name, asked, behind) in
        [("first", 80_000_000, 2), ("second", 140_000_000, 5), ("third", 220_000_000, 8)]
    {
        let told = told_at(code(0), Some(first_line + behind), None);
        check(name, told, 1, asked, own(name));
    }
    if python.minor >= 11 {
        check("one", told_at(code(3), None, Some(code(1))), 1, 100_000_000, own("one"));
        check("two", told_at(code(3), None, Some(code(2))), 1, 180_000_000, own("two"));
    } else {
        // Frames are objects of their own: callers are told apart by their stacks only.
        let own = own("one") + own("two");
        check("nap", told_at(code(3), None, None), 2, 280_000_000, own);
    }
}
