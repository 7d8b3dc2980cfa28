//! Processes that forge what an interpreter keeps, and interpreters that fork, execute something
//! else and die while they are sampled: bounded work, and the record says how the walk ended.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wire::kernel::event_kind::{CPU_SAMPLE, LAUNCH_STACK};
use wire::kernel::{NO_OFFSET, PythonLayout, python_walk};
use wire::limits::PYTHON_FRAMES;

use crate::python::{interpreters, layout};
use crate::support::{Killed, drain, load, stacks, until, wait_for};

/// 3.12's, with the state in the program's own thread-local word.
fn forged(thread_state: i64) -> PythonLayout {
    PythonLayout { thread_state, ..layout(12, 0, 0, 0) }
}

#[test]
fn forged_structures_end_the_walk_and_nothing_else() {
    if load().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("forged");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bpf/forged.c");
    let status =
        Command::new("cc").args(["-O1", "-rdynamic", source, "-o"]).arg(&program).status().unwrap();
    assert!(status.success());
    let most = PYTHON_FRAMES;
    for (mode, outcome, frames) in [
        ("honest", python_walk::WHOLE, 5),
        ("itself", python_walk::TRUNCATED, most),
        ("circle", python_walk::TRUNCATED, most),
        ("endless", python_walk::TRUNCATED, most),
        ("wild", python_walk::FAULT, 3),
        ("kernel", python_walk::FAULT, 3),
        ("noncanonical", python_walk::FAULT, 3),
        ("overflow", python_walk::FAULT, 3),
        ("edge", python_walk::WHOLE, 5),
        ("across", python_walk::FAULT, 3),
        ("wild-state", python_walk::FAULT, 0),
        ("kernel-state", python_walk::FAULT, 0),
        ("wild-cframe", python_walk::FAULT, 0),
        ("no-frame", python_walk::WHOLE, 0),
        ("no-cframe", python_walk::WHOLE, 0),
        ("no-state", python_walk::NO_THREAD_STATE, 0),
    ] {
        forge(&program, mode, outcome, frames);
    }
}

fn forge(program: &Path, mode: &str, outcome: u32, frames: usize) {
    let Some(mut bpf) = load() else { return };
    let mut child = Killed(
        Command::new(program)
            .arg(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = child.0.id();
    let mut to = child.0.stdin.take().unwrap();
    let mut from = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let thread_state: i64 = from.next().unwrap().unwrap().parse().unwrap();
    bpf.watch(pid).unwrap();
    bpf.set_python(pid, &forged(thread_state)).unwrap();
    let file = program.canonicalize().unwrap();
    bpf.attach_probe(pid, &file).unwrap();
    to.write_all(b"\n").unwrap();
    assert_eq!(from.next().unwrap().unwrap(), "done");
    let events = drain(&mut bpf);
    let seen = stacks(&events, LAUNCH_STACK);
    assert_eq!(seen.len(), 1, "{mode}");
    let stack = seen[0];
    assert_eq!((stack.head.python, stack.python.len()), (outcome, frames), "{mode}");
    // Every frame is one of the program's; in `across` and the like the last one has none behind it.
    for (index, frame) in stack.python.iter().enumerate() {
        let index = index as u64;
        assert!((0x1000..=0x1000 + index).contains(&frame.code), "{mode} {index}: {frame:x?}");
        assert_eq!(frame.instruction, (1 << 55) - 1, "{mode}: {frame:x?}");
    }
    // The rest of the record does not suffer.
    assert!(stack.head.stack_bytes > 0, "{mode}");
    let counters = bpf.counters().unwrap();
    assert_eq!((counters.ring_full, counters.scratch_busy), (0, 0), "{mode}");
}

#[test]
fn a_layout_no_frame_can_have_is_refused() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let wrong = PythonLayout { code: 4096, ..forged(0) };
    let message = bpf.set_python(pid, &wrong).unwrap_err().to_string();
    assert!(message.contains("`code`"), "{message}");
    let wrong = PythonLayout { previous: NO_OFFSET, ..forged(0) };
    bpf.set_python(pid, &wrong).unwrap_err();
    bpf.forget_python(pid).unwrap();
}

/// Spins, forks children that spin and die, then becomes a program that is no Python.
const LIVES: &str = r"
import os, sys, threading, time
def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))
print(sys.version_info[1], flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=spin, args=(0.2,)) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        spin(0.01)
        os._exit(0)
    os.waitpid(child, 0)
spin(0.3)
os.execv('/bin/sh', ['sh', '-c', 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo over; read x'])
";

#[test]
fn what_forks_executes_and_dies_is_sampled_without_harm() {
    let Some(interpreter) = interpreters().into_iter().next() else {
        println!("SKIP hostile: no CPython 3.10 to 3.14 is installed");
        return;
    };
    let Some(mut bpf) = load() else { return };
    let mut child = Killed(
        Command::new(&interpreter)
            .args(["-c", LIVES])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = child.0.id();
    let mut to = child.0.stdin.take().unwrap();
    let mut from = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let minor: u64 = from.next().unwrap().unwrap().parse().unwrap();
    bpf.watch(pid).unwrap();
    // In every CPython that is here the first key of the C library is its.
    bpf.set_python(pid, &layout(minor, 0, 0, 0)).unwrap();
    assert!(bpf.start_cpu_sampling(999).unwrap() >= 1);
    to.write_all(b"\n").unwrap();
    let over = std::thread::spawn(move || from.next().unwrap().unwrap());
    let mut events = Vec::new();
    let start = Instant::now();
    while !over.is_finished() {
        events.extend(drain(&mut bpf));
        assert!(start.elapsed() < Duration::from_mins(1), "it never got there");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(over.join().unwrap(), "over");
    events.extend(drain(&mut bpf));
    let seen = stacks(&events, CPU_SAMPLE);
    assert!(seen.iter().all(|stack| stack.head.tgid == pid), "children are nobody's");
    let exec =
        events.iter().rposition(|event| event.is_exec(pid)).expect("it became another program");
    let (before, after) = events.split_at(exec);
    let before = stacks(before, CPU_SAMPLE);
    let with_python = before.iter().filter(|stack| !stack.python.is_empty()).count();
    assert!(with_python * 10 >= before.len() * 8, "{with_python} of {}", before.len());
    let after = stacks(after, CPU_SAMPLE);
    assert!(!after.is_empty());
    for stack in after {
        assert_eq!((stack.head.python, stack.python.len()), (python_walk::NONE, 0), "{stack:?}");
    }

    // It dies while it is sampled, and its number is nobody's.
    drop(child);
    let path = format!("/proc/{pid}");
    until("end", || (!Path::new(&path).exists()).then_some(()));
    wait_for(&mut bpf, "its end", |events| events.iter().any(|event| event.is_exit(pid)));
    drain(&mut bpf);
    std::thread::sleep(Duration::from_millis(20));
    assert!(stacks(&drain(&mut bpf), CPU_SAMPLE).is_empty());
    bpf.unwatch(pid).unwrap();
}
