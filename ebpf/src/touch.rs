//! Hook: the software event page-faults on every CPU. Rate: every page that is touched for the first time, by anybody.
//! Cost: one hash look-up for processes nobody watches; of the others a few are taken, with their stack, some 10 us each.
//!
//! Which are taken is left to chance: one in two to the power of `shift`, which rises by one with each
//! [`TOUCHES_A_STEP`] taken and falls by one with each [`STEP_NS`] that passes, on each CPU. So the cost is bounded at
//! any rate, and each that is taken stands for as many pages as the chance says at that instant.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use wire::kernel::{counter, event_kind};
use wire::limits::TOUCHES_A_STEP;

use crate::emit;
use crate::filter::Task;
use crate::maps::TOUCHES;
use crate::scratch::User;
use crate::stack::{self, Subject};

/// How long it takes the chance to double.
const STEP_NS: u64 = 100_000_000;

/// One in 65 536: a page that stands for 256 MiB.
const SHIFT_MAX: u64 = 16;

#[perf_event]
pub fn page_touch(ctx: PerfEventContext) -> u32 {
    touch::<true>(&ctx)
}

/// For kernels without `bpf_loop`.
#[perf_event]
pub fn page_touch_plain(ctx: PerfEventContext) -> u32 {
    touch::<false>(&ctx)
}

/// What a CPU's chance is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chance {
    shift: u64,
    /// Taken since it changed.
    taken: u64,
    /// When it rises next.
    until_ns: u64,
}

#[inline(always)]
fn touch<const PYTHON: bool>(ctx: &PerfEventContext) -> u32 {
    let task = Task::current();
    if !task.is_sampled() {
        return 0;
    }
    let Some(weight) = drawn() else { return 0 };
    // SAFETY: the kernel calls programs on perf events with such a context.
    let segment = unsafe { (*ctx.ctx).regs.cs };
    // SAFETY: as above.
    let address = unsafe { (*ctx.ctx).addr };
    let subject = Subject {
        of: event_kind::PAGE_STACK,
        correlation: 0,
        weight,
        thread: 0,
        key: address,
        user: User::Probe,
        in_kernel: segment & PRIVILEGE == 0,
        taken: counter::PAGE_STACKS,
    };
    stack::take::<PYTHON>(ctx, task, &subject);
    0
}

/// Pages that this one stands for; `None`: it is not taken.
#[inline(always)]
fn drawn() -> Option<u32> {
    let chance = TOUCHES.get_ptr_mut(0)?;
    // SAFETY: an element of an array lives as long as the program runs, and each CPU has its own. A program on this
    // event is not interrupted by another: the kernel lets no task preempt it.
    let chance = unsafe { &mut *chance };
    let now = emit::now();
    if now >= chance.until_ns {
        let steps = 1 + (now - chance.until_ns) / STEP_NS;
        chance.shift = chance.shift.saturating_sub(steps);
        chance.taken = 0;
        chance.until_ns = now + STEP_NS;
    }
    let shift = if chance.shift > SHIFT_MAX { SHIFT_MAX } else { chance.shift };
    let weight = 1_u32 << shift;
    // SAFETY: the helper takes nothing and answers with a number.
    let dice = unsafe { bpf_get_prandom_u32() };
    if dice & (weight - 1) != 0 {
        return None;
    }
    chance.taken += 1;
    if chance.taken >= TOUCHES_A_STEP && shift < SHIFT_MAX {
        chance.taken = 0;
        chance.shift = shift + 1;
    }
    Some(weight)
}

/// The bits of a code segment's selector that tell the kernel, 0, from programs, 3.
const PRIVILEGE: u64 = 3;
