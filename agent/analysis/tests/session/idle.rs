//! Idle causes: one scenario per cause, one with all, and the rules applied instant by instant.

use std::collections::BTreeMap;

use analysis::event::{Blocked, Event, LaunchKind, ProcessInfo, Sync, SyncScope};
use analysis::ids::{Correlation, Ns, ProcessKey, Thread};
use analysis::report::{GapLaunch, IdleCause, IdlePart, Report, Window};
use analysis::session::{Options, Session};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use crate::support::{
    ARMED, GEMM, MS, check_sums, context_sync, introduce, kernel, launch, mark, only, sampled,
    stack,
};

const US: u64 = 1_000;
const WORKER: u32 = 0;
const CORE: u32 = 1;

/// A worker and the engine core of its server; the device is drained when the worker is armed.
fn server(watched: bool) -> Vec<Event> {
    let mut events = introduce(WORKER);
    for (process, role) in [(WORKER, "worker"), (CORE, "engine_core")] {
        let pid = 1000 + process;
        let role = role.to_owned();
        let info = ProcessInfo { pid, role, server: 1001, ..ProcessInfo::default() };
        events.push(Event::Process { process: ProcessKey(process), info });
    }
    events.push(context_sync(WORKER, ARMED, ARMED));
    if watched {
        events.push(asleep(CORE, 0, 1));
    }
    events
}

fn asleep(process: u32, from: u64, to: u64) -> Event {
    let tid = Thread(1000 + process);
    asleep_at(process, tid, from, to, 0)
}

fn asleep_at(process: u32, tid: Thread, from: u64, to: u64, signature: u64) -> Event {
    let process = ProcessKey(process);
    Event::Blocked(Blocked { process, tid, from: Ns(from), to: Ns(to), signature })
}

fn stream_sync(enter: u64, exit: u64) -> Event {
    Event::Sync(Sync {
        process: ProcessKey(WORKER),
        context: 1,
        scope: SyncScope::Stream,
        enter: Ns(enter),
        exit: Ns(exit),
        thread: 0,
        succeeded: true,
    })
}

/// Launched at `enter`, ran in `[start, end)`, microseconds after arming.
fn work(correlation: u32, stream: u32, enter: u64, start: u64, end: u64) -> [Event; 2] {
    let at = |us: u64| ARMED + us * US;
    let mut ran = kernel(WORKER, correlation, GEMM, at(start), at(end));
    ran.stream = stream;
    [Event::Launch(launch(WORKER, correlation, at(enter))), Event::Work(ran)]
}

fn report(watched: bool, events: impl IntoIterator<Item = Event>, until: u64) -> Report {
    let mut session = Session::new(Options::MARKED);
    for event in server(watched).into_iter().chain(events) {
        session.ingest(event);
    }
    session.ingest(mark(WORKER, ARMED, ARMED + until * US));
    session.finish();
    let report = session.report();
    check_sums(&report);
    report
}

fn causes(report: &Report) -> Vec<(IdleCause, u64)> {
    only(report).idle_cause.iter().map(|(&cause, &ns)| (cause, ns / US)).collect()
}

#[test]
fn work_on_its_way_is_launch_latency() {
    let report = report(false, [work(1, 7, 1, 3, 10), work(2, 7, 2, 12, 20)].concat(), 20);
    // [0, 1) nothing was launched; [1, 3) and [10, 12) it was.
    assert_eq!(causes(&report), [(IdleCause::HostBound, 1), (IdleCause::LaunchLatency, 4)]);
}

#[test]
fn queued_work_that_waits_long_waits_for_another() {
    let report = report(false, [work(1, 7, 0, 2, 10), work(2, 8, 3, 110, 120)].concat(), 120);
    assert_eq!(causes(&report), [(IdleCause::Dependency, 100), (IdleCause::LaunchLatency, 2)]);
}

#[test]
fn time_in_the_launch_call_is_no_wait_for_another() {
    let mut events = [work(1, 7, 0, 2, 10), work(2, 7, 20, 70, 80)].concat();
    let Event::Launch(launch) = &mut events[2] else { unreachable!() };
    launch.exit = Some(Ns(ARMED + 60 * US));
    let report = report(false, events, 80);
    assert_eq!(causes(&report), [(IdleCause::HostBound, 10), (IdleCause::LaunchLatency, 52)]);
}

#[test]
fn a_late_launch_is_host_bound() {
    let report = report(false, [work(1, 7, 0, 2, 10), work(2, 7, 500, 504, 520)].concat(), 520);
    assert_eq!(causes(&report), [(IdleCause::HostBound, 490), (IdleCause::LaunchLatency, 6)]);
    let gap = &only(&report).gaps[0];
    let at = |us| Ns(ARMED + us * US);
    assert_eq!((gap.start, gap.end), (at(10), at(504)));
    assert_eq!(
        gap.parts,
        [
            IdlePart { end: at(500), cause: IdleCause::HostBound },
            IdlePart { end: at(504), cause: IdleCause::LaunchLatency }
        ]
    );
    let process = ProcessKey(WORKER);
    assert_eq!(gap.launch, Some(GapLaunch { process, thread: 0, enter: at(500), graph: false }));
    assert_eq!((gap.before, gap.after), (gap.after, gap.before));
    assert!(gap.before.is_some());
    assert_eq!(only(&report).gap_count, 2);
}

#[test]
fn a_thread_that_waits_for_the_device_is_sync_until_the_call_returns() {
    let at = |us: u64| ARMED + us * US;
    let mut events = [work(1, 7, 0, 2, 10), work(2, 7, 90, 94, 100)].concat();
    events.push(stream_sync(at(5), at(40)));
    let report = report(false, events, 100);
    assert_eq!(
        causes(&report),
        [(IdleCause::HostBound, 50), (IdleCause::Sync, 30), (IdleCause::LaunchLatency, 6)]
    );
    let gap = &only(&report).gaps[0];
    assert_eq!(gap.sync, Some(Window { start: Ns(at(5)), end: Ns(at(40)) }));
}

#[test]
fn a_server_whose_threads_all_sleep_has_no_requests() {
    let at = |us: u64| ARMED + us * US;
    let mut events = [work(1, 7, 0, 2, 10), work(2, 7, 90_000, 90_004, 90_010)].concat();
    events.push(asleep(CORE, at(30), at(80_000)));
    // Looks at its queue every 500 us.
    events.extend((0..179).map(|n| asleep(WORKER, at(20 + 500 * n), at(500 + 500 * n))));
    let report = report(true, events, 90_010);
    assert_eq!(
        causes(&report),
        [
            (IdleCause::NoRequests, 79_970),
            (IdleCause::HostBound, 20 + 10_000),
            (IdleCause::LaunchLatency, 6)
        ]
    );
}

#[test]
fn a_core_that_sleeps_on_until_the_launch_waits_for_its_worker() {
    let at = |us: u64| ARMED + us * US;
    let mut events = [work(1, 7, 0, 2, 10), work(2, 7, 5_000, 5_004, 5_010)].concat();
    events.push(asleep(CORE, at(30), at(5_100)));
    events.push(asleep(WORKER, at(500), at(4_000)));
    let report = report(true, events, 5_010);
    assert_eq!(causes(&report), [(IdleCause::HostBound, 4_990), (IdleCause::LaunchLatency, 6)]);
}

#[test]
fn a_long_gap_of_threads_that_nobody_watched_is_of_unknown_cause() {
    let events = [work(1, 7, 0, 2, 10), work(2, 7, 150_000, 150_003, 150_010)].concat();
    let report = report(false, events, 150_010);
    assert_eq!(causes(&report), [(IdleCause::LaunchLatency, 5), (IdleCause::Unknown, 149_990)]);
}

#[test]
fn work_without_a_known_launch_ends_a_gap_of_unknown_cause() {
    let mut events = work(1, 7, 0, 2, 10).to_vec();
    events.push(Event::Work(kernel(WORKER, 9, GEMM, ARMED + 50 * US, ARMED + 60 * US)));
    let report = report(false, events, 60);
    assert_eq!(causes(&report), [(IdleCause::LaunchLatency, 2), (IdleCause::Unknown, 40)]);
}

#[test]
fn a_graph_gets_longer_to_come_than_a_kernel() {
    let mut events = [work(1, 7, 0, 2, 10), work(2, 7, 20, 70, 80)].concat();
    let Event::Launch(graph) = &mut events[2] else { unreachable!() };
    graph.kind = LaunchKind::Graph;
    for correlation in 0..4 {
        // Settles the graph.
        events.push(mark(WORKER, ARMED, ARMED + (90 + correlation) * US));
    }
    let report = report(false, events, 100);
    let got = causes(&report);
    assert!(got.contains(&(IdleCause::LaunchLatency, 52)), "{got:?}");
}

#[test]
fn idle_time_hangs_under_the_stack_of_the_launch_that_was_late() {
    let at = |us: u64| ARMED + us * US;
    let mut events = work(1, 7, 0, 2, 10).to_vec();
    events.push(sampled(WORKER, 2, at(500), 3));
    events.push(stack(WORKER, 2, 77));
    events.push(Event::Work(kernel(WORKER, 2, GEMM, at(504), at(510))));
    let report = report(false, events, 510);
    let host = report.idle_stacks.iter().find(|idle| idle.cause == IdleCause::HostBound).unwrap();
    assert_eq!((host.stack.map(|id| id.0), host.total), (Some(77), 490 * US));
    assert_eq!(only(&report).gaps[0].stack.map(|id| id.0), Some(77));
}

#[test]
fn a_gap_that_lasts_is_explained_while_it_lasts() {
    let at = |us: u64| ARMED + us * US;
    let mut session = Session::new(Options::MARKED);
    for event in server(true).into_iter().chain(work(1, 7, 0, 2, 10)) {
        session.ingest(event);
    }
    for tick in 1..=50 {
        let now = at(tick * 100_000);
        session.ingest(asleep(CORE, at(30), now));
        session.ingest(asleep(WORKER, at(20), now));
        session.ingest(mark(WORKER, ARMED, now));
        let report = session.report();
        check_sums(&report);
        let device = only(&report);
        assert!(device.idle_undecided <= 100 * MS, "{}", device.idle_undecided);
        let told = device.idle_cause.get(&IdleCause::NoRequests).copied().unwrap_or(0);
        assert_eq!(told, if tick == 1 { 0 } else { (tick - 1) * 100 * MS - 30 * US });
    }
    session.finish();
    assert_eq!(only(&session.report()).idle_undecided, 0);
}

#[test]
fn a_server_that_never_launched_has_no_requests_while_all_of_it_sleeps() {
    let at = |us: u64| ARMED + us * US;
    let mut session = Session::new(Options::MARKED);
    for event in server(true) {
        session.ingest(event);
    }
    for tick in 1..=50 {
        let now = at(tick * 100_000);
        session.ingest(asleep(CORE, at(0), now));
        // Half a second in, the worker does something for as long.
        let worker = if tick <= 5 { (0, tick) } else { (10, tick.max(10)) };
        session.ingest(asleep(WORKER, at(worker.0 * 100_000), at(worker.1 * 100_000)));
        session.ingest(mark(WORKER, ARMED, now));
        check_sums(&session.report());
    }
    session.finish();
    let report = session.report();
    check_sums(&report);
    assert_eq!(
        causes(&report),
        [(IdleCause::NoRequests, 4_500_000), (IdleCause::Unknown, 500_000)]
    );
    assert_eq!(only(&report).gaps[0].launch, None);
}

/// One step of a host thread: it thinks, may wait for the device, and launches.
#[derive(Clone, Copy, Debug)]
struct Draw {
    think: u64,
    sleep: Option<(u64, u64)>,
    core_sleep: Option<(u64, u64)>,
    sync: Option<u64>,
    stream: u32,
    way: u64,
    length: u64,
}

fn draw() -> impl Strategy<Value = Draw> {
    let span = || proptest::option::of((0_u64..400, 1_u64..2_000));
    (
        prop_oneof_think(),
        span(),
        span(),
        proptest::option::of(0_u64..90),
        0_u32..2,
        0_u64..60,
        1_u64..300,
    )
        .prop_map(|(think, sleep, core_sleep, sync, stream, way, length)| Draw {
            think,
            sleep,
            core_sleep,
            sync,
            stream,
            way,
            length,
        })
}

fn prop_oneof_think() -> impl Strategy<Value = u64> {
    proptest::prop_oneof![8 => 0_u64..200, 3 => 200_u64..3_000, 1 => 50_000_u64..150_000]
}

#[derive(Clone, Copy, Debug)]
struct Ran {
    enter: u64,
    start: u64,
    end: u64,
}

#[derive(Debug, Default)]
struct Truth {
    ran: Vec<Ran>,
    syncs: Vec<(u64, u64)>,
    worker: Vec<(u64, u64)>,
    core: Vec<(u64, u64)>,
}

impl Truth {
    /// What happened, microseconds after arming.
    fn of(draws: &[Draw]) -> Self {
        let mut truth = Self::default();
        let (mut now, mut free) = (0, [0_u64; 2]);
        for draw in draws {
            let from = now;
            // A gap that is older than 100 ms is decided by who launched last: before the first
            // launch nobody did.
            now += if truth.ran.is_empty() { draw.think.min(50_000) } else { draw.think };
            for (span, list) in
                [(draw.sleep, &mut truth.worker), (draw.core_sleep, &mut truth.core)]
            {
                if let Some((offset, length)) = span {
                    list.push(((from + offset).min(now), (from + offset + length).min(now)));
                }
            }
            if let Some(slow) = draw.sync {
                let until = truth.ran.iter().map(|ran| ran.end).max().unwrap_or(0);
                let exit = until.max(now) + slow;
                truth.syncs.push((now, exit));
                now = exit;
            }
            let stream = draw.stream as usize;
            let start = (now + draw.way).max(free[stream] + draw.way);
            free[stream] = start + draw.length;
            truth.ran.push(Ran { enter: now, start, end: free[stream] });
            now += 1;
        }
        truth
    }

    fn asleep(list: &[(u64, u64)], t: u64) -> bool {
        let before = list.iter().filter(|s| s.0 < s.1 && s.0 <= t).map(|s| s.1).max();
        let after = list.iter().filter(|s| s.0 < s.1 && s.0 > t).map(|s| s.0).min();
        let within = list.iter().any(|s| s.0 <= t && t < s.1);
        within || matches!((before, after), (Some(b), Some(a)) if b <= t && a - b <= 100)
    }

    /// Until when a thread sleeps that sleeps at `t`.
    fn sleeps_until(list: &[(u64, u64)], t: u64) -> Option<u64> {
        let within = |t: u64| list.iter().find(move |s| s.0 <= t && t < s.1).map(|s| s.1);
        let mut until = within(t)?;
        while let Some(later) = within(until) {
            until = later;
        }
        Some(until)
    }

    /// The rules, at one instant; `None` while something runs.
    fn cause(&self, t: u64, watched: bool) -> Option<IdleCause> {
        if self.ran.iter().any(|ran| ran.start <= t && t < ran.end) {
            return None;
        }
        let gap = self.ran.iter().map(|ran| ran.end).filter(|&end| end <= t).max().unwrap_or(0);
        let later = || self.ran.iter().filter(|ran| ran.start > t);
        let queued = later().filter(|ran| ran.enter <= t);
        if let Some(first) = queued.min_by_key(|ran| (ran.start, ran.enter)) {
            let wait = first.start - first.enter.max(gap);
            return Some(if wait <= 20 { IdleCause::LaunchLatency } else { IdleCause::Dependency });
        }
        let enter = later().map(|ran| ran.enter).min()?;
        if self.syncs.iter().any(|&(from, to)| from <= t && t < to) {
            return Some(IdleCause::Sync);
        }
        if watched {
            let core = Self::sleeps_until(&self.core, t).is_some_and(|until| until <= enter);
            let all = Self::asleep(&self.worker, t) && core;
            return Some(if all { IdleCause::NoRequests } else { IdleCause::HostBound });
        }
        Some(if enter - gap > 100_000 { IdleCause::Unknown } else { IdleCause::HostBound })
    }

    /// Idle time by cause, and the instant at which the last work ended.
    fn causes(&self, watched: bool) -> (BTreeMap<IdleCause, u64>, u64) {
        let until = self.ran.iter().map(|ran| ran.end).max().unwrap_or(0);
        let mut cuts: Vec<u64> = vec![0, until];
        cuts.extend(self.ran.iter().flat_map(|ran| [ran.enter, ran.start, ran.end]));
        let spans = self.syncs.iter().chain(&self.worker).chain(&self.core);
        cuts.extend(spans.flat_map(|&(from, to)| [from, to]));
        cuts.retain(|&cut| cut <= until);
        cuts.sort_unstable();
        cuts.dedup();
        let mut causes = BTreeMap::new();
        for pair in cuts.windows(2) {
            if let Some(cause) = self.cause(pair[0], watched) {
                *causes.entry(cause).or_default() += pair[1] - pair[0];
            }
        }
        (causes, until)
    }

    /// The events, each with the time at which it can be known, in order.
    fn events(&self) -> Vec<(u64, Event)> {
        let at = |us: u64| ARMED + us * US;
        let mut events = Vec::new();
        for (correlation, ran) in (1..).zip(&self.ran) {
            let launch = launch(WORKER, correlation, at(ran.enter));
            events.push((ran.enter, Event::Launch(launch)));
            let mut work = kernel(WORKER, correlation, GEMM, at(ran.start), at(ran.end));
            work.correlation = Correlation(correlation);
            events.push((ran.end, Event::Work(work)));
        }
        for &(enter, exit) in &self.syncs {
            events.push((exit, stream_sync(at(enter), at(exit))));
        }
        for (process, list) in [(WORKER, &self.worker), (CORE, &self.core)] {
            for &(from, to) in list.iter().filter(|(from, to)| from < to) {
                events.push((to, asleep(process, at(from), at(to))));
            }
        }
        events.sort_by_key(|(known, _)| *known);
        events
    }
}

proptest! {
    #![proptest_config(Config::with_cases(256))]

    #[test]
    fn every_instant_has_the_cause_of_the_rules(
        draws in vec(draw(), 1..30),
        watched in any::<bool>(),
        period in 30_u64..100_000,
    ) {
        let mut truth = Truth::of(&draws);
        if !watched {
            truth.worker.clear();
            truth.core.clear();
        }
        let (expected, until) = truth.causes(watched);
        let mut session = Session::new(Options::MARKED);
        for event in server(watched) {
            session.ingest(event);
        }
        let mut flush = period;
        for (known, event) in truth.events() {
            while known >= flush && flush < until {
                session.ingest(mark(WORKER, ARMED, ARMED + flush * US));
                flush += period;
            }
            session.ingest(event);
        }
        session.ingest(mark(WORKER, ARMED, ARMED + until * US));
        session.finish();
        let report = session.report();
        check_sums(&report);
        let got: BTreeMap<IdleCause, u64> =
            only(&report).idle_cause.iter().map(|(&cause, &ns)| (cause, ns / US)).collect();
        prop_assert_eq!(got, expected, "{:?}", truth);
    }
}
