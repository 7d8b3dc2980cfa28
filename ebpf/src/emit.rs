//! The only writer of the ring buffer and of the counters.
//!
//! Equation: probe hits and samples of watched processes = `LAUNCH_STACKS` + `CPU_SAMPLES` +
//! `RING_FULL`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_USER_STACK, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns};
use wire::kernel::{ProcessEvent, Sleeper, StackEvent, WaitEvent, counter, event_kind};
use wire::limits::STACK_FRAMES;

use crate::filter::Task;
use crate::maps::{COUNTERS, EVENTS, WAITS};

/// What a stack event says beside the stack.
pub struct Subject {
    pub kind: u32,
    pub correlation: u32,
    pub weight: u32,
    pub thread: u32,
    pub key: u64,
    /// Counter of events of this kind that reached the ring buffer.
    pub taken: u32,
}

#[expect(clippy::cast_possible_truncation, reason = "127 addresses of 8 bytes")]
const STACK_BYTES: u32 = size_of::<[u64; STACK_FRAMES]>() as u32;

/// Takes the user stack of the running thread, straight into the ring buffer.
#[inline(always)]
pub fn stack(ctx: &impl EbpfContext, task: Task, subject: &Subject) {
    let Some(mut entry) = EVENTS.reserve::<StackEvent>(0) else {
        count(counter::RING_FULL);
        return;
    };
    // SAFETY: the kernel's memory always holds bytes, and any bytes are a `StackEvent`, which its
    // derive of `FromBytes` proves.
    let event = unsafe { entry.assume_init_mut() };
    // SAFETY: the helper writes `STACK_BYTES` bytes, which is the length of `addresses`, and
    // zeroes those it has no address for.
    let bytes = unsafe {
        bpf_get_stack(ctx.as_ptr(), event.addresses.as_mut_ptr().cast(), STACK_BYTES, USER_STACK)
    };
    event.frames = match u32::try_from(bytes) {
        Ok(bytes) if bytes > 0 => bytes / ADDRESS_BYTES,
        Ok(_) | Err(_) => {
            count(counter::STACK_FAILED);
            0
        }
    };
    event.kind = subject.kind;
    event.time_ns = now();
    event.tgid = task.tgid;
    event.tid = task.tid;
    event.correlation = subject.correlation;
    event.weight = subject.weight;
    event.thread = subject.thread;
    event.cpu = cpu();
    event.key = subject.key;
    event.flags = 0;
    event.reserved = 0;
    entry.submit(0);
    count(subject.taken);
}

#[expect(clippy::cast_possible_truncation, reason = "8")]
const ADDRESS_BYTES: u32 = size_of::<u64>() as u32;

/// Walk the user's frames, not the kernel's.
const USER_STACK: u64 = BPF_F_USER_STACK as u64;

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes nothing and answers with a number.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn cpu() -> u32 {
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

/// Adds one. Atomic because a probe can be preempted by another on its CPU.
#[inline(always)]
pub fn add_one(slot: *mut u64) {
    // SAFETY: callers pass a pointer into a map value, which lives as long as the program runs.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(slot, 1) };
}
