use std::collections::HashSet;

use analysis::event::{
    Blocked, GraphChange, GraphEvent, Launch, LaunchKind, Range, RangeKind, Sampled, Sync,
    SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, StackId, Thread};
use proptest::prelude::*;

use super::*;

const PROCESS: ProcessKey = ProcessKey(0);

fn numbers() -> impl Strategy<Value = (u64, u64, u32, u32, u64, u64)> {
    (0..40_u64, 0..20_u64, any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>())
}

fn timed() -> impl Strategy<Value = Event> {
    let kinds = (0..3_u32, any::<u32>(), any::<u64>(), any::<u8>(), any::<u16>());
    let work = (numbers(), kinds).prop_map(|(n, (kind, name, bytes, copy_kind, grid_x))| {
        Event::Work(Work {
            process: ProcessKey(n.2 % 3),
            ordinal: n.3 % 70,
            context: n.2,
            stream: n.3,
            correlation: Correlation(n.2 ^ n.3),
            graph: n.3,
            graph_node: n.4,
            source_node: n.5,
            grid_x,
            start: Ns(n.0),
            end: Ns(n.1),
            kind: match kind {
                0 => WorkKind::Kernel { name },
                1 => WorkKind::Memcpy { bytes, copy_kind },
                _ => WorkKind::Memset { bytes },
            },
        })
    });
    let launch = (numbers(), 0..3_usize, any::<Option<u64>>(), any::<Option<u32>>()).prop_map(
        |(n, kind, exit, sampled)| {
            Event::Launch(Launch {
                process: PROCESS,
                correlation: Correlation(n.2),
                kind: [LaunchKind::Kernel, LaunchKind::Graph, LaunchKind::Copy][kind],
                enter: Ns(n.0),
                exit: exit.map(Ns),
                thread: n.3,
                function: n.4,
                sampled,
            })
        },
    );
    let sync = (numbers(), 0..3_usize, any::<bool>()).prop_map(|(n, scope, succeeded)| {
        Event::Sync(Sync {
            process: PROCESS,
            context: n.2,
            scope: [SyncScope::Context, SyncScope::Stream, SyncScope::Event][scope],
            enter: Ns(n.0),
            exit: Ns(n.1),
            thread: n.3,
            succeeded,
        })
    });
    let range = (numbers(), 0..3_usize).prop_map(|(n, kind)| {
        Event::Range(Range {
            process: PROCESS,
            thread: n.2,
            kind: RangeKind::ALL[kind],
            start: Ns(n.0),
            end: Ns(n.1),
            label: n.3,
            shapes: n.2,
        })
    });
    let blocked = numbers().prop_map(|n| {
        let (from, to) = (Ns(n.0), Ns(n.1));
        Event::Blocked(Blocked { process: PROCESS, tid: Thread(n.2), from, to, signature: n.4 })
    });
    let sampled = numbers().prop_map(|n| {
        let (at, stack) = (Ns(n.0), StackId(n.3));
        Event::Sampled(Sampled { process: PROCESS, tid: Thread(n.2), at, stack })
    });
    let graph = (numbers(), 0..7_u32).prop_map(|(n, change)| {
        let (node, original_node, graph, original_graph, exec) = (n.4, n.5, n.2, n.3, n.3);
        let change = match change {
            0 => GraphChange::NodeCreated { node, graph },
            1 => GraphChange::NodeCloned { node, graph, original_node, original_graph },
            2 => GraphChange::NodeDestroyed { node, graph },
            3 => GraphChange::GraphDestroyed { graph },
            4 => GraphChange::ExecCreated { exec, graph },
            5 => GraphChange::ExecDestroyed { exec },
            _ => GraphChange::ExecUpdated { exec, graph },
        };
        Event::Graph(GraphEvent { process: PROCESS, entry: n.2, at: Ns(n.0), change })
    });
    prop_oneof![work, launch, sync, range, blocked, sampled, graph]
}

/// What a session is fed, without marks and texts.
fn fed(events: &[Event], budget: usize) -> (Vec<Event>, Ordered) {
    let mut order = Order::within(budget);
    for event in events {
        order.push(event).unwrap();
    }
    let mut fed = Vec::new();
    let ordered = order
        .feed(&mut |input| match input {
            Input::Foreign(Event::Mark(_) | Event::Label { .. }) | Input::Name { .. } => {}
            Input::Foreign(event) => fed.push(event),
            other => panic!("unexpected input {other:?}"),
        })
        .unwrap();
    (fed, ordered)
}

proptest! {
    #[test]
    fn every_event_comes_back_as_it_was_and_in_order_spilled_or_not(
        events in prop::collection::vec(timed(), 0..200),
        rows in 1..40_usize,
    ) {
        let (whole, ordered) = fed(&events, BUDGET_BYTES);
        prop_assert_eq!(ordered, Ordered { events: events.len() as u64, spilled_bytes: 0 });
        let mut expected = events.clone();
        expected.sort_by_key(|event| {
            Row::of(row::time(event).unwrap(), event).unwrap().key()
        });
        prop_assert_eq!(&whole, &expected);
        let times: Vec<Ns> = whole.iter().map(|event| row::time(event).unwrap()).collect();
        prop_assert!(times.is_sorted());
        let (spilled, ordered) = fed(&events, rows * size_of::<Row>());
        prop_assert_eq!(spilled, whole);
        let bytes = if events.len() > rows { events.len() * size_of::<Row>() } else { 0 };
        prop_assert_eq!(ordered.spilled_bytes, bytes as u64);
    }
}

fn kernel(start: u64, name: u32) -> Event {
    Event::Work(Work {
        process: PROCESS,
        ordinal: 0,
        context: 1,
        stream: 7,
        correlation: Correlation(1),
        graph: 0,
        graph_node: 0,
        source_node: 0,
        grid_x: 1,
        start: Ns(start),
        end: Ns(start + 1),
        kind: WorkKind::Kernel { name },
    })
}

fn range(start: u64, end: u64, label: u32) -> Event {
    let kind = RangeKind::Operator;
    let (start, end) = (Ns(start), Ns(end));
    Event::Range(Range { process: PROCESS, thread: 1, kind, start, end, label, shapes: 0 })
}

#[test]
fn outer_ranges_come_before_inner_and_both_before_work() {
    let events = [kernel(5, 1), range(5, 8, 1), range(5, 9, 1), range(2, 20, 1)];
    let expected = [range(2, 20, 1), range(5, 9, 1), range(5, 8, 1), kernel(5, 1)];
    assert_eq!(fed(&events, BUDGET_BYTES).0, expected);
}

#[test]
fn texts_are_told_once_before_their_first_use_and_marks_promise_what_holds() {
    for budget in [BUDGET_BYTES, 10_000 * size_of::<Row>()] {
        let mut order = Order::within(budget);
        let names = [order.names.number("gemm"), order.names.number("norm")];
        assert_eq!(order.names.number("gemm"), names[0]);
        let label = order.labels.number("aten::mm");
        let count = 2 * MARK_EVENTS + 10;
        // Backwards, so that order is the reader's work.
        for time in (0..count).rev() {
            let event = if time % 2 == 0 {
                kernel(time, names[usize::from(time % 4 == 0)])
            } else {
                range(time, time + 1, label)
            };
            order.push(&event).unwrap();
        }
        let (mut events, mut marks, mut told, mut flushed) = (0, 0, HashSet::new(), 0);
        let ordered = order
            .feed(&mut |input| match input {
                Input::Name { id, name, .. } => assert!(told.insert((id, name))),
                Input::Foreign(Event::Label { id, text, .. }) => assert!(told.insert((id, text))),
                Input::Foreign(Event::Mark(mark)) => {
                    assert!(mark.flush.0 > flushed);
                    flushed = mark.flush.0;
                    marks += 1;
                }
                Input::Foreign(event) => {
                    events += 1;
                    assert!(row::time(&event).unwrap().0 >= flushed);
                    match event {
                        Event::Work(Work { kind: WorkKind::Kernel { name }, .. }) => {
                            let text = if name == names[0] { "gemm" } else { "norm" };
                            assert!(told.contains(&(name, text.to_owned())));
                        }
                        Event::Range(range) => {
                            assert!(told.contains(&(range.label, "aten::mm".to_owned())));
                        }
                        other => panic!("{other:?}"),
                    }
                }
                other => panic!("{other:?}"),
            })
            .unwrap();
        assert_eq!((events, marks, told.len()), (count, 2, 3));
        assert_eq!(ordered.events, count);
    }
}

#[test]
fn a_sparse_trace_has_marks_too() {
    let mut order = Order::within(BUDGET_BYTES);
    let name = order.names.number("gemm");
    let mut expected = Vec::new();
    for step in 0..100 {
        // 7 ms apart: every third event is 20 ms behind the latest mark.
        let time = 1_000 + step * 7_000_000;
        order.push(&kernel(time, name)).unwrap();
        if step > 0 && step % 3 == 0 {
            expected.push(Ns(time));
        }
    }
    let mut marks = Vec::new();
    order
        .feed(&mut |input| {
            if let Input::Foreign(Event::Mark(mark)) = input {
                marks.push(mark.flush);
            }
        })
        .unwrap();
    assert_eq!(marks, expected);
}

#[test]
fn what_has_no_time_comes_first_and_stacks_at_the_time_they_are_given() {
    let thread = Event::Thread { process: PROCESS, thread: 1, tid: Thread(9) };
    let correlation = Correlation(1);
    let stack = Event::LaunchStack { process: PROCESS, correlation, stack: StackId(3) };
    let mut order = Order::default();
    order.push(&kernel(5, 1)).unwrap();
    order.push_at(Ns(6), &stack).unwrap();
    order.push(&kernel(7, 1)).unwrap();
    order.push(&thread).unwrap();
    let mut fed = Vec::new();
    order
        .feed(&mut |input| {
            if let Input::Foreign(event) = input {
                fed.push(event);
            }
        })
        .unwrap();
    assert_eq!(fed, [thread, kernel(5, 1), stack, kernel(7, 1)]);
}

#[test]
fn a_process_beyond_what_a_pipeline_knows_is_counted() {
    let mut order = Order::default();
    let process = ProcessKey(1 << 16);
    let failed = Event::LaunchFailed { process, correlation: Correlation(1), captured: false };
    order.push_at(Ns(1), &failed).unwrap();
    let mut notes = Vec::new();
    let ordered = order.feed(&mut |input| notes.push(input)).unwrap();
    assert_eq!(ordered, Ordered::default());
    let note = "1 events had no place in the order of events: left out";
    assert_eq!(notes, [Input::Note(note.to_owned())]);
}

#[test]
fn a_full_table_of_texts_counts_what_it_lumps_together() {
    let mut texts = Texts::default();
    let big = "x".repeat(1 << 20);
    let numbers: HashSet<u32> =
        (0..40).map(|suffix| texts.number(&format!("{big}{suffix}"))).collect();
    assert_eq!(numbers.len(), 32, "31 fit into 32 MiB, one number stands for the rest");
    assert_eq!(texts.number(""), 0);
    assert_eq!(texts.text(1).map(str::len), Some((1 << 20) + 1));
    assert_eq!(texts.into_teller().refused(), 9);
}

#[test]
fn each_process_is_told_once_however_many_there_are() {
    let mut texts = Texts::default();
    let number = texts.number("gemm");
    let mut teller = texts.into_teller();
    for turn in 0..2 {
        for process in 0..200 {
            let told = teller.tell(ProcessKey(process), number);
            assert_eq!(told.as_deref(), (turn == 0).then_some("gemm"), "process {process}");
        }
    }
    assert_eq!(teller.tell(PROCESS, 0), None);
    assert_eq!(teller.tell(PROCESS, 7), None);
}
