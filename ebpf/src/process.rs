//! Hook: raw tracepoints `sched_process_exec` and `sched_process_exit`. Rate: as processes and
//! threads come and go on the host. Cost: one small record, or a few look-ups.
//!
//! Executions are told of every process, because a worker is discovered by them; ends only of
//! watched ones.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use wire::kernel::event_kind;

use crate::emit;
use crate::filter::Task;
use crate::maps::{IN_LAUNCH, LAUNCHERS, PYTHONS, SLEEPERS, WATCHED};

/// Offset of `task_struct.exit_code`; the agent stores it before loading (`wire::kernel::task`). 0: not known.
#[unsafe(no_mangle)]
static TASK_EXIT_CODE_OFFSET: u32 = 0;

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(_: RawTracePointContext) -> u32 {
    let task = Task::current();
    // The interpreter is gone with the program it was.
    let _ = PYTHONS.remove(task.tgid);
    emit::process(event_kind::EXEC, task);
    0
}

/// For kernels whose tracepoint has a second argument: the last thread of its process ends.
/// Elsewhere the kernel refuses to attach a program that reads it.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(ctx: RawTracePointContext) -> u32 {
    let last: u64 = ctx.arg(1);
    // A C `bool` in a 64-bit slot: only the low byte is defined.
    ended(ctx.arg(0), last & 0xff != 0)
}

/// For kernels before that: the first thread ends. It may leave other threads behind, so the
/// agent looks whether the process is still there.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn leader_exit(ctx: RawTracePointContext) -> u32 {
    let task = Task::current();
    ended(ctx.arg(0), task.tgid == task.tid)
}

/// Of the `task_struct` at this address: what its process will be reaped with, which the kernel sets before it says
/// that a thread ends.
#[inline(always)]
fn status(task: u64) -> Option<u32> {
    // SAFETY: a static of this program that the loader filled; volatile, or the compiler would
    // take the value it sees here.
    let offset = unsafe { core::ptr::read_volatile(&raw const TASK_EXIT_CODE_OFFSET) };
    if offset == 0 {
        return None;
    }
    let address = (task + u64::from(offset)) as *const c_void;
    // SAFETY: the helper checks the address and answers with an error where it is not readable.
    unsafe { bpf_probe_read_kernel(address.cast::<u32>()) }.ok()
}

#[inline(always)]
fn ended(address: u64, whole_process: bool) -> u32 {
    let task = Task::current();
    // Absent unless the thread was killed inside a launch; then its number must not be inherited.
    let _ = IN_LAUNCH.remove(task.key());
    // Its number will be another thread's.
    let _ = LAUNCHERS.remove(task.tid);
    let _ = SLEEPERS.remove(task.tid);
    if whole_process && task.is_watched() {
        // The next process of this number is nobody we know.
        let _ = WATCHED.remove(task.tgid);
        let _ = PYTHONS.remove(task.tgid);
        emit::exit(task, status(address));
    }
    0
}
