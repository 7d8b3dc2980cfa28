//! Hook: raw tracepoint `sched_switch`. Rate: every context switch of the host. Cost: one look-up
//! for the thread that leaves, if it goes to sleep, and one for the thread that comes; a record when
//! a watched thread slept for long.
//!
//! Told first are the first thread of a watched process and threads seen launching: an engine waits in
//! the former, and only the latter decide when the device gets its next work. Of processes with stacks every
//! other thread is told too, from longer sleeps on, and where it slept.
//!
//! A thread that leaves is the running one, so the helpers name it, and it is the last moment at
//! which its memory can be read. The thread that comes is known only as a `task_struct`, whose layout
//! the agent looks up in the kernel's BTF.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use wire::kernel::{Sleeper, WAIT_MIN_NS, counter, watched};

use crate::emit;
use crate::filter::Task;
use crate::maps::{LAUNCHERS, SLEEPERS};
use crate::sleep;

/// Offset of `task_struct.pid`; the agent stores it before loading (`wire::kernel::task`).
#[unsafe(no_mangle)]
static TASK_PID_OFFSET: u32 = 0;

/// Offset of `task_struct.se.sum_exec_runtime`; stored likewise.
#[unsafe(no_mangle)]
static TASK_RAN_OFFSET: u32 = 0;

/// Shortest sleep of other threads than those told first, ns; the agent stores it before loading.
#[unsafe(no_mangle)]
static OFF_CPU_MIN_NS: u64 = wire::kernel::OFF_CPU_MIN_NS;

#[inline(always)]
fn shortest() -> u64 {
    // SAFETY: a static of this program that the loader filled; volatile, or the compiler would
    // take the value it sees here.
    unsafe { core::ptr::read_volatile(&raw const OFF_CPU_MIN_NS) }
}

/// `TASK_INTERRUPTIBLE` and `TASK_UNINTERRUPTIBLE`, as `/proc/PID/stat` and tracefs show them. A
/// thread that leaves in another state was preempted, gave way, was stopped or died.
const SLEEPING: u64 = 0x3;

/// Arguments: whether the thread that leaves was preempted; it; the one that comes; the former's
/// state (from 5.18 on; before that the kernel refuses to attach a program that reads it).
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn thread_switch(ctx: RawTracePointContext) -> u32 {
    // A C `bool` in a 64-bit slot: only the low byte is defined.
    let preempted = ctx.arg::<u64>(0) & 0xff != 0;
    let next: u64 = ctx.arg(2);
    let state: u64 = ctx.arg(3);
    if !preempted && state & SLEEPING != 0 {
        leaves(&ctx, Task::current());
    }
    comes(next);
    0
}

#[inline(always)]
fn leaves(ctx: &RawTracePointContext, task: Task) {
    let Some(what) = task.watched() else {
        return;
    };
    let told = task.tid == task.tgid || LAUNCHERS.get_ptr(task.tid).is_some();
    let stacks = what == watched::STACKS;
    if !told && !stacks {
        return;
    }
    let since_ns = emit::now();
    let signature = if stacks { sleep::place(ctx, task, since_ns) } else { 0 };
    let ran_ns = ran();
    let sleeper = Sleeper { since_ns, tgid: task.tgid, told: told.into(), signature, ran_ns };
    match SLEEPERS.insert(task.tid, sleeper, BPF_NOEXIST) {
        Ok(()) => {}
        Err(EEXIST) => {
            woke_unseen(task.tid, sleeper);
            let _ = SLEEPERS.insert(task.tid, sleeper, 0);
        }
        Err(_) => emit::count(counter::SLEEPERS_FULL),
    }
}

/// A thread goes to sleep that counts as asleep: it has run since and nobody said so, as some virtual
/// machines do not tell the switches away from the threads of their own agent. It slept all the time it
/// did not run.
#[inline(always)]
fn woke_unseen(tid: u32, next: Sleeper) {
    emit::count(counter::SLEEP_ENDS_UNSEEN);
    let Some(sleeper) = SLEEPERS.get_ptr(tid) else {
        return;
    };
    // SAFETY: an element of a preallocated map. The running thread is switched by this CPU alone.
    let sleeper = unsafe { *sleeper };
    // Or it was another thread's, which ended and left its number.
    if sleeper.ran_ns != 0 && sleeper.tgid == next.tgid {
        let ran = next.ran_ns.saturating_sub(sleeper.ran_ns);
        let to_ns = next.since_ns.saturating_sub(ran);
        tell(tid, sleeper, to_ns);
    }
}

/// Processor time of the running thread, ns. The scheduler has just brought it up to date: it does so
/// before it takes a thread from its queue.
#[inline(always)]
fn ran() -> u64 {
    // SAFETY: a static of this program that the loader filled; volatile, or the compiler would
    // take the value it sees here.
    let offset = unsafe { core::ptr::read_volatile(&raw const TASK_RAN_OFFSET) };
    // SAFETY: the helper has no precondition.
    let address = unsafe { bpf_get_current_task() }.wrapping_add(u64::from(offset));
    // SAFETY: the helper checks the address and answers with an error where it is not readable.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.unwrap_or(0)
}

/// `BPF_NOEXIST` of `linux/bpf.h`.
const BPF_NOEXIST: u64 = 1;
/// As helpers answer, negative.
const EEXIST: i32 = -17;

#[inline(always)]
fn comes(next: u64) {
    // SAFETY: a static of this program that the loader filled; volatile, or the compiler would
    // take the value it sees here.
    let offset = unsafe { core::ptr::read_volatile(&raw const TASK_PID_OFFSET) };
    let address = (next + u64::from(offset)) as *const c_void;
    // SAFETY: the helper checks the address and answers with an error where it is not readable.
    let Ok(tid) = (unsafe { bpf_probe_read_kernel(address.cast::<u32>()) }) else {
        return;
    };
    let Some(sleeper) = SLEEPERS.get_ptr(tid) else {
        return;
    };
    // SAFETY: an element of a preallocated map. A thread is switched in by one CPU at a time.
    let sleeper = unsafe { *sleeper };
    // Told before it is forgotten, so that whoever looks at the sleepers and then reads the buffer
    // misses no sleep.
    tell(tid, sleeper, emit::now());
    let _ = SLEEPERS.remove(tid);
}

/// Tells a sleep that ended at `to_ns`, or counts it where it was short.
#[inline(always)]
fn tell(tid: u32, sleeper: Sleeper, to_ns: u64) {
    // An end before the beginning is one that rounding made.
    let slept = to_ns.saturating_sub(sleeper.since_ns);
    let shortest = if sleeper.told == 1 { WAIT_MIN_NS } else { shortest() };
    if slept >= shortest {
        emit::wait(tid, sleeper, to_ns);
    } else {
        emit::count(counter::SHORT_SLEEPS);
        emit::count_by(counter::SHORT_SLEEP_NS, slept);
    }
}
