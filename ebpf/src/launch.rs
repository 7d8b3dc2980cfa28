//! Hook: the shim's probe point, a function of nops. Rate: as the shim samples, 100 a second and
//! thread by default. Cost: the trap and one stack walk, about 1.6 us on a 5-byte nop.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use wire::kernel::{counter, event_kind};

use crate::emit::{self, Subject};
use crate::filter::Task;
use crate::maps::LAUNCHERS;

/// Arguments: correlation id, weight, the shim's thread number, function handle.
#[uprobe]
pub fn launch_stack(ctx: ProbeContext) -> u32 {
    let task = Task::current();
    if !task.is_sampled() {
        return 0;
    }
    let subject = Subject {
        kind: event_kind::LAUNCH_STACK,
        correlation: ctx.arg(0).unwrap_or(0),
        weight: ctx.arg(1).unwrap_or(0),
        thread: ctx.arg(2).unwrap_or(0),
        key: ctx.arg(3).unwrap_or(0),
        taken: counter::LAUNCH_STACKS,
    };
    emit::stack(&ctx, task, &subject);
    remember(task);
    0
}

/// From here on the thread's sleeps are told: idle time behind its launches is explained by them.
/// The first launch of each function is always sampled, so a thread is known soon.
#[inline(always)]
fn remember(task: Task) {
    let first_thread = task.tid == task.tgid;
    if !first_thread
        && LAUNCHERS.get_ptr(task.tid).is_none()
        && LAUNCHERS.insert(task.tid, task.tgid, 0).is_err()
    {
        emit::count(counter::SLEEPERS_FULL);
    }
}
