//! Sampled launches and the stacks that share their kernels' time.

use analysis::defect::Defect;
use analysis::event::Event;
use analysis::ids::StackId;

use crate::support::{
    ARMED, GEMM, MS, NORM, at, drained, kernel, mark, ran, report, sampled, stack,
};

#[test]
fn stacks_share_a_kernels_total_by_weight_and_time() {
    let mut events = vec![sampled(0, 1, at(1), 2), sampled(0, 2, at(2), 1)];
    events.extend(ran(0, 3, GEMM, at(3), at(50), at(90)));
    events.push(Event::Work(kernel(0, 1, GEMM, at(10), at(20))));
    events.push(Event::Work(kernel(0, 2, GEMM, at(20), at(40))));
    events.extend(ran(0, 4, NORM, at(4), at(90), at(95)));
    events.extend([stack(0, 1, 11), mark(0, ARMED, at(100))]);
    let mut session = drained(events);
    // The second stack comes after its time is final.
    session.ingest(stack(0, 2, 22));
    session.ingest(mark(0, ARMED, at(200)));
    let report = report(&session);
    let parts: Vec<(Option<StackId>, u64)> =
        report.stacks.iter().map(|time| (time.stack, time.total)).collect();
    assert_eq!(parts, [(Some(StackId(11)), 35 * MS), (Some(StackId(22)), 35 * MS), (None, 5 * MS)]);
    assert_eq!(report.workers[0].stacks_sampled, 2);
}

#[test]
fn a_stack_that_never_comes_is_counted() {
    let mut session = drained([
        sampled(0, 1, at(1), 2),
        Event::Work(kernel(0, 1, GEMM, at(10), at(20))),
        stack(0, 9, 1),
        mark(0, ARMED, at(100)),
    ]);
    session.finish();
    let report = report(&session);
    assert_eq!(report.stacks.len(), 1);
    assert_eq!(report.stacks[0].stack, None);
    assert_eq!(
        report.defects,
        [
            Defect::StackMissing { pid: 1000, count: 1 },
            Defect::StackUnmatched { pid: 1000, count: 1 }
        ]
    );
}
