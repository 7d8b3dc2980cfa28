//! Starts and ends of processes.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use warplens::bpf::Bpf;
use warplens::bpf::host::Host;
use wire::kernel::event_kind::{EXEC, EXIT};

use crate::support::{Event, drain, load_for, wait_for};

/// As `doctor` calls what these tests need.
const PROCESSES: &str = "process starts and ends";

fn load() -> Option<Bpf> {
    load_for(&[PROCESSES])
}

fn count(events: &[Event], kind: u32, tgid: u32) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, Event::Process(event) if event.kind == kind && event.tgid == tgid))
        .count()
}

#[test]
fn an_execution_and_the_end_of_a_watched_child_are_seen_once() {
    let Some(mut bpf) = load() else { return };
    let sleeper = || Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let (mut watched, mut other) = (sleeper(), sleeper());
    let (pid, stranger) = (watched.id(), other.id());
    bpf.watch(pid).unwrap();
    // `spawn` returns while the child is still inside its execution: killed there, it never
    // completes one.
    let mut events = wait_for(&mut bpf, "executions", |events| {
        [pid, stranger].iter().all(|&child| count(events, EXEC, child) > 0)
    });
    for child in [&mut other, &mut watched] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    events.extend(wait_for(&mut bpf, "end of the child", |events| count(events, EXIT, pid) > 0));
    events.extend(drain(&mut bpf));
    assert_eq!((count(&events, EXEC, pid), count(&events, EXIT, pid)), (1, 1));
    assert_eq!((count(&events, EXEC, stranger), count(&events, EXIT, stranger)), (1, 0));
    // It removed itself, so that its number means nobody: no second end can be told.
    bpf.unwatch(pid).unwrap();
    assert_eq!(bpf.counters().unwrap().process_events_lost, 0);
}

#[test]
fn the_end_of_a_thread_is_not_the_end_of_its_process() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    bpf.watch(pid).unwrap();
    for _ in 0..20 {
        std::thread::spawn(|| ()).join().unwrap();
    }
    // The execution of a later child proves that everything before it has arrived.
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let events =
        wait_for(&mut bpf, "execution of the child", |events| count(events, EXEC, child.id()) > 0);
    assert_eq!(count(&events, EXIT, pid), 0);
}

/// Holds a second thread of a child until the parent closes the pipe.
extern "C" fn wait_for_pipe(argument: *mut libc::c_void) -> *mut libc::c_void {
    let mut byte = 0_u8;
    // SAFETY: `byte` lives through the call; the descriptor is the child's end of the pipe.
    unsafe { libc::read(argument as libc::c_int, (&raw mut byte).cast(), 1) };
    std::ptr::null_mut()
}

/// In the child: ends the first thread while a second one waits on the pipe.
fn leave_a_thread_behind(pipe: [libc::c_int; 2]) {
    let mut thread: libc::pthread_t = 0;
    let argument = pipe[0] as *mut libc::c_void;
    // SAFETY: the child's own descriptor, which nothing else uses.
    unsafe { libc::close(pipe[1]) };
    // SAFETY: `thread` has room for the handle; the function takes the descriptor as its argument.
    unsafe { libc::pthread_create(&raw mut thread, std::ptr::null(), wait_for_pipe, argument) };
    // SAFETY: ends this thread and touches nothing.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// On kernels that do not tell the last thread from others it ends with the first, as `doctor` says there.
#[test]
fn a_process_ends_with_its_last_thread_not_its_first() {
    let Some(mut bpf) = load() else { return };
    let mut pipe = [0; 2];
    // SAFETY: `pipe` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child calls nothing but the C library until it ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        leave_a_thread_behind(pipe);
        unreachable!("the first thread has ended");
    }
    assert!(child > 0);
    let pid = child.cast_unsigned();
    bpf.watch(pid).unwrap();
    let first_thread_ended = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") Z ")
    };
    while !first_thread_ended() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(), 2);
    let early = count(&drain(&mut bpf), EXIT, pid);
    for end in pipe {
        // SAFETY: the parent's own descriptors, not used afterwards.
        unsafe { libc::close(end) };
    }
    if Host::read().tells_last_exits() {
        assert_eq!(early, 0);
        let events = wait_for(&mut bpf, "end of the child", |events| count(events, EXIT, pid) > 0);
        assert_eq!(count(&events, EXIT, pid), 1);
    } else {
        println!("this kernel tells the end of the first thread only");
        assert_eq!(early, 1);
    }
    let mut status = 0;
    // SAFETY: `status` lives through the call; the child is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
}
