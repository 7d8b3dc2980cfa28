//! The graph table and the capture stacks beside it: read entry by entry as the shim appends them, and
//! written by the agent, so that an agent after this one still knows under which stack a node was made.
//!
//! The stacks were written by an agent before us or by a process that tampers with them: every
//! position and length is checked, and what is wrong reads as nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use analysis::decode::GraphWords;
use wire::limits::{CAPTURE_WORDS, GRAPH_ENTRIES, STACK_FRAMES};
use wire::shim::{Cursor, GraphSlot};

/// The parts of the mapping this is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area<'m> {
    /// Entries used, as the shim says.
    pub(super) used: &'m Cursor,
    pub(super) entries: &'m [GraphSlot],
    /// Per entry: where its stack begins, or 0.
    pub(super) captures: &'m [AtomicU32],
    /// Words used of `stacks`.
    pub(super) filled: &'m Cursor,
    pub(super) stacks: &'m [AtomicU64],
}

/// Entries read since the last time, and stacks that an earlier agent left with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphNews {
    /// Position of the first of `entries`.
    pub first: u32,
    pub entries: Vec<GraphWords>,
    /// Each stack once, leaf first, with the positions it belongs to.
    pub stacks: Vec<(Vec<u32>, Vec<u64>)>,
}

/// How far the table was read, and what was written beside it.
#[derive(Debug, Default)]
pub(super) struct Captures {
    /// Next entry to read.
    next: usize,
    /// Entries below this were there when we came: their stacks are an earlier agent's.
    inherited: usize,
    /// Where each stack lies.
    known: HashMap<Box<[u64]>, u32>,
    /// Stacks that found the area full.
    refused: u64,
}

impl Captures {
    /// Whoever attaches now inherits what is there.
    pub(super) fn new(area: Option<Area<'_>>) -> Self {
        Self { inherited: area.map_or(0, used), ..Self::default() }
    }

    /// Stacks that found the area full: an agent after this one will not have them.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Everything appended since the last call.
    pub(super) fn read(&mut self, area: Area<'_>) -> GraphNews {
        let first = self.next;
        let mut entries = Vec::new();
        let mut places: HashMap<u32, Vec<u32>> = HashMap::new();
        let end = used(area);
        while let Some(words) =
            area.entries.get(self.next).filter(|_| self.next < end).and_then(entry)
        {
            if self.next < self.inherited {
                let place = area.captures.get(self.next).map_or(0, |at| at.load(Ordering::Acquire));
                if place != 0 {
                    places.entry(place).or_default().push(number(self.next));
                }
            }
            entries.push(words);
            self.next += 1;
        }
        let mut stacks: Vec<(Vec<u32>, Vec<u64>)> = Vec::new();
        for (place, positions) in places {
            if let Some(addresses) = stack_at(area, place) {
                self.known.entry(addresses.clone().into_boxed_slice()).or_insert(place);
                stacks.push((positions, addresses));
            }
        }
        stacks.sort_unstable();
        GraphNews { first: number(first), entries, stacks }
    }

    /// Keeps the stack under which `entry` was made.
    pub(super) fn keep(&mut self, area: Area<'_>, entry: u32, addresses: &[u64]) {
        let Some(slot) = area.captures.get(entry as usize) else { return };
        if addresses.is_empty() || addresses.len() > STACK_FRAMES {
            return;
        }
        let known = self.known.get(addresses).copied();
        let Some(place) = known.or_else(|| append(area, addresses)) else {
            self.refused += 1;
            return;
        };
        if known.is_none() {
            self.known.insert(addresses.into(), place);
        }
        slot.store(place, Ordering::Release);
    }
}

/// Entries in use; never more than there are.
fn used(area: Area<'_>) -> usize {
    let used = area.used.position.load(Ordering::Acquire);
    usize::try_from(used).unwrap_or(usize::MAX).min(GRAPH_ENTRIES)
}

/// An entry, once its writer is done with it.
fn entry(slot: &GraphSlot) -> Option<GraphWords> {
    let kind_and_type = slot.kind_and_type.load(Ordering::Acquire);
    let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
    (kind_and_type != 0).then(|| {
        [
            word(&slot.node),
            word(&slot.original_node),
            word(&slot.graphs),
            word(&slot.time_ns),
            kind_and_type,
        ]
    })
}

/// The stack that begins at word `place`.
fn stack_at(area: Area<'_>, place: u32) -> Option<Vec<u64>> {
    let (length, rest) = area.stacks.get(place as usize..)?.split_first()?;
    let length = usize::try_from(length.load(Ordering::Relaxed)).ok()?;
    if length == 0 || length > STACK_FRAMES {
        return None;
    }
    Some(rest.get(..length)?.iter().map(|word| word.load(Ordering::Relaxed)).collect())
}

/// Appends a stack; `None` when the area has no room. Word 0 stays free: 0 means no stack.
fn append(area: Area<'_>, addresses: &[u64]) -> Option<u32> {
    // Nobody else writes the cursor unless it tampers, and then it only loses its own stacks.
    let filled = usize::try_from(area.filled.position.load(Ordering::Relaxed)).ok()?.max(1);
    let end = filled.checked_add(1 + addresses.len()).filter(|&end| end <= CAPTURE_WORDS)?;
    let (length, words) = area.stacks.get(filled..end)?.split_first()?;
    for (word, address) in words.iter().zip(addresses) {
        word.store(*address, Ordering::Relaxed);
    }
    length.store(addresses.len() as u64, Ordering::Relaxed);
    area.filled.position.store(end as u64, Ordering::Release);
    u32::try_from(filled).ok()
}

/// Positions are below `GRAPH_ENTRIES`, which fits.
fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
