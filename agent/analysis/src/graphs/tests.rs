use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::ids::{Ns, ProcessKey};

/// A table being written, with a clock that counts entries in ms.
#[derive(Default)]
struct Table {
    graphs: Graphs,
    next: u32,
}

const MS: u64 = 1_000_000;

impl Table {
    fn add(&mut self, change: GraphChange) -> u32 {
        let entry = self.next;
        self.at(entry, change);
        entry
    }

    fn at(&mut self, entry: u32, change: GraphChange) {
        let at = Ns(u64::from(entry) * MS);
        self.graphs.change(&GraphEvent { process: ProcessKey(0), entry, at, change });
        self.next = entry + 1;
    }

    fn create(&mut self, node: u64) -> u32 {
        self.add(GraphChange::NodeCreated { node, graph: 1 })
    }

    fn clone(&mut self, node: u64, graph: u32, original_node: u64) -> u32 {
        self.add(GraphChange::NodeCloned { node, graph, original_node, original_graph: 1 })
    }

    fn now(&self) -> u64 {
        u64::from(self.next) * MS
    }

    /// What is said of a node executed now.
    fn executed(&self, graph: u32, node: u64) -> CaptureSite {
        self.said(Place { graph, node, source: 0 }, self.now())
    }

    /// The same, of work whose record tells the source node.
    fn by_source(&self, graph: u32, source: u64) -> CaptureSite {
        self.said(Place { graph, node: 0, source }, self.now())
    }

    fn said(&self, place: Place, launched: u64) -> CaptureSite {
        self.graphs.site(self.graphs.origin(place, launched))
    }
}

fn stack(number: u32) -> CaptureSite {
    CaptureSite::Stack(StackId(number))
}

#[test]
fn an_executed_node_has_the_stack_of_its_source() {
    let mut table = Table::default();
    let entry = table.create(10);
    table.clone(20, 2, 10);
    assert_eq!(table.executed(2, 20), CaptureSite::NotTaken);
    table.graphs.stack(entry, StackId(5));
    assert_eq!(table.executed(2, 20), stack(5));
    assert_eq!(table.executed(2, 21), CaptureSite::BeforeShim);
    assert_eq!(table.said(Place::default(), 0), CaptureSite::None);
}

#[test]
fn chains_go_through_clones_of_clones_and_child_graphs() {
    let mut table = Table::default();
    let (kernel, other) = (table.create(10), table.create(11));
    table.graphs.stack(kernel, StackId(1));
    table.graphs.stack(other, StackId(2));
    // The graph becomes a child of another, twice, which is cloned and made executable.
    for (copy, graph) in [(30, 3), (40, 4)] {
        table.clone(copy, graph, 10);
        table.clone(copy + 1, graph, 11);
    }
    table.clone(50, 5, 30);
    table.clone(51, 5, 41);
    table.clone(60, 6, 50);
    table.clone(61, 6, 51);
    assert_eq!([table.executed(6, 60), table.executed(6, 61)], [stack(1), stack(2)]);
    assert_eq!([table.by_source(6, 50), table.by_source(6, 51)], [stack(1), stack(2)]);
}

#[test]
fn what_was_captured_before_the_table_began_is_said_to_be() {
    let mut table = Table::default();
    table.clone(20, 2, 10);
    assert_eq!(table.executed(2, 20), CaptureSite::BeforeShim);
    assert_eq!(table.by_source(2, 10), CaptureSite::BeforeShim);
}

#[test]
fn an_id_that_is_given_again_means_each_time_what_it_meant_then() {
    let mut table = Table::default();
    for number in 0..3 {
        let entry = table.create(10);
        table.graphs.stack(entry, StackId(number));
        table.clone(20, 2, 10);
        table.add(GraphChange::ExecDestroyed { exec: 2 });
        table.add(GraphChange::GraphDestroyed { graph: 1 });
    }
    let at = |entry: u64| table.said(Place { graph: 2, node: 20, source: 0 }, entry * MS);
    let said = [0, 1, 4, 5, 8, 9, 100].map(at);
    let before = CaptureSite::BeforeShim;
    assert_eq!(said, [before, stack(0), stack(0), stack(1), stack(1), stack(2), stack(2)]);
}

#[test]
fn after_an_update_only_the_source_node_decides() {
    let mut table = Table::default();
    let (old, new) = (table.create(10), table.create(12));
    table.graphs.stack(old, StackId(1));
    table.graphs.stack(new, StackId(2));
    table.clone(20, 2, 10);
    table.clone(30, 3, 10);
    let before = table.now();
    table.add(GraphChange::ExecUpdated { exec: 2, graph: 4 });
    assert_eq!(table.executed(2, 20), CaptureSite::Updated);
    // Launched before the update.
    assert_eq!(table.said(Place { graph: 2, node: 20, source: 0 }, before - 1), stack(1));
    assert_eq!(table.by_source(2, 12), stack(2));
    assert_eq!(table.executed(3, 30), stack(1), "another executable graph");
}

#[test]
fn an_update_of_who_knows_what_puts_every_executable_graph_in_doubt() {
    for exec in [0, 77] {
        let mut table = Table::default();
        let entry = table.create(10);
        table.graphs.stack(entry, StackId(1));
        table.clone(20, 2, 10);
        table.add(GraphChange::ExecUpdated { exec, graph: 4 });
        assert_eq!(table.executed(2, 20), CaptureSite::Updated, "{exec}");
        assert_eq!(table.by_source(2, 10), stack(1), "{exec}");
    }
}

#[test]
fn a_full_table_says_so_of_what_it_lacks_and_then_of_everything_that_could_have_changed() {
    let mut table = Table::default();
    let entry = table.create(10);
    table.graphs.stack(entry, StackId(1));
    table.clone(20, 2, 10);
    let last = u32::try_from(GRAPH_NODE_ENTRIES).unwrap() - 1;
    assert_eq!(table.executed(2, 99), CaptureSite::BeforeShim);
    table.at(last, GraphChange::GraphDestroyed { graph: 9 });
    assert_eq!(table.executed(2, 99), CaptureSite::TableFull);
    assert_eq!(table.executed(2, 20), stack(1), "what it has stays true");
    let last = u32::try_from(GRAPH_ENTRIES).unwrap() - 1;
    table.at(last, GraphChange::ExecUpdated { exec: 2, graph: 9 });
    table.clone(30, 3, 10);
    assert_eq!(table.graphs.take_refused(), 1, "beyond the table");
    let entry = table.graphs.meaning(20, u64::MAX);
    assert!(entry.is_some());
    let another = Place { graph: 3, node: 20, source: 0 };
    assert_eq!(table.said(another, table.now()), CaptureSite::TableFull);
    assert_eq!(table.by_source(2, 10), stack(1));
}

#[test]
fn a_stack_that_did_not_come_in_time_tells_nodes_apart_no_more() {
    let mut table = Table::default();
    let entry = table.create(10);
    let place = Place { graph: 1, node: 10, source: 0 };
    assert_eq!(table.graphs.origin(place, MS), Origin::Entry(entry));
    let late = Origin::Site(CaptureSite::NotTaken);
    assert_eq!(table.graphs.origin(place, HOLD_NS + MS), late);
}

/// A change a hostile worker may claim.
fn change([kind, a, b, c]: [u8; 4]) -> GraphChange {
    let (node, graph, original_node) = (u64::from(a) + 1, b.into(), u64::from(c) + 1);
    match kind % 7 {
        0 => GraphChange::NodeCreated { node, graph },
        1 | 2 => GraphChange::NodeCloned { node, graph, original_node, original_graph: 0 },
        3 => GraphChange::GraphDestroyed { graph },
        4 => GraphChange::ExecCreated { exec: a.into(), graph },
        5 => GraphChange::ExecUpdated { exec: a.into(), graph },
        _ => GraphChange::ExecDestroyed { exec: a.into() },
    }
}

/// The entry of a node's making, by going through the table backwards, entry by entry.
fn by_hand(changes: &[(u64, GraphChange)], node: u64, at: u64) -> Option<u32> {
    let place = changes.iter().rposition(|&(time, change)| {
        time <= at
            && match change {
                GraphChange::NodeCreated { node: own, graph: _ }
                | GraphChange::NodeCloned { node: own, .. } => own == node,
                _ => false,
            }
    })?;
    let (time, change) = changes[place];
    match change {
        GraphChange::NodeCloned { original_node, .. } => {
            by_hand(&changes[..place], original_node, time)
        }
        _ => u32::try_from(place).ok(),
    }
}

proptest! {
    /// Times that only grow: what is said equals a walk through the table.
    #[test]
    fn what_is_said_equals_a_walk_through_the_table(
        claims in prop::collection::vec(any::<[u8; 4]>(), 1..60),
        node in 1_u8..255,
        launched in 0_u64..64,
    ) {
        let mut table = Table::default();
        let mut changes = Vec::new();
        for claim in claims {
            let change = change(claim.map(|byte| byte % 16));
            changes.push((u64::from(table.next) * MS, change));
            table.add(change);
        }
        let (node, launched) = (u64::from(node % 16).max(1), launched * MS);
        let place = Place { graph: 1, node: 0, source: node };
        let expected = match by_hand(&changes, node, launched) {
            Some(entry) => Origin::Entry(entry),
            None => Origin::Site(CaptureSite::BeforeShim),
        };
        prop_assert_eq!(table.graphs.origin(place, launched), expected);
    }

    /// Whatever is claimed, in whatever order: no panic, and every table stays within its bound.
    #[test]
    fn hostile_tables_stay_bounded(
        claims in prop::collection::vec((any::<u32>(), any::<u64>(), any::<[u8; 4]>()), 1..200),
        stacks in prop::collection::vec((any::<u32>(), any::<u32>()), 0..20),
        place in any::<(u32, u64, u64, u64)>(),
    ) {
        let mut graphs = Graphs::default();
        for (entry, at, claim) in claims {
            for entry in [entry, entry % (1 << 20)] {
                let change = change(claim);
                graphs.change(&GraphEvent { process: ProcessKey(0), entry, at: Ns(at), change });
            }
        }
        for (entry, id) in stacks {
            graphs.stack(entry, StackId(id));
        }
        let (graph, node, source, launched) = place;
        for node in [node, node % 256] {
            drop(format!("{:?}", graphs.origin(Place { graph, node, source }, launched)));
        }
        for size in graphs.sizes() {
            prop_assert!(size <= GRAPH_ENTRIES);
        }
    }
}
