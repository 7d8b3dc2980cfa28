//! Kernels of executed graphs, from the graph table to the report.

use std::collections::BTreeMap;

use analysis::event::{Event, GraphChange, GraphEvent, Work};
use analysis::ids::{Ns, ProcessKey, StackId};
use analysis::report::{CaptureSite, Report};
use analysis::session::{Options, Session};

use crate::support::{
    ATTENTION, GEMM, MS, NORM, context_sync, graph_launch, introduce, kernel, mark,
};

const PROCESS: ProcessKey = ProcessKey(0);
const US: u64 = 1000;

/// The changes as entries of the process's table, all made at time 1.
fn table(changes: &[GraphChange]) -> impl Iterator<Item = Event> {
    (0..).zip(changes).map(|(entry, &change)| {
        Event::Graph(GraphEvent { process: PROCESS, entry, at: Ns(1), change })
    })
}

fn captured(entry: u32, stack: u32) -> Event {
    Event::CaptureStack { process: PROCESS, entry, stack: StackId(stack) }
}

const fn created(node: u64) -> GraphChange {
    GraphChange::NodeCreated { node, graph: 1 }
}

const fn cloned(node: u64, graph: u32, original_node: u64) -> GraphChange {
    GraphChange::NodeCloned { node, graph, original_node, original_graph: 1 }
}

/// A kernel of a graph, 1 us long.
fn node(correlation: u32, name: u32, start: u64, graph: u32, graph_node: u64) -> Event {
    Event::Work(Work { graph, graph_node, ..kernel(0, correlation, name, start, start + US) })
}

fn armed() -> Session {
    let mut session = Session::new(Options::MARKED);
    let start = [mark(0, MS, MS), context_sync(0, MS + 1, MS + 2)];
    introduce(0).into_iter().chain(start).for_each(|event| session.ingest(event));
    session
}

/// Time by executed graph and capture site.
fn by_site(report: &Report) -> BTreeMap<(u32, CaptureSite), u64> {
    let mut sums = BTreeMap::new();
    for time in &report.stacks {
        *sums.entry((time.graph, time.capture)).or_default() += time.total;
    }
    sums
}

#[test]
fn one_kernel_captured_at_two_places_is_told_apart() {
    let mut session = armed();
    let changes = [created(10), created(11), cloned(20, 2, 10), cloned(21, 2, 11)];
    table(&changes).for_each(|event| session.ingest(event));
    session.ingest(captured(0, 7));
    session.ingest(graph_launch(0, 5, 2 * MS));
    for (place, graph_node) in (0..).zip([20, 21, 20, 99]) {
        session.ingest(node(5, GEMM, 3 * MS + place * 2 * US, 2, graph_node));
    }
    session.ingest(Event::Work(kernel(0, 6, GEMM, 4 * MS, 4 * MS + US)));
    // A stack may come after the records that hang under it.
    session.ingest(mark(0, MS, 5 * MS));
    session.ingest(captured(1, 8));
    for flush in 6..10 {
        session.ingest(mark(0, MS, flush * MS));
    }
    let report = session.report();
    let expected = BTreeMap::from([
        ((0, CaptureSite::None), US),
        ((2, CaptureSite::Stack(StackId(7))), 2 * US),
        ((2, CaptureSite::Stack(StackId(8))), US),
        ((2, CaptureSite::BeforeShim), US),
    ]);
    assert_eq!(by_site(&report), expected);
    assert_eq!(report.devices[0].totals[0].total, 5 * US, "a kernel's total knows no captures");
}

#[test]
fn nodes_that_share_a_stack_are_one_line() {
    let mut session = armed();
    let nodes = 10_u64..18;
    let changes: Vec<_> =
        nodes.clone().map(created).chain(nodes.map(|node| cloned(node + 10, 2, node))).collect();
    table(&changes).for_each(|event| session.ingest(event));
    session.ingest(graph_launch(0, 5, 2 * MS));
    for place in 0..8 {
        session.ingest(node(5, NORM, 3 * MS + place * 2 * US, 2, 20 + place));
    }
    session.ingest(mark(0, MS, 4 * MS));
    (0..8).for_each(|entry| session.ingest(captured(entry, 3)));
    for flush in 5..9 {
        session.ingest(mark(0, MS, flush * MS));
    }
    let report = session.report();
    assert_eq!(report.stacks.len(), 1, "{:?}", report.stacks);
    assert_eq!(report.stacks[0].capture, CaptureSite::Stack(StackId(3)));
    assert_eq!(report.stacks[0].total, 8 * US);
}

/// A million replays, of a whole graph and of pieces around an eager kernel: nothing in the session
/// grows with them.
#[test]
fn a_million_replays_leave_every_table_as_it_was() {
    const REPLAYS: u64 = 1_000_000;
    let mut session = armed();
    // Three executable graphs of two nodes each: one whole, two pieces.
    let mut changes: Vec<_> = (10..16).map(created).collect();
    for (exec, first) in [(2, 10), (3, 12), (4, 14)] {
        changes.extend((first..first + 2).map(|node| cloned(node + 10, exec, node)));
    }
    table(&changes).for_each(|event| session.ingest(event));
    (0..6).for_each(|entry| session.ingest(captured(entry, entry)));
    let mut size_early = 0;
    let mut correlation = 1_u32;
    for replay in 0..REPLAYS {
        let at = 2 * MS + replay * 10 * US;
        let (exec, first) = [(2, 20), (3, 22), (4, 24)][usize::try_from(replay % 3).unwrap()];
        session.ingest(graph_launch(0, correlation, at));
        session.ingest(node(correlation, ATTENTION, at + 2 * US, exec, first));
        session.ingest(node(correlation, GEMM, at + 4 * US, exec, first + 1));
        correlation = correlation.wrapping_add(1);
        if replay % 10_000 == 9_999 {
            session.ingest(mark(0, MS, at + 8 * US));
        }
        if replay + 1 == REPLAYS / 10 {
            size_early = format!("{session:?}").len();
        }
    }
    // Every table is in the text; its numbers have a few more digits in the end.
    let size_late = format!("{session:?}").len();
    assert!(size_late < size_early + size_early / 10, "{size_early} bytes became {size_late}");
    for quiet in 1..5 {
        let flush = 2 * MS + REPLAYS * 10 * US + quiet * 100 * MS;
        session.ingest(mark(0, MS, flush));
    }
    let report = session.report();
    assert_eq!(report.defects, []);
    let sums = by_site(&report);
    let (graphs, kernels): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
    let expected = [(2, 0), (2, 1), (3, 2), (3, 3), (4, 4), (4, 5)];
    assert_eq!(graphs, expected.map(|(graph, id)| (graph, CaptureSite::Stack(StackId(id)))));
    assert_eq!(kernels.iter().sum::<u64>(), 2 * REPLAYS * US);
    assert!(kernels.iter().all(|ns| ns / US == REPLAYS / 3 || ns / US == REPLAYS / 3 + 1));
}
