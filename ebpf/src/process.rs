//! Hook: raw tracepoints `sched_process_exec` and `sched_process_exit`. Rate: as processes and
//! threads come and go on the host. Cost: one small record, or a few look-ups.
//!
//! Executions are told of every process, because a worker is discovered by them; ends only of
//! watched ones.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use wire::kernel::event_kind;

use crate::emit;
use crate::filter::Task;
use crate::maps::{IN_LAUNCH, LAUNCHERS, PYTHONS, SLEEPERS, WATCHED};

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
    ended(last & 0xff != 0)
}

/// For kernels before that: the first thread ends. It may leave other threads behind, so the
/// agent looks whether the process is still there.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn leader_exit(_: RawTracePointContext) -> u32 {
    let task = Task::current();
    ended(task.tgid == task.tid)
}

#[inline(always)]
fn ended(whole_process: bool) -> u32 {
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
        emit::process(event_kind::EXIT, task);
    }
    0
}
