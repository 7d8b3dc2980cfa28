//! Arming, ending and meeting of processes on one device.

use analysis::defect::Defect;
use analysis::event::Event;
use analysis::ids::{Ns, ProcessKey};
use analysis::report::{UnobservedReason, Window};

use crate::support::{
    ARMED, DEVICE, GEMM, MS, NCCL, at, context_sync, drained, fed, introduce, kernel, launch, mark,
    mark_with, only, ran, report, unobserved,
};

#[test]
fn a_disarmed_time_is_unobserved_and_the_next_arming_must_drain_again() {
    let mut session = drained([mark_with(0, ARMED, at(100), 0, true)]);
    assert_eq!(session.watermark(), Some(Ns(at(100))));
    session.ingest(context_sync(0, at(400), at(410)));
    session.ingest(mark(0, at(400), at(500)));
    let report = report(&session);
    assert_eq!(
        unobserved(&report),
        [(UnobservedReason::Arming, 10 * MS), (UnobservedReason::NotArmed, 300 * MS)]
    );
    assert_eq!(only(&report).exclusive.idle, 190 * MS);
}

#[test]
fn an_ended_process_leaves_its_device_at_its_last_mark() {
    let session = drained([
        mark(0, ARMED, at(100)),
        Event::Launch(launch(0, 1, at(120))),
        Event::Ended { process: ProcessKey(0), at: Ns(at(150)) },
    ]);
    let report = report(&session);
    assert_eq!(only(&report).window.end, Ns(at(100)));
    assert_eq!(report.defects, [Defect::UnfinishedLaunch { pid: 1000, count: 1 }]);
}

#[test]
fn after_a_process_ended_another_on_its_device_covers_the_time() {
    let mut events = introduce(0);
    events.extend(introduce(1));
    for process in [0, 1] {
        events.push(context_sync(process, ARMED, ARMED));
        events.extend(ran(process, 1, GEMM, at(1), at(10), at(20)));
    }
    events.push(mark(0, ARMED, at(100)));
    events.push(mark(1, ARMED, at(110)));
    events.push(Event::Ended { process: ProcessKey(0), at: Ns(at(150)) });
    events.push(mark(1, ARMED, at(300)));
    let report = report(&fed(events));
    // From its last mark to its end it may have run something; after its end it cannot.
    assert_eq!(unobserved(&report), [(UnobservedReason::NotArmed, 50 * MS)]);
    let splits: Vec<(u64, u64)> =
        report.workers.iter().map(|w| (w.exclusive.gemm, w.exclusive.unobserved)).collect();
    assert_eq!(splits, [(10 * MS, 200 * MS), (10 * MS, 0)]);
}

#[test]
fn two_processes_on_one_device_are_merged_and_split_apart() {
    let mut events = introduce(0);
    events.extend(introduce(1));
    for process in [0, 1] {
        events.push(context_sync(process, ARMED + u64::from(process), at(0) + 1));
    }
    events.extend(ran(0, 1, GEMM, at(1), at(10), at(30)));
    events.extend(ran(1, 1, NCCL, at(1), at(20), at(50)));
    events.push(mark(0, ARMED, at(100)));
    let mut session = fed(events);
    // Process 1 was active, so its mark is awaited.
    assert_eq!(session.watermark(), None);
    session.ingest(mark(1, ARMED + 1, at(90)));
    let report = report(&session);
    let device = only(&report);
    assert_eq!(device.window, Window { start: Ns(ARMED + 1), end: Ns(at(90)) });
    assert_eq!((device.exclusive.gemm, device.exclusive.communication), (20 * MS, 20 * MS));
    assert_eq!(device.inclusive.communication, 30 * MS);
    assert_eq!(device.compute_communication_overlap, 10 * MS);
    let apart: Vec<_> = report
        .workers
        .iter()
        .map(|worker| (worker.exclusive.gemm, worker.exclusive.communication))
        .collect();
    assert_eq!(apart, [(20 * MS, 0), (0, 30 * MS)]);
}

#[test]
fn a_process_whose_mark_never_comes_is_not_awaited_for_ever() {
    let mut events = introduce(0);
    events.extend(introduce(1));
    events.push(context_sync(0, ARMED, ARMED));
    events.push(Event::Work(kernel(1, 1, GEMM, at(10), at(20))));
    events.push(mark(0, ARMED, at(5000)));
    let mut session = fed(events);
    assert_eq!(session.watermark(), None);
    session.ingest(mark(0, ARMED, at(5011)));
    assert_eq!(session.watermark(), Some(Ns(at(5011))));
    assert_eq!(report(&session).defects, [Defect::NoMark { pid: 1001, count: 1 }]);
}

/// Process 0 is counted from [`ARMED`] on, process 1 is there and is not.
fn beside_one_that_is_not_counted(more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut events = introduce(0);
    events.extend(introduce(1));
    events.push(context_sync(0, ARMED, ARMED));
    events.extend(more);
    events.extend(ran(0, 1, GEMM, at(1), at(10), at(20)));
    events.push(mark(0, ARMED, at(100)));
    events
}

#[test]
fn what_a_process_that_is_not_counted_may_do_is_unobserved_on_the_devices_it_opened() {
    let report = report(&fed(beside_one_that_is_not_counted([])));
    assert_eq!(unobserved(&report), [(UnobservedReason::NotArmed, 90 * MS)]);
    assert_eq!((only(&report).exclusive.gemm, only(&report).exclusive.idle), (10 * MS, 0));
}

#[test]
fn a_process_that_has_not_opened_a_device_does_nothing_there() {
    let unopened = Event::Unopened { process: ProcessKey(1), ordinal: 0 };
    let mut session = fed(beside_one_that_is_not_counted([unopened]));
    assert_eq!(unobserved(&report(&session)), []);
    assert_eq!(only(&report(&session)).exclusive.idle, 90 * MS);
    // From here on it may.
    session.ingest(Event::Ordinal { process: ProcessKey(1), ordinal: 0, device: DEVICE });
    session.ingest(mark(0, ARMED, at(150)));
    assert_eq!(unobserved(&report(&session)), [(UnobservedReason::NotArmed, 50 * MS)]);
    // Its device is known once it was counted, from its arming on.
    session.ingest(context_sync(1, at(160), at(160)));
    for event in ran(1, 1, GEMM, at(161), at(170), at(180)) {
        session.ingest(event);
    }
    session.ingest(mark(1, at(160), at(250)));
    session.ingest(mark(0, ARMED, at(250)));
    let report = report(&session);
    assert_eq!(unobserved(&report), [(UnobservedReason::NotArmed, 60 * MS)]);
    assert_eq!(only(&report).exclusive.gemm, 20 * MS);
}
