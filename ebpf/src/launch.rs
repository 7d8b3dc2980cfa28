//! Hook: the shim's probe point, a function of nops. Rate: as the shim samples, 100 a second and
//! thread by default. Cost: the trap, 0.5 us on a 5-byte nop, and one copy of the stack, some 10 us.

use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;
use wire::kernel::{WEIGHT_CAPTURE, WEIGHT_MEMORY, counter, event_kind};

use crate::emit;
use crate::filter::Task;
use crate::maps::LAUNCHERS;
use crate::scratch::User;
use crate::stack::{self, Subject};

#[uprobe]
pub fn launch_stack(ctx: ProbeContext) -> u32 {
    launch::<true>(&ctx)
}

/// For kernels without `bpf_loop`.
#[uprobe]
pub fn launch_stack_plain(ctx: ProbeContext) -> u32 {
    launch::<false>(&ctx)
}

/// Arguments: correlation id, weight, the shim's thread number, function handle. Weight 0: a node of a
/// graph was made, and the last argument is its position in the graph table. The greatest weight: memory was taken.
#[inline(always)]
fn launch<const PYTHON: bool>(ctx: &ProbeContext) -> u32 {
    let task = Task::current();
    if !task.is_sampled() {
        return 0;
    }
    let weight: u32 = ctx.arg(1).unwrap_or(0);
    let of = match weight {
        WEIGHT_CAPTURE => event_kind::CAPTURE_STACK,
        WEIGHT_MEMORY => event_kind::MEMORY_STACK,
        _ => event_kind::LAUNCH_STACK,
    };
    let subject = Subject {
        of,
        correlation: ctx.arg(0).unwrap_or(0),
        weight,
        thread: ctx.arg(2).unwrap_or(0),
        key: ctx.arg(3).unwrap_or(0),
        user: User::Probe,
        in_kernel: false,
        taken: counter::LAUNCH_STACKS,
    };
    stack::take::<PYTHON>(ctx, task, &subject);
    if of != event_kind::MEMORY_STACK {
        remember(task);
    }
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
