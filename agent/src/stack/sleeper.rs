//! A thread that slept already when its process was met, read from outside: nothing tells the kernel
//! programs of it before it wakes, which in a server without requests is never.
//!
//! Of its registers the system tells two. The others are taken for zero: a function whose frame hangs on
//! one of them leads to no stack, and the walk is cut there, not led astray.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use wire::kernel::{StackCopy, event_kind, python_walk, stack_flag};
use wire::limits::STACK_COPY_BYTES;
use zerocopy::FromZeros;

use super::maker::FIRST_ARGUMENT;
use crate::proc::Blocked;
use crate::python::{Runtime, Walked};

/// DWARF numbers of `rsp` and the instruction pointer.
const STACK_POINTER: usize = 7;
const INSTRUCTION: usize = 16;

/// Bytes that a function may use below the stack pointer (System V ABI, AMD64, 3.2.2).
const RED_ZONE: u64 = 128;

/// A thread's stack as far as it can be had from outside.
pub(super) struct Sleeper {
    pub(super) head: StackCopy,
    pub(super) python: Walked,
    pub(super) bytes: Vec<u8>,
}

impl Sleeper {
    /// `None`: the thread does not sleep, or ran while it was read.
    pub(super) fn read(
        pid: u32,
        tid: u32,
        runtime: Option<&Runtime>,
        signature: u64,
    ) -> Option<Self> {
        let before = (Blocked::read(pid, tid)?, switches(pid, tid)?);
        let (blocked, _) = before;
        let mut head = StackCopy::new_zeroed();
        head.kind = event_kind::STACK_COPY;
        head.of = event_kind::OFF_CPU_STACK;
        head.tgid = pid;
        head.tid = tid;
        head.key = signature;
        head.flags = stack_flag::IN_KERNEL;
        head.syscall = blocked.syscall;
        head.registers[FIRST_ARGUMENT] = blocked.arguments[0];
        head.registers[STACK_POINTER] = blocked.stack_pointer;
        head.registers[INSTRUCTION] = blocked.instruction;
        head.stack_start = blocked.stack_pointer.saturating_sub(RED_ZONE);
        let bytes = stack(pid, head.stack_start)?;
        if bytes.len() == STACK_COPY_BYTES {
            head.flags |= stack_flag::STACK_LONGER;
        }
        let nothing = Walked { frames: Vec::new(), end: python_walk::NONE, holds_gil: false };
        let python = runtime.map_or(nothing, |runtime| runtime.walk(tid));
        head.python = python.end;
        if python.holds_gil {
            head.flags |= stack_flag::HOLDS_GIL;
        }
        (Some(before) == Some((Blocked::read(pid, tid)?, switches(pid, tid)?))).then_some(Self {
            head,
            python,
            bytes,
        })
    }
}

/// How often the thread went to sleep.
fn switches(pid: u32, tid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// Up to [`STACK_COPY_BYTES`] from `start` on, as far as they are mapped.
fn stack(pid: u32, start: u64) -> Option<Vec<u8>> {
    // The file offset is signed, and no user memory lies in the upper half.
    i64::try_from(start).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; STACK_COPY_BYTES];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match memory.read_at(rest, start.checked_add(filled as u64)?) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    bytes.truncate(filled);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_sleeping_thread_is_read() {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            stopped.recv().unwrap_err();
        });
        let (pid, tid) = (std::process::id(), told.recv().unwrap());
        let sleeper = std::iter::repeat_with(|| Sleeper::read(pid, tid, None, 7))
            .take(100_000)
            .flatten()
            .find(|sleeper| sleeper.head.syscall == 202)
            .unwrap();
        assert_eq!(sleeper.head.key, 7);
        assert!(sleeper.bytes.len() > 256);
        drop(stop);
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_that_runs_is_not_read() {
        let (tell, told) = std::sync::mpsc::channel();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let (pid, tid) = (std::process::id(), told.recv().unwrap());
        assert!((0..100).all(|_| Sleeper::read(pid, tid, None, 7).is_none()));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        thread.join().unwrap();
    }
}
