//! Where the nodes of executed graphs come from: a process's graph table, followed from a node that
//! ran through instantiation, cloning and child graphs to the entry of its making, and from there to the
//! stack it was captured under.
//!
//! Equations:
//! - origin(created node) = its entry
//! - origin(cloned node) = origin(the node it was cloned from), at the time of cloning
//! - origin(work) = origin(source node), where its record tells one: the node it was made from or last
//!   updated by; else origin(executed node), unless its executable graph was updated before the launch
//!
//! An id that is given again means its new node from then on, so a work record is looked up at the time
//! of its launch. Nothing is dropped when a graph is destroyed: records of its last replay are still to
//! come, and its nodes may live on as clones.

use std::collections::{HashMap, HashSet};

use crate::event::{GraphChange, GraphEvent};
use crate::ids::StackId;
use crate::limits::{GRAPH_ENTRIES, GRAPH_NODE_ENTRIES, GRAPHS, HOLD_NS};
use crate::report::CaptureSite;

/// What a work record's cell remembers of where it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// Not from a graph.
    #[default]
    None,
    /// From the node of this entry, whose stack may still come.
    Entry(u32),
    /// Known for good.
    Site(CaptureSite),
}

/// A work record's place in a graph, as it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Executed graph and its node, 0 outside graphs.
    pub(crate) graph: u32,
    pub(crate) node: u64,
    /// Node the executed one was made from or last updated by; 0: not told.
    pub(crate) source: u64,
}

/// What a node id means.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    since: u64,
    /// Entry of its making; `None`: it was made before the table began.
    entry: Option<u32>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Graphs {
    nodes: HashMap<u64, Meaning>,
    /// Earlier meanings of ids that were given again, oldest first.
    earlier: HashMap<u64, Vec<Meaning>>,
    /// Meanings in both.
    meanings: usize,
    /// Stacks by entry.
    stacks: Vec<Option<StackId>>,
    /// Graphs that hold clones: the executable ones are among them.
    copies: HashSet<u32>,
    /// First update, by executable graph.
    updated: HashMap<u32, u64>,
    /// First update of one that cannot be told.
    any_updated: Option<u64>,
    /// From here on the shim's table had no room for nodes.
    nodes_full: Option<u64>,
    /// From here on it had no room for updates either.
    full: Option<u64>,
    /// Entries that found a table here full.
    refused: u64,
}

impl Graphs {
    /// Takes an entry of the process's table. They come in the table's order.
    pub(crate) fn change(&mut self, event: &GraphEvent) {
        let at = event.at.0;
        let position = event.entry as usize;
        if position >= GRAPH_ENTRIES {
            self.refused += 1;
            return;
        }
        match event.change {
            GraphChange::NodeCreated { node, graph: _ } => {
                self.mean(node, Meaning { since: at, entry: Some(event.entry) });
            }
            GraphChange::NodeCloned { node, graph, original_node, original_graph: _ } => {
                let entry = self.meaning(original_node, at).and_then(|original| original.entry);
                self.mean(node, Meaning { since: at, entry });
                if self.copies.len() < GRAPHS {
                    self.copies.insert(graph);
                }
            }
            GraphChange::ExecUpdated { exec, graph: _ } => self.update(exec, at),
            // See the module's text.
            GraphChange::NodeDestroyed { .. }
            | GraphChange::GraphDestroyed { .. }
            | GraphChange::ExecCreated { .. }
            | GraphChange::ExecDestroyed { .. } => {}
        }
        if position + 1 >= GRAPH_NODE_ENTRIES {
            self.nodes_full.get_or_insert(at);
        }
        if position + 1 >= GRAPH_ENTRIES {
            self.full.get_or_insert(at);
        }
    }

    /// The stack under which an entry was made.
    pub(crate) fn stack(&mut self, entry: u32, stack: StackId) {
        let position = entry as usize;
        if position >= GRAPH_ENTRIES {
            self.refused += 1;
            return;
        }
        if position >= self.stacks.len() {
            self.stacks.resize(position + 1, None);
        }
        self.stacks[position] = Some(stack);
    }

    /// Where work launched at `launched` comes from.
    pub(crate) fn origin(&self, place: Place, launched: u64) -> Origin {
        let Place { graph, node, source } = place;
        if graph == 0 && node == 0 && source == 0 {
            return Origin::None;
        }
        let is_past = |since: Option<u64>| since.is_some_and(|since| launched >= since);
        let found = if source != 0 {
            self.meaning(source, launched)
        } else if self.was_updated(graph, node, launched) {
            return Origin::Site(CaptureSite::Updated);
        } else if is_past(self.full) {
            // An update may have happened that found no room.
            return Origin::Site(CaptureSite::TableFull);
        } else {
            self.meaning(node, launched)
        };
        match found {
            Some(Meaning { since, entry: Some(entry) }) => match self.stack_of(entry) {
                Some(stack) => Origin::Site(CaptureSite::Stack(stack)),
                // It would have come by now: the node need not be told apart from others.
                None if launched.saturating_sub(since) > HOLD_NS => {
                    Origin::Site(CaptureSite::NotTaken)
                }
                None => Origin::Entry(entry),
            },
            None if is_past(self.nodes_full) => Origin::Site(CaptureSite::TableFull),
            Some(Meaning { since: _, entry: None }) | None => Origin::Site(CaptureSite::BeforeShim),
        }
    }

    /// What a report says of an origin.
    pub(crate) fn site(&self, origin: Origin) -> CaptureSite {
        match origin {
            Origin::None => CaptureSite::None,
            Origin::Site(site) => site,
            Origin::Entry(entry) => {
                self.stack_of(entry).map_or(CaptureSite::NotTaken, CaptureSite::Stack)
            }
        }
    }

    /// Entries that found a table full since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn mean(&mut self, node: u64, meaning: Meaning) {
        if node == 0 {
            // Where CUPTI gives nodes no ids nothing can be followed.
            return;
        }
        if self.meanings >= GRAPH_ENTRIES {
            self.refused += 1;
            return;
        }
        self.meanings += 1;
        if let Some(before) = self.nodes.insert(node, meaning) {
            self.earlier.entry(node).or_default().push(before);
        }
    }

    fn meaning(&self, node: u64, at: u64) -> Option<Meaning> {
        let latest = *self.nodes.get(&node)?;
        if latest.since <= at {
            return Some(latest);
        }
        let earlier = self.earlier.get(&node)?;
        earlier.iter().rev().find(|meaning| meaning.since <= at).copied()
    }

    fn stack_of(&self, entry: u32) -> Option<StackId> {
        self.stacks.get(entry as usize).copied().flatten()
    }

    fn update(&mut self, exec: u32, at: u64) {
        // One whose nodes were not seen could be any that is known under another number.
        let known = exec != 0 && self.copies.contains(&exec);
        if known && (self.updated.len() < GRAPHS || self.updated.contains_key(&exec)) {
            self.updated.entry(exec).or_insert(at);
        } else {
            self.any_updated.get_or_insert(at);
        }
    }

    fn was_updated(&self, graph: u32, node: u64, launched: u64) -> bool {
        // The upper half of an executed node's id is its executable graph's.
        let by_node = u32::try_from(node >> 32).unwrap_or(0);
        let of = |graph: u32| self.updated.get(&graph).copied();
        [of(graph), of(by_node), self.any_updated].into_iter().flatten().any(|at| launched >= at)
    }

    /// Elements of every table here.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> [usize; 5] {
        [
            self.nodes.len(),
            self.meanings,
            self.stacks.len(),
            self.copies.len(),
            self.updated.len() + self.earlier.len(),
        ]
    }
}

#[cfg(test)]
mod tests;
