//! The protocol of ARCHITECTURE.md, one test per clause, against streams made by hand.

use analysis::defect::Defect;
use analysis::event::{DeviceInfo, Event, ProcessInfo};
use analysis::ids::{Correlation, DeviceKey, Ns, ProcessKey};
use analysis::report::{Exclusive, UnobservedReason, Window};
use analysis::session::{Options, Session};

use crate::support::{
    ARMED, ATTENTION, GEMM, MS, NCCL, NORM, SECOND, at, context_sync, drained, fed, graph_launch,
    introduce, kernel, launch, mark, mark_with, only, ran, report, unobserved,
};

#[test]
fn the_window_runs_from_arming_to_the_last_mark() {
    let mut events = ran(0, 1, GEMM, at(1), at(10), at(30)).to_vec();
    events.push(mark(0, ARMED, at(100)));
    let report = report(&drained(events));
    let device = only(&report);
    assert_eq!(device.window, Window { start: Ns(ARMED), end: Ns(at(100)) });
    let expected = Exclusive { gemm: 20 * MS, idle: 80 * MS, ..Exclusive::default() };
    assert_eq!(device.exclusive, expected);
    assert_eq!((device.kernels, device.records.classified), (1, 1));
    assert_eq!(report.defects, []);
}

#[test]
fn an_outstanding_launch_holds_the_watermark() {
    let session = drained([Event::Launch(launch(0, 1, at(40))), mark(0, ARMED, at(100))]);
    assert_eq!(session.watermark(), Some(Ns(at(40))));
}

#[test]
fn a_failed_launch_holds_nothing() {
    let session = drained([
        Event::Launch(launch(0, 1, at(40))),
        Event::LaunchFailed {
            process: ProcessKey(0),
            correlation: Correlation(1),
            captured: false,
        },
        mark(0, ARMED, at(100)),
    ]);
    assert_eq!(session.watermark(), Some(Ns(at(100))));
}

#[test]
fn a_launch_holds_for_five_seconds_then_its_gaps_are_unobserved() {
    let mut events = Vec::new();
    events.push(Event::Launch(launch(0, 1, at(40))));
    // Other work goes on, on another stream, before and after the launch.
    events.extend(ran(0, 2, GEMM, at(10), at(20), at(30)));
    events.push(mark(0, ARMED, at(5040)));
    let mut session = drained(events);
    assert_eq!(session.watermark(), Some(Ns(at(40))));
    session.ingest(mark(0, ARMED, at(5041)));
    let report = report(&session);
    assert_eq!(session.watermark(), Some(Ns(at(5041))));
    assert_eq!(unobserved(&report), [(UnobservedReason::Unfinished, 5001 * MS)]);
    assert_eq!(report.defects, [Defect::UnfinishedLaunch { pid: 1000, count: 1 }]);
}

#[test]
fn an_unfinished_launch_ends_where_every_stream_is_past_it() {
    let mut events = ran(0, 1, GEMM, at(1), at(10), at(30)).to_vec();
    events.push(Event::Launch(launch(0, 2, at(40))));
    events.extend(ran(0, 3, GEMM, at(50), at(60), at(70)));
    events.push(mark(0, ARMED, at(6000)));
    let report = report(&drained(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::Unfinished, 20 * MS)]);
}

#[test]
fn an_unfinished_launch_ends_at_a_later_context_synchronisation() {
    let report = report(&drained([
        Event::Launch(launch(0, 2, at(40))),
        context_sync(0, at(50), at(90)),
        mark(0, ARMED, at(6000)),
    ]));
    assert_eq!(unobserved(&report), [(UnobservedReason::Unfinished, 50 * MS)]);
}

#[test]
fn the_late_record_of_an_unfinished_launch_is_used_from_the_watermark_on() {
    let mut session = drained([
        Event::Launch(launch(0, 1, at(40))),
        mark(0, ARMED, at(5100)),
        Event::Work(kernel(0, 1, ATTENTION, at(5000), at(5150))),
        mark(0, ARMED, at(5200)),
    ]);
    let first = report(&session);
    let device = only(&first);
    assert_eq!(device.exclusive.attention, 50 * MS);
    assert_eq!(unobserved(&first), [(UnobservedReason::Unfinished, 5060 * MS)]);
    assert!(first.defects.contains(&Defect::LateRecord { pid: 1000, count: 1, lost_ns: 100 * MS }));
    session.ingest(mark(0, ARMED, at(5300)));
    assert_eq!(only(&report(&session)).exclusive.idle, device.exclusive.idle + 100 * MS);
}

#[test]
fn before_the_drain_gaps_are_unobserved_until_every_early_stream_shows_a_launch() {
    let mut events = introduce(0);
    // Launched before arming ended: no launch record; on the same stream a launch of ours follows.
    events.push(Event::Work(kernel(0, 1, GEMM, at(0), at(5))));
    events.extend(ran(0, 2, GEMM, at(6), at(20), at(30)));
    let mut other = kernel(0, 3, GEMM, at(300), at(310));
    other.stream = 8;
    events.extend([Event::Launch(launch(0, 3, at(299))), Event::Work(other)]);
    events.push(mark(0, ARMED, at(999)));
    let mut session = fed(events);
    // The streams of the first second are not all known yet.
    assert_eq!(session.watermark(), None);
    session.ingest(mark(0, ARMED, at(1000)));
    let report = report(&session);
    assert_eq!(unobserved(&report), [(UnobservedReason::Arming, 285 * MS)]);
    assert_eq!(report.defects, []);
}

#[test]
fn a_stream_that_never_shows_a_launch_makes_the_drain_assumed() {
    let mut events = introduce(0);
    events.push(Event::Work(kernel(0, 1, GEMM, at(100), at(105))));
    events.push(mark(0, ARMED, at(4999)));
    let mut session = fed(events);
    assert_eq!(session.watermark(), None);
    session.ingest(mark(0, ARMED, at(5001)));
    let report = report(&session);
    assert_eq!(unobserved(&report), [(UnobservedReason::Arming, 4995 * MS)]);
    assert_eq!(report.defects, [Defect::DrainAssumed { pid: 1000, device: 0, count: 1 }]);
}

#[test]
fn a_device_without_any_stream_is_drained_after_the_first_second() {
    let mut events = introduce(0);
    events.push(mark(0, ARMED, at(1500)));
    let report = report(&fed(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::Arming, SECOND)]);
    assert_eq!(only(&report).exclusive.idle, 500 * MS);
}

#[test]
fn a_context_synchronisation_after_arming_proves_the_drain() {
    let mut events = introduce(0);
    events.push(Event::Work(kernel(0, 1, GEMM, at(0), at(5))));
    events.push(context_sync(0, ARMED - 1, at(1)));
    events.push(context_sync(0, at(2), at(8)));
    events.push(mark(0, ARMED, at(100)));
    let report = report(&fed(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::Arming, 3 * MS)]);
}

#[test]
fn an_invalid_record_hides_the_gaps_between_its_neighbours() {
    let mut events = ran(0, 1, GEMM, at(1), at(10), at(20)).to_vec();
    events.extend(ran(0, 2, GEMM, at(12), 0, 0));
    events.extend(ran(0, 3, GEMM, at(13), at(40), at(50)));
    let mut other = kernel(0, 4, NCCL, at(25), at(30));
    other.stream = 9;
    events.extend([Event::Launch(launch(0, 4, at(14))), Event::Work(other)]);
    events.push(mark(0, ARMED, at(100)));
    let report = report(&drained(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::InvalidRecord, 15 * MS)]);
    assert_eq!(only(&report).records.invalid, 1);
    assert_eq!(report.defects, [Defect::InvalidRecord { pid: 1000, count: 1 }]);
}

#[test]
fn an_invalid_record_is_bounded_by_its_launch_and_stays_open_without_a_successor() {
    let mut events = ran(0, 1, GEMM, at(1), at(10), at(20)).to_vec();
    events.extend(ran(0, 2, GEMM, at(30), at(60), at(50)));
    events.push(mark(0, ARMED, at(100)));
    let mut session = drained(events);
    assert_eq!(unobserved(&report(&session)), [(UnobservedReason::InvalidRecord, 70 * MS)]);
    for event in ran(0, 3, GEMM, at(120), at(130), at(140)) {
        session.ingest(event);
    }
    session.ingest(mark(0, ARMED, at(200)));
    assert_eq!(unobserved(&report(&session)), [(UnobservedReason::InvalidRecord, 100 * MS)]);
}

#[test]
fn records_of_the_same_launch_do_not_bound_an_invalid_one() {
    let mut events = vec![graph_launch(0, 1, at(5))];
    for (start, end) in [(at(10), at(20)), (0, 0), (at(40), at(50))] {
        let mut node = kernel(0, 1, GEMM, start, end);
        node.graph = 3;
        events.push(Event::Work(node));
    }
    events.extend(ran(0, 2, GEMM, at(6), at(60), at(70)));
    for flush in [100, 110, 120, 130] {
        events.push(mark(0, ARMED, at(flush)));
    }
    let report = report(&drained(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::InvalidRecord, 35 * MS)]);
}

#[test]
fn lost_records_hide_the_gaps_between_their_marks() {
    let mut events = vec![mark_with(0, ARMED, at(100), 0, false)];
    events.extend(ran(0, 1, GEMM, at(110), at(120), at(150)));
    events.push(mark_with(0, ARMED, at(200), 4, false));
    events.push(mark_with(0, ARMED, at(300), 4, false));
    let report = report(&drained(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::LostRecord, 70 * MS)]);
    assert_eq!(only(&report).records.lost, 4);
    assert_eq!(report.defects, [Defect::LostRecord { pid: 1000, count: 4 }]);
}

#[test]
fn losses_before_the_first_mark_are_told_but_not_counted_as_ours() {
    let report = report(&drained([mark_with(0, ARMED, at(100), 9, false)]));
    assert_eq!(unobserved(&report), [(UnobservedReason::LostRecord, 100 * MS)]);
    assert_eq!(only(&report).records.lost, 0);
    assert_eq!(report.defects, [Defect::LostBefore { pid: 1000, count: 9 }]);
}

#[test]
fn a_graph_is_held_until_it_has_as_many_records_as_before() {
    let node = |correlation, start, end| {
        let mut work = kernel(0, correlation, ATTENTION, start, end);
        work.graph = 5;
        Event::Work(work)
    };
    let mut session = drained([
        graph_launch(0, 1, at(5)),
        node(1, at(10), at(20)),
        node(1, at(20), at(30)),
        mark(0, ARMED, at(100)),
    ]);
    assert_eq!(session.watermark(), Some(Ns(at(5))));
    for flush in [200, 300] {
        session.ingest(mark(0, ARMED, at(flush)));
        assert_eq!(session.watermark(), Some(Ns(at(5))));
    }
    session.ingest(mark(0, ARMED, at(400)));
    assert_eq!(session.watermark(), Some(Ns(at(400))));
    for event in [graph_launch(0, 2, at(405)), node(2, at(410), at(420))] {
        session.ingest(event);
    }
    session.ingest(mark(0, ARMED, at(500)));
    assert_eq!(session.watermark(), Some(Ns(at(405))));
    session.ingest(node(2, at(420), at(430)));
    session.ingest(mark(0, ARMED, at(600)));
    assert_eq!(session.watermark(), Some(Ns(at(600))));
    assert_eq!(only(&report(&session)).exclusive.attention, 40 * MS);
}

#[test]
fn the_window_ends_at_the_limit_and_counts_what_straddles_it() {
    let mut events = ran(0, 1, GEMM, at(1), at(10), at(30)).to_vec();
    events.extend(ran(0, 2, NORM, at(2), at(30), at(40)));
    events.push(mark(0, ARMED, at(100)));
    let mut session = Session::new(Options { start: Some(Ns(at(20))), ..Options::MARKED });
    session.limit_end(Ns(at(35)));
    for event in introduce(0).into_iter().chain([context_sync(0, ARMED, ARMED)]).chain(events) {
        session.ingest(event);
    }
    let report = report(&session);
    let device = only(&report);
    assert_eq!(device.window, Window { start: Ns(at(20)), end: Ns(at(35)) });
    assert_eq!((device.exclusive.gemm, device.exclusive.other), (10 * MS, 5 * MS));
    assert_eq!(device.kernels, 2);
}

#[test]
fn a_limit_that_is_passed_already_is_a_defect() {
    let mut session = drained([mark(0, ARMED, at(100))]);
    session.limit_end(Ns(at(60)));
    session.ingest(mark(0, ARMED, at(200)));
    let report = report(&session);
    assert_eq!(only(&report).window.end, Ns(at(100)));
    assert_eq!(report.defects, [Defect::LimitPassed { by_ns: 40 * MS, count: 1 }]);
}

#[test]
fn correlation_ids_that_wrap_keep_their_order_for_invalid_records() {
    let ids = [u32::MAX - 1, u32::MAX, 0];
    let mut events = ran(0, ids[0], GEMM, at(1), at(10), at(20)).to_vec();
    events.extend(ran(0, ids[1], GEMM, at(2), 0, 0));
    events.extend(ran(0, ids[2], GEMM, at(3), at(40), at(50)));
    events.push(mark(0, ARMED, at(100)));
    let report = report(&drained(events));
    assert_eq!(unobserved(&report), [(UnobservedReason::InvalidRecord, 20 * MS)]);
}

#[test]
fn what_was_never_introduced_is_counted() {
    let mut session = Session::new(Options::MARKED);
    session.ingest(mark(4, 1, 2));
    session.ingest(Event::Process {
        process: ProcessKey(0),
        info: ProcessInfo { pid: 5, ..ProcessInfo::default() },
    });
    session.ingest(Event::Work(kernel(0, 1, GEMM, 1, 2)));
    session.ingest(Event::Device { device: DeviceKey(3), info: DeviceInfo::default() });
    session.ingest(Event::Ordinal { process: ProcessKey(0), ordinal: 0, device: DeviceKey(3) });
    session.ingest(Event::Work(kernel(0, 1, 77, 1, 2)));
    assert_eq!(
        session.report().defects,
        [
            Defect::UnknownProcess { count: 1 },
            Defect::UnknownDevice { pid: 5, ordinal: 0, count: 1 },
            Defect::UnnamedKernel { pid: 5, count: 1 },
        ]
    );
}

#[test]
fn a_mark_that_goes_backwards_is_ignored() {
    let session = drained([mark(0, ARMED, at(100)), mark(0, ARMED, at(90))]);
    let report = report(&session);
    assert_eq!(only(&report).window.end, Ns(at(100)));
    assert_eq!(report.defects, [Defect::MarkBackwards { pid: 1000, count: 1 }]);
}
