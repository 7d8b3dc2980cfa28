//! The only writer of the ring buffer and of the counters.
//!
//! Equation: probe hits and samples of processes with stacks, and stacks wanted of sleeping threads =
//! `LAUNCH_STACKS` + `CPU_SAMPLES` + `PAGE_STACKS` + `OFF_CPU_STACKS` + `RING_FULL` + `SCRATCH_BUSY` + `OFF_CPU_OVER_BUDGET`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_ringbuf_output};
use wire::kernel::{ExitEvent, ProcessEvent, Sleeper, WaitEvent, counter, event_kind};

use crate::filter::Task;
use crate::maps::{COUNTERS, EVENTS, WAITS};
use crate::scratch::{Place, User};
use crate::stack::Subject;

/// Hands over a stack: the first `bytes` of its place.
#[inline(always)]
pub fn stack(place: *mut Place, bytes: u64, subject: &Subject) {
    // A sleep wakes nobody, see `wait`.
    let flags = match subject.user {
        User::Switch => u64::from(BPF_RB_NO_WAKEUP),
        User::Clock | User::Probe => 0,
    };
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: `EVENTS` is a ring buffer; the verifier checks that the place has as many bytes.
    match unsafe { bpf_ringbuf_output(ring, place.cast(), bytes, flags) } {
        0 => count(subject.taken),
        _ => count(counter::RING_FULL),
    }
}

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes nothing and answers with a number.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper takes nothing and answers with a number.
    unsafe { bpf_get_smp_processor_id() }
}

/// Says that a process executed a program or ended.
#[inline(always)]
pub fn process(kind: u32, task: Task) {
    let Some(mut entry) = EVENTS.reserve::<ProcessEvent>(0) else {
        count(counter::PROCESS_EVENTS_LOST);
        return;
    };
    // SAFETY: the helper has no precondition.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    entry.write(ProcessEvent { kind, tgid: task.tgid, time_ns });
    entry.submit(0);
}

/// Says that a process ended, and how where that could be read.
#[inline(always)]
pub fn exit(task: Task, status: Option<u32>) {
    let Some(mut entry) = EVENTS.reserve::<ExitEvent>(0) else {
        count(counter::PROCESS_EVENTS_LOST);
        return;
    };
    let (status, known) = match status {
        Some(status) => (status, 1),
        None => (0, 0),
    };
    entry.write(ExitEvent {
        kind: event_kind::EXIT,
        tgid: task.tgid,
        time_ns: now(),
        status,
        known,
    });
    entry.submit(0);
}

/// Says that a thread slept. Wakes nobody: the agent looks often enough, and a server whose
/// threads sleep a thousand times a second must not wake it as often.
#[inline(always)]
pub fn wait(tid: u32, sleeper: Sleeper, to_ns: u64) {
    let Some(mut entry) = WAITS.reserve::<WaitEvent>(0) else {
        count(counter::WAITS_LOST);
        return;
    };
    entry.write(WaitEvent {
        kind: event_kind::WAIT,
        tgid: sleeper.tgid,
        tid,
        open: 0,
        from_ns: sleeper.since_ns,
        to_ns,
        signature: sleeper.signature,
    });
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    count(counter::WAITS);
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(slot) = COUNTERS.get_ptr_mut(index) {
        add_one(slot);
    }
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn count_by(index: u32, amount: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(index) {
        add(slot, amount);
    }
}

/// Adds one.
#[inline(always)]
pub fn add_one(slot: *mut u64) {
    add(slot, 1);
}

/// Takes one away.
#[inline(always)]
pub fn take_one(slot: *mut u64) {
    add(slot, u64::MAX);
}

/// Adds, wrapping. Atomic because a probe can be preempted by another on its CPU.
#[inline(always)]
fn add(slot: *mut u64, amount: u64) {
    // SAFETY: callers pass a pointer into a map value, which lives as long as the program runs.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(slot, amount) };
}
