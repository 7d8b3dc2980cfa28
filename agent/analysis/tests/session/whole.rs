//! Foreign traces: no marks, no launches needed.

use analysis::event::{Event, WorkKind};
use analysis::ids::Ns;
use analysis::report::{Exclusive, Report, Window};
use analysis::session::{Options, Session};

use crate::support::{
    ATTENTION, GEMM, NCCL, check_sums, introduce, kernel, launch, mark_with, only,
};

fn report(events: impl IntoIterator<Item = Event>) -> Report {
    let mut session = Session::new(Options::WHOLE);
    for event in introduce(0).into_iter().chain(events) {
        session.ingest(event);
    }
    assert!(session.report().devices[0].kernels == 0, "nothing is final before the end");
    session.finish();
    let report = session.report();
    check_sums(&report);
    report
}

#[test]
fn the_window_runs_from_the_first_start_to_the_last_end() {
    let mut copy = kernel(0, 3, 0, 40, 70);
    copy.kind = WorkKind::Memcpy { bytes: 1, copy_kind: 1 };
    let report = report([
        Event::Work(kernel(0, 1, GEMM, 10, 20)),
        Event::Work(kernel(0, 2, ATTENTION, 15, 30)),
        Event::Work(copy),
    ]);
    let device = only(&report);
    assert_eq!(device.window, Window { start: Ns(10), end: Ns(70) });
    let expected =
        Exclusive { attention: 15, gemm: 5, other: 30, idle: 10, ..Exclusive::default() };
    assert_eq!(device.exclusive, expected);
    assert_eq!((device.kernels, device.copies), (2, 1));
    assert_eq!(report.names[report.stacks[2].name.0 as usize], "[memcpy HtoD]");
    assert_eq!(report.defects, []);
}

#[test]
fn marks_and_launches_without_a_record_change_nothing() {
    let report = report([
        Event::Launch(launch(0, 9, 5)),
        mark_with(0, 1, 2, 3, false),
        Event::Work(kernel(0, 1, NCCL, 10, 20)),
    ]);
    let expected = Exclusive { communication: 10, ..Exclusive::default() };
    assert_eq!(only(&report).exclusive, expected);
    assert_eq!(report.defects, []);
}

#[test]
fn kernels_without_length_are_counted_at_both_edges() {
    let report = report([
        Event::Work(kernel(0, 1, GEMM, 10, 10)),
        Event::Work(kernel(0, 2, GEMM, 10, 30)),
        Event::Work(kernel(0, 3, GEMM, 30, 30)),
    ]);
    assert_eq!(only(&report).kernels, 3);
}

#[test]
fn an_unknown_name_is_unclassified_and_an_empty_trace_is_empty() {
    let report_of_one = report([Event::Work(kernel(0, 1, 99, 1, 2))]);
    assert_eq!(only(&report_of_one).records.unclassified, 1);
    let empty = report([]);
    assert_eq!(only(&empty).window, Window::default());
}
