//! Hook: the software event cpu-clock on every CPU. Rate: 99 a second and CPU. Cost: one hash
//! look-up for processes nobody watches, a copy of the stack for the others, some 10 us.

use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use wire::kernel::{counter, event_kind};

use crate::filter::Task;
use crate::scratch::User;
use crate::stack::{self, Subject};

#[perf_event]
pub fn cpu_sample(ctx: PerfEventContext) -> u32 {
    sample::<true>(&ctx)
}

/// For kernels without `bpf_loop`.
#[perf_event]
pub fn cpu_sample_plain(ctx: PerfEventContext) -> u32 {
    sample::<false>(&ctx)
}

#[inline(always)]
fn sample<const PYTHON: bool>(ctx: &PerfEventContext) -> u32 {
    let task = Task::current();
    if !task.is_sampled() {
        return 0;
    }
    // SAFETY: the kernel calls programs on perf events with such a context.
    let segment = unsafe { (*ctx.ctx).regs.cs };
    let subject = Subject {
        of: event_kind::CPU_SAMPLE,
        correlation: 0,
        weight: 0,
        thread: 0,
        key: 0,
        user: User::Clock,
        in_kernel: segment & PRIVILEGE == 0,
        taken: counter::CPU_SAMPLES,
    };
    stack::take::<PYTHON>(ctx, task, &subject);
    0
}

/// The bits of a code segment's selector that tell the kernel, 0, from programs, 3.
const PRIVILEGE: u64 = 3;
