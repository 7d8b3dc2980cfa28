//! Where a thread goes to sleep: a signature of the place, told with every sleep, and now and then its
//! stack.
//!
//! Time of sleep is exact for each thread and signature; stacks of one signature share it out. So a
//! stack a second is enough, and a thread that sleeps in ever new places is held to a budget.

use aya_ebpf::programs::RawTracePointContext;
use wire::kernel::{counter, event_kind};
use wire::limits::{OFF_CPU_STACK_EVERY_NS, OFF_CPU_STACKS};

use crate::emit;
use crate::filter::Task;
use crate::maps::{SLEEP_BUDGETS, SLEEP_PLACES, SleepPlace};
use crate::python;
use crate::registers::Registers;
use crate::scratch::User;
use crate::stack::{self, Subject};

/// The signature of where the running thread is about to sleep; takes its stack where it is due.
#[inline(always)]
pub fn place(ctx: &RawTracePointContext, task: Task, now: u64) -> u64 {
    let registers = Registers::current();
    let instruction = registers.instruction();
    // A thread of the kernel that works for the process.
    let [code, last, frame] = if instruction == 0 { [0; 3] } else { python::leaf(task) };
    let signature = signature([instruction, registers.stack(), code, last, frame]);
    if is_due(task, signature, now) {
        let subject = Subject {
            of: event_kind::OFF_CPU_STACK,
            correlation: 0,
            weight: 0,
            thread: 0,
            key: signature,
            user: User::Switch,
            in_kernel: true,
            taken: counter::OFF_CPU_STACKS,
        };
        stack::take::<true>(ctx, task, &subject);
    }
    signature
}

/// Never 0, which says that the place is not known.
#[inline(always)]
fn signature(words: [u64; 5]) -> u64 {
    let mut hash: u64 = 0;
    for word in words {
        // The odd constant of FxHash; the rotation brings high bits down to where it multiplies.
        hash = (hash.rotate_left(26) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
    hash ^ hash >> 32 | 1
}

/// Whether a stack is to be taken, and notes that it is.
#[inline(always)]
fn is_due(task: Task, signature: u64, now: u64) -> bool {
    let place = SleepPlace { tid: task.tid, tgid: task.tgid, signature };
    if let Some(taken) = SLEEP_PLACES.get_ptr(place) {
        // SAFETY: an element of a preallocated map. It may become another pair's under our eyes: then
        // a stack is taken too often or once too rarely.
        if now.wrapping_sub(unsafe { *taken }) < OFF_CPU_STACK_EVERY_NS {
            return false;
        }
    }
    if !within_budget(task, now) {
        emit::count(counter::OFF_CPU_OVER_BUDGET);
        return false;
    }
    // A map that forgets its oldest has room. Where it has not, stacks are taken up to the budget.
    let _ = SLEEP_PLACES.insert(place, now, 0);
    true
}

/// Time between two stacks of a thread that takes as many as it may, ns.
const SPACING_NS: u64 = 1_000_000_000 / OFF_CPU_STACKS;
/// A thread that took none for a second may take a second's worth at once.
const BURST_NS: u64 = 1_000_000_000;

/// The budget as one number: the time up to which it is used up (GCRA). A stack moves it on by the
/// spacing, and it is never further behind than the burst.
#[inline(always)]
fn within_budget(task: Task, now: u64) -> bool {
    let oldest = now.wrapping_sub(BURST_NS);
    let mut used = oldest;
    if let Some(noted) = SLEEP_BUDGETS.get_ptr(task.tid) {
        // SAFETY: an element of a preallocated map; a thread is switched out by one CPU at a time.
        let noted = unsafe { *noted };
        if noted > oldest {
            used = noted;
        }
    }
    if used > now {
        return false;
    }
    let _ = SLEEP_BUDGETS.insert(task.tid, used + SPACING_NS, 0);
    true
}
