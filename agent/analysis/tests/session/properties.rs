//! What must hold for every input, checked on inputs made by chance.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use analysis::event::{Event, LaunchKind, WorkKind};
use analysis::ids::{Correlation, Ns, ProcessKey, StackId};
use analysis::report::{DeviceReport, IdleCause, Inclusive, Report};
use analysis::session::{Options, Session};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::Index;

use crate::oracle::{Ran, Truth, What, split};
use crate::support::{
    ARMED, DEVICE, SECOND, check_sums, context_sync, introduce, kernel, launch, mark, mark_with,
    only, sum,
};

const PROCESSES: u32 = 2;
const STREAMS: u32 = 3;

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        Just(What::Attention),
        Just(What::Gemm),
        Just(What::Norm),
        Just(What::Nccl),
        Just(What::Copy)
    ]
}

/// One launch by chance. Records of one graph end less than 35 ns apart and marks are at least
/// 17 ns apart, so that a graph never looks settled while it still runs.
#[derive(Clone, Debug)]
struct Draw {
    process: u32,
    stream: u32,
    think: u64,
    queued: u64,
    length: u64,
    what: What,
    invalid: bool,
    delay: usize,
    sampled: Option<u32>,
    /// Records of the launch; more than one make it a graph of that number.
    nodes: u32,
}

fn draw() -> impl Strategy<Value = Draw> {
    (
        (0..PROCESSES, 0..STREAMS, 0_u64..12, 0_u64..10, 0_u64..25, what()),
        (0_u8..8, 0_usize..3, any::<Option<u8>>(), 1_u32..5),
    )
        .prop_map(|((process, stream, think, queued, length, what), rest)| {
            let (invalid, delay, weight, nodes) = rest;
            let sampled = weight.map(|weight| u32::from(weight % 8) + 1);
            // Half of the launches are no graphs.
            let nodes = if delay == 0 { 1 } else { nodes };
            let invalid = invalid == 0;
            Draw { process, stream, think, queued, length, what, invalid, delay, sampled, nodes }
        })
}

/// In-order streams: work starts after its launch and after what is before it in its stream.
fn run(draws: &[Draw]) -> Vec<Ran> {
    let mut free = [[ARMED; STREAMS as usize]; PROCESSES as usize];
    let mut now = [ARMED; PROCESSES as usize];
    let mut launches = [0; PROCESSES as usize];
    let mut all = Vec::new();
    for draw in draws {
        let (process, stream) = (draw.process as usize, draw.stream as usize);
        now[process] += draw.think;
        launches[process] += 1;
        for node in 0..draw.nodes {
            let start = free[process][stream].max(now[process]) + draw.queued;
            free[process][stream] = start + draw.length;
            all.push(Ran {
                process: draw.process,
                stream: draw.stream,
                launch: launches[process],
                enter: now[process],
                start,
                end: start + draw.length,
                what: draw.what,
                // Of a graph only the first record.
                invalid: draw.invalid && node == 0,
                graph: if draw.nodes > 1 { draw.nodes } else { 0 },
            });
        }
    }
    all
}

fn work(ran: &Ran, base: u32) -> Event {
    let correlation = base.wrapping_add(ran.launch);
    let name = ran.what as u32 + 1;
    let (start, end) = if ran.invalid { (0, 0) } else { (ran.start, ran.end) };
    let mut work = kernel(ran.process, correlation, name, start, end);
    work.stream = ran.stream;
    work.graph = ran.graph;
    if ran.what == What::Copy {
        work.kind = WorkKind::Memcpy { bytes: 1, copy_kind: 8 };
    }
    Event::Work(work)
}

/// The stream of events, cut at marks every `period`. Within a cut the order is free.
fn cuts(draws: &[Draw], base: u32, period: u64) -> Vec<Vec<Event>> {
    let all = run(draws);
    let last = all.iter().map(|ran| ran.end.max(ran.enter)).max().unwrap_or(ARMED);
    // Enough marks after the last record for its delay and for a graph to settle.
    let marks = usize::try_from((last - ARMED) / period).unwrap() + 8;
    let flush = |cut: usize| ARMED + period * (cut as u64 + 1);
    let cut_of = |at: u64| usize::try_from((at - ARMED) / period).unwrap();
    let mut cuts: Vec<Vec<Event>> = vec![Vec::new(); marks];
    for process in 0..PROCESSES {
        cuts[0].push(context_sync(process, ARMED, ARMED));
    }
    let mut records = all.iter();
    for draw in draws {
        for node in 0..draw.nodes {
            let ran = records.next().unwrap();
            if node == 0 {
                launches(draw, ran, base, &mut cuts[cut_of(ran.enter)..]);
            }
            // The records of a graph come in the order in which they ran.
            cuts[cut_of(ran.end) + draw.delay].push(work(ran, base));
        }
    }
    for (cut, events) in cuts.iter_mut().enumerate() {
        // The marks come last in their cut, whatever order the rest takes.
        events.extend((0..PROCESSES).map(|process| mark(process, ARMED, flush(cut))));
    }
    cuts
}

/// The launch in the first of `cuts`, and its stack, if it has one, a little later.
fn launches(draw: &Draw, ran: &Ran, base: u32, cuts: &mut [Vec<Event>]) {
    let correlation = base.wrapping_add(ran.launch);
    let mut launch = launch(ran.process, correlation, ran.enter);
    launch.sampled = draw.sampled;
    if draw.nodes > 1 {
        launch.kind = LaunchKind::Graph;
    }
    cuts[0].push(Event::Launch(launch));
    if draw.sampled.is_some() {
        cuts[draw.delay].push(Event::LaunchStack {
            process: ProcessKey(ran.process),
            correlation: Correlation(correlation),
            stack: StackId(ran.launch % 3),
        });
    }
}

fn introduced() -> Session {
    let mut session = Session::new(Options::MARKED);
    for event in (0..PROCESSES).flat_map(introduce) {
        session.ingest(event);
    }
    session
}

fn truth_of(device: &DeviceReport) -> Truth {
    let Inclusive { attention, gemm, communication, other } = device.inclusive;
    Truth {
        exclusive: device.exclusive,
        inclusive: [attention, gemm, communication, other],
        overlap: device.compute_communication_overlap,
        kernels: device.kernels,
        copies: device.copies,
    }
}

/// Every sum of a report that must never fall.
fn counters(report: &Report) -> Vec<u64> {
    let mut counters = Vec::new();
    for device in &report.devices {
        let e = device.exclusive;
        let causes =
            IdleCause::ALL.map(|cause| device.idle_cause.get(&cause).copied().unwrap_or(0));
        counters.extend(causes);
        counters.extend([e.attention, e.gemm, e.communication, e.other, e.idle, e.unobserved]);
        counters.extend(truth_of(device).inclusive);
        counters.extend([device.kernels, device.copies, device.window.end.0]);
        let records = device.records;
        counters.extend([records.classified, records.unclassified, records.invalid, records.lost]);
    }
    counters
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_split_is_that_of_the_definitions(
        draws in vec(draw(), 1..40),
        base in any::<u32>(),
        period in 17_u64..60,
    ) {
        let mut session = introduced();
        for event in cuts(&draws, base, period).into_iter().flatten() {
            session.ingest(event);
        }
        session.finish();
        let report = session.report();
        check_sums(&report);
        let device = only(&report);
        let all = run(&draws);
        let (from, to) = (device.window.start.0, device.window.end.0);
        prop_assert_eq!(from, ARMED);
        prop_assert!(all.iter().all(|ran| ran.end <= to));
        prop_assert_eq!(truth_of(device), split(&all, from, to, None));
        for worker in &report.workers {
            let expected = split(&all, from, to, Some(worker.process.0));
            prop_assert_eq!(worker.exclusive, expected.exclusive);
            prop_assert_eq!(worker.kernels, expected.kernels);
        }
        let late = report.defects.iter().any(|d| matches!(d, analysis::defect::Defect::LateRecord { .. }));
        prop_assert!(!late, "{:?}", report.defects);
    }

    #[test]
    fn the_order_between_marks_does_not_matter(
        draws in vec(draw(), 1..40),
        base in any::<u32>(),
        period in 17_u64..60,
        picks in vec(any::<Index>(), 200),
    ) {
        let (mut straight, mut shuffled) = (introduced(), introduced());
        let mut picks = picks.iter().cycle();
        for events in cuts(&draws, base, period) {
            let (mut free, marks): (Vec<Event>, Vec<Event>) =
                events.iter().cloned().partition(|event| !matches!(event, Event::Mark(_)));
            for event in events {
                straight.ingest(event);
            }
            for last in (1..free.len()).rev() {
                let other = picks.next().map_or(0, |pick| pick.index(last + 1));
                free.swap(last, other);
            }
            for event in free.into_iter().chain(marks) {
                shuffled.ingest(event);
            }
        }
        straight.finish();
        shuffled.finish();
        prop_assert_eq!(by_name(straight.report()), by_name(shuffled.report()));
    }

    #[test]
    fn reports_in_between_change_nothing_and_never_run_backwards(
        draws in vec(draw(), 1..40),
        period in 17_u64..60,
    ) {
        let (mut once, mut often) = (introduced(), introduced());
        let mut before = counters(&often.report());
        for event in cuts(&draws, 0, period).into_iter().flatten() {
            once.ingest(event.clone());
            often.ingest(event);
            let report = often.report();
            check_sums(&report);
            let after = counters(&report);
            // Until the window is there its edges are 0.
            prop_assert!(before.iter().zip(&after).all(|(b, a)| b <= a), "{before:?} {after:?}");
            before = after;
        }
        prop_assert_eq!(once.report(), often.report());
    }

    #[test]
    fn the_sums_hold_for_hostile_input(events in vec(hostile(1 << 40), 0..120)) {
        let mut session = introduced();
        for event in events {
            session.ingest(event);
        }
        check_sums(&session.report());
        session.finish();
        check_sums(&session.report());
    }

    #[test]
    fn no_input_overflows(events in vec(hostile(u64::MAX), 0..120), whole in any::<bool>()) {
        let options = if whole { Options::WHOLE } else { Options::MARKED };
        let mut session = Session::new(options);
        for event in (0..PROCESSES).flat_map(introduce).chain(events) {
            session.ingest(event);
        }
        session.finish();
        for device in session.report().devices {
            prop_assert_eq!(sum(&device.exclusive), device.window.end.0 - device.window.start.0);
        }
    }

    #[test]
    fn whole_traces_are_split_by_the_definitions(draws in vec(draw(), 1..40)) {
        let mut session = Session::new(Options::WHOLE);
        for event in (0..PROCESSES).flat_map(introduce) {
            session.ingest(event);
        }
        let mut all = run(&draws);
        for ran in &all {
            session.ingest(work(ran, 0));
        }
        session.finish();
        let report = session.report();
        check_sums(&report);
        let device = only(&report);
        // A trace without launches does not bound invalid records by them, and one without
        // valid records has no window.
        for ran in &mut all {
            ran.enter = 0;
        }
        let valid = || all.iter().filter(|ran| !ran.invalid);
        let from = valid().map(|ran| ran.start).min().unwrap_or(0);
        let to = valid().map(|ran| ran.end).max().unwrap_or(0);
        prop_assert_eq!((device.window.start, device.window.end), (Ns(from), Ns(to)));
        let mut expected = split(&all, from, to, None);
        // The last instant belongs to a whole trace.
        for ran in valid().filter(|ran| ran.start == ran.end && ran.start == to) {
            match ran.what {
                What::Copy => expected.copies += 1,
                _ => expected.kernels += 1,
            }
        }
        prop_assert_eq!(truth_of(device), expected);
    }
}

/// Names instead of ids, which depend on the order of arrival.
fn by_name(mut report: Report) -> Report {
    let mut names = report.names.clone();
    names.sort();
    let renamed = |id: analysis::ids::NameId| {
        let at = names.binary_search(&report.names[id.0 as usize]).unwrap();
        analysis::ids::NameId(u32::try_from(at).unwrap())
    };
    for device in &mut report.devices {
        device.totals.iter_mut().for_each(|total| total.name = renamed(total.name));
        device.totals.sort_by_key(|total| total.name);
    }
    report.stacks.iter_mut().for_each(|time| time.name = renamed(time.name));
    report.stacks.sort_by_key(|time| (time.process, time.name, time.stack));
    report.names = names;
    report
}

/// Any event with times below `limit`, mostly small numbers so that they meet.
fn hostile(limit: u64) -> impl Strategy<Value = Event> {
    let time = move || {
        prop_oneof![
            3 => 0_u64..60,
            2 => (0_u64..60).prop_map(|t| 6 * SECOND + t),
            1 => 0..limit,
            1 => Just(limit),
        ]
    };
    let id = || prop_oneof![3 => 0_u32..6, 1 => any::<u32>()];
    let work = (id(), 0_u32..4, 0_u32..7, time(), time(), (0_u32..3, 0_u8..12)).prop_map(
        |(correlation, process, name, start, end, (stream, copy))| {
            let mut work = kernel(process, correlation, name, start, end);
            work.stream = stream;
            work.graph = stream;
            if copy > 8 {
                work.kind = WorkKind::Memcpy { bytes: u64::MAX, copy_kind: copy };
            }
            Event::Work(work)
        },
    );
    let launched = (id(), 0_u32..4, time(), 0_u8..3, any::<Option<u32>>()).prop_map(
        |(correlation, process, enter, kind, sampled)| {
            let mut launch = launch(process, correlation, enter);
            launch.kind =
                [LaunchKind::Kernel, LaunchKind::Graph, LaunchKind::Copy][usize::from(kind)];
            launch.sampled = sampled;
            Event::Launch(launch)
        },
    );
    prop_oneof![
        4 => work,
        3 => launched,
        3 => (0_u32..4, time(), time(), any::<u64>(), 0_u8..8)
            .prop_map(|(process, armed, flush, lost, last)| {
                mark_with(process, armed, flush, lost >> 60, last == 0)
            }),
        1 => (0_u32..4, time(), time()).prop_map(|(process, enter, exit)| {
            context_sync(process, enter, exit)
        }),
        1 => (0_u32..4, id()).prop_map(|(process, correlation)| Event::LaunchFailed {
            process: ProcessKey(process),
            correlation: Correlation(correlation),
            captured: correlation % 2 == 0,
        }),
        1 => (0_u32..4, id()).prop_map(|(process, correlation)| {
            crate::support::stack(process, correlation, correlation)
        }),
        1 => (0_u32..4, time()).prop_map(|(process, at)| Event::Ended {
            process: ProcessKey(process),
            at: Ns(at),
        }),
        1 => (0_u32..4, 0_u32..3).prop_map(|(process, ordinal)| Event::Ordinal {
            process: ProcessKey(process),
            ordinal,
            device: DEVICE,
        }),
    ]
}
