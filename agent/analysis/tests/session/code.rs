//! In which code the launching thread was while the host was late.

use analysis::defect::Defect;
use analysis::event::{Blocked, Event, Sampled, Sync, SyncScope};
use analysis::ids::{Ns, ProcessKey, StackId, Thread};
use analysis::report::{GapHost, HostStack, HostState, IdleCause, Report};
use analysis::session::{Options, Session};

use crate::support::{
    ARMED, GEMM, check_sums, context_sync, introduce, kernel, launch, mark, only, ran,
};

const US: u64 = 1_000;
const PROCESS: ProcessKey = ProcessKey(0);
/// The first thread of process 0.
const MAIN: Thread = Thread(1000);

fn at(us: u64) -> u64 {
    ARMED + us * US
}

fn sample(tid: Thread, us: u64, stack: u32) -> Event {
    Event::Sampled(Sampled { process: PROCESS, tid, at: Ns(at(us)), stack: StackId(stack) })
}

fn slept(from: u64, to: u64, signature: u64) -> Event {
    let (from, to) = (Ns(at(from)), Ns(at(to)));
    Event::Blocked(Blocked { process: PROCESS, tid: MAIN, from, to, signature })
}

fn sleep_stack(signature: u64, stack: u32) -> Event {
    Event::SleepStack { process: PROCESS, tid: MAIN, signature, stack: StackId(stack) }
}

/// Launched at `enter`, starts 4 us later, runs for 6 us.
fn work(correlation: u32, enter: u64) -> [Event; 2] {
    ran(0, correlation, GEMM, at(enter), at(enter + 4), at(enter + 10))
}

fn fed(events: impl IntoIterator<Item = Event>, until: u64) -> (Session, Report) {
    let mut session = Session::new(Options::MARKED);
    for event in introduce(0).into_iter().chain([context_sync(0, ARMED, ARMED)]).chain(events) {
        session.ingest(event);
    }
    session.ingest(mark(0, ARMED, at(until)));
    let report = session.report();
    check_sums(&report);
    (session, report)
}

fn row(state: HostState, stack: Option<u32>, samples: u64, us: u64) -> HostStack {
    let stack = stack.map(StackId);
    HostStack { device: 0, process: PROCESS, state, stack, samples, total: us * US }
}

fn host(stack: u32, samples: u64, asleep: u64, total: u64) -> GapHost {
    GapHost { stack: StackId(stack), samples, asleep: asleep * US, total: total * US }
}

#[test]
fn a_late_launch_names_where_its_thread_ran_and_slept() {
    let mut events = [work(1, 0), work(2, 500)].concat();
    // Host-bound are [10, 500). Samples at both edges: what is at its end is outside.
    events.extend([sample(MAIN, 10, 1), sample(MAIN, 30, 2), sample(MAIN, 40, 2)]);
    events.extend([sample(MAIN, 500, 3), sample(Thread(1001), 50, 4)]);
    events.extend([sleep_stack(9, 5), slept(100, 300, 9), slept(400, 600, 0)]);
    let (_, report) = fed(events, 510);
    assert_eq!(only(&report).idle_cause[&IdleCause::HostBound], 490 * US);
    assert_eq!(
        report.host_stacks,
        [
            // It ran for 190 us.
            HostStack { total: 63_333, ..row(HostState::Running, Some(1), 1, 0) },
            HostStack { total: 126_667, ..row(HostState::Running, Some(2), 2, 0) },
            row(HostState::Asleep, None, 0, 100),
            row(HostState::Asleep, Some(5), 0, 200),
        ]
    );
    assert_eq!(
        only(&report).gaps[0].host,
        [
            host(5, 0, 200, 200),
            GapHost { total: 126_667, ..host(2, 2, 0, 0) },
            GapHost { total: 63_333, ..host(1, 1, 0, 0) },
        ]
    );
}

/// Shares come from all gaps together: each sample stands for as much time as any other.
#[test]
fn samples_in_few_gaps_share_out_all_of_them() {
    let mut events = Vec::new();
    for gap in 0..10 {
        events.extend(work(1 + gap, u64::from(gap) * 100));
    }
    // Nine gaps of 90 us, each the end of its kernel to the next launch.
    events.extend([sample(MAIN, 250, 1), sample(MAIN, 350, 1), sample(MAIN, 750, 2)]);
    let (_, report) = fed(events, 910);
    let running = |stack, samples, us| row(HostState::Running, Some(stack), samples, us);
    assert_eq!(report.host_stacks, [running(1, 2, 540), running(2, 1, 270)]);
    let named: Vec<u64> = only(&report)
        .gaps
        .iter()
        .filter(|gap| !gap.host.is_empty())
        .map(|gap| (gap.start.0 - ARMED) / US)
        .collect();
    assert_eq!(named, [210, 310, 710]);
}

#[test]
fn only_the_launching_thread_and_only_host_bound_time_counts() {
    let mut events = [work(1, 0), work(2, 200)].concat();
    for event in &mut events {
        if let Event::Launch(launch) = event {
            launch.thread = 3;
        }
    }
    let tid = Thread(1077);
    events.insert(0, Event::Thread { process: PROCESS, thread: 3, tid });
    events.push(Event::Sync(Sync {
        process: PROCESS,
        context: 1,
        scope: SyncScope::Stream,
        enter: Ns(at(5)),
        exit: Ns(at(60)),
        thread: 3,
        succeeded: true,
    }));
    // In the synchronisation; in host-bound time; on its way; of the first thread.
    events.extend([sample(tid, 20, 1), sample(tid, 100, 2), sample(tid, 202, 3)]);
    events.push(sample(MAIN, 100, 4));
    let (_, report) = fed(events, 210);
    assert_eq!(only(&report).idle_cause[&IdleCause::HostBound], 140 * US);
    assert_eq!(report.host_stacks, [row(HostState::Running, Some(2), 1, 140)]);
    assert_eq!(only(&report).gaps[0].host, [host(2, 1, 0, 140)]);
}

#[test]
fn threads_of_which_nothing_was_told_have_no_rows() {
    let (_, report) = fed([work(1, 0), work(2, 500)].concat(), 510);
    assert_eq!(report.host_stacks, []);
    assert_eq!(only(&report).gaps[0].host, []);
}

/// A worker that is told to sleep but was never sampled: what it ran is under no stack.
#[test]
fn what_ran_without_a_sample_hangs_under_no_stack() {
    let mut events = [work(1, 0), work(2, 500)].concat();
    events.extend([slept(100, 300, 9), sleep_stack(9, 5)]);
    let (_, report) = fed(events, 510);
    assert_eq!(
        report.host_stacks,
        [row(HostState::Running, None, 0, 290), row(HostState::Asleep, Some(5), 0, 200)]
    );
}

#[test]
fn a_sample_that_comes_after_its_gap_was_explained_is_counted() {
    let (mut session, _) = fed([work(1, 0), work(2, 500)].concat(), 510);
    session.ingest(sample(MAIN, 100, 1));
    session.ingest(mark(0, ARMED, at(600)));
    let report = session.report();
    assert_eq!(report.host_stacks, []);
    assert_eq!(report.defects, [Defect::LateSample { pid: 1000, count: 1 }]);
}

/// A sleep that is told in pieces, while a gap lasts, counts once.
#[test]
fn pieces_of_one_sleep_count_once() {
    let mut session = Session::new(Options::MARKED);
    let begin = introduce(0).into_iter().chain([context_sync(0, ARMED, ARMED)]).chain(work(1, 0));
    for event in begin.chain([sleep_stack(9, 5)]) {
        session.ingest(event);
    }
    for tick in 1..=5 {
        session.ingest(slept(20, tick * 100_000, 9));
        session.ingest(mark(0, ARMED, at(tick * 100_000)));
    }
    let late = at(500_020);
    session.ingest(slept(20, 500_010, 9));
    session.ingest(Event::Launch(launch(0, 2, late)));
    session.ingest(Event::Work(kernel(0, 2, GEMM, late + US, late + 2 * US)));
    session.ingest(mark(0, ARMED, late + 10 * US));
    let report = session.report();
    check_sums(&report);
    // [10, 20) and [500 010, 500 020) it ran, unseen.
    assert_eq!(
        report.host_stacks,
        [row(HostState::Running, None, 0, 20), row(HostState::Asleep, Some(5), 0, 499_990)]
    );
}
