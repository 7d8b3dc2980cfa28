//! Hook: the software event cpu-clock on every CPU. Rate: 99 a second and CPU. Cost: one hash
//! look-up for processes nobody watches, a stack walk for the others.

use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use wire::kernel::{counter, event_kind};

use crate::emit::{self, Subject};
use crate::filter::Task;

#[perf_event]
pub fn cpu_sample(ctx: PerfEventContext) -> u32 {
    let task = Task::current();
    if !task.is_sampled() {
        return 0;
    }
    let subject = Subject {
        kind: event_kind::CPU_SAMPLE,
        correlation: 0,
        weight: 0,
        thread: 0,
        key: 0,
        taken: counter::CPU_SAMPLES,
    };
    emit::stack(&ctx, task, &subject);
    0
}
