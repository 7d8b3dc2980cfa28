//! Which chunks of the latest past are kept: pure, over chunks of anything whose size is known.
//!
//! Chunks come in order of time. What is cut is cut at the old end and whole turns at a time, so that what is left
//! begins where the observer began a round:
//! - by age: a chunk goes once it closed more than `age` before the latest one;
//! - by size: the oldest go until the rest fits, all of them if it comes to that.
//!
//! `cut` = when the last chunk that went had closed: nothing that was read before it is left, and everything that
//! was read after it is there.

use std::collections::VecDeque;
use std::time::Duration;

use analysis::ids::Ns;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far back it reaches.
    pub age: Duration,
    /// What it may take, bytes.
    pub bytes: usize,
}

/// What was observed between two instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk<T> {
    /// The round in which it was closed. A round that brings much closes several.
    pub(super) turn: u64,
    pub(super) opened: Ns,
    pub(super) closed: Ns,
    pub(super) bytes: usize,
    pub(super) body: T,
}

/// The chunks that are kept.
#[derive(Debug)]
pub(super) struct Ring<T> {
    limits: Limits,
    chunks: VecDeque<Chunk<T>>,
    bytes: usize,
    cut: Option<Ns>,
    /// Of the last chunk that went.
    cut_turn: Option<u64>,
    cut_by_size: u64,
}

impl<T> Ring<T> {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            bytes: 0,
            cut: None,
            cut_turn: None,
            cut_by_size: 0,
        }
    }

    /// Takes the next chunk; gives back what had to go, oldest first.
    pub(super) fn push(&mut self, chunk: Chunk<T>) -> Vec<Chunk<T>> {
        let now = chunk.closed;
        self.bytes = self.bytes.saturating_add(chunk.bytes);
        self.chunks.push_back(chunk);
        self.expire(now)
    }

    /// What is too old at this time, oldest first.
    pub(super) fn expire(&mut self, now: Ns) -> Vec<Chunk<T>> {
        let age = u64::try_from(self.limits.age.as_nanos()).unwrap_or(u64::MAX);
        let oldest = Ns(now.0.saturating_sub(age));
        let mut gone = Vec::new();
        while let Some(first) = self.chunks.front() {
            let too_old = first.closed < oldest;
            let too_much = self.bytes > self.limits.bytes;
            let cut_within_turn = self.cut_turn == Some(first.turn);
            if !(too_old || too_much || cut_within_turn) {
                break;
            }
            self.cut_by_size += u64::from(!too_old);
            if let Some(first) = self.chunks.pop_front() {
                self.bytes = self.bytes.saturating_sub(first.bytes);
                self.cut = Some(first.closed);
                self.cut_turn = Some(first.turn);
                gone.push(first);
            }
        }
        gone
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk<T>> {
        self.chunks.iter()
    }

    /// Nothing that was read before this instant is left; `None`: everything is there.
    pub(super) fn cut(&self) -> Option<Ns> {
        self.cut
    }

    /// What the chunks take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Chunks that went before their time because there was no room. Only grows.
    pub(super) fn cut_by_size(&self) -> u64 {
        self.cut_by_size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(turn: u64, closed: u64, bytes: usize, body: usize) -> Chunk<usize> {
        Chunk { turn, opened: Ns(closed), closed: Ns(closed), bytes, body }
    }

    fn limits(age: u64, bytes: usize) -> Limits {
        Limits { age: Duration::from_nanos(age), bytes }
    }

    #[test]
    fn what_is_too_old_goes_and_what_is_of_its_turn() {
        let mut ring = Ring::new(limits(10, 100));
        assert!(ring.push(chunk(1, 5, 1, 0)).is_empty());
        assert!(ring.push(chunk(2, 14, 1, 1)).is_empty());
        assert!(ring.push(chunk(2, 16, 1, 2)).iter().map(|gone| gone.body).eq([0]));
        assert_eq!((ring.cut(), ring.cut_by_size()), (Some(Ns(5)), 0));
        // The first of the second turn is too old: the second of it goes, too.
        assert!(ring.push(chunk(3, 25, 1, 3)).iter().map(|gone| gone.body).eq([1, 2]));
        assert_eq!(ring.cut(), Some(Ns(16)));
    }

    proptest! {
        #[test]
        fn order_bounds_and_counts_hold(
            steps in prop::collection::vec((0_u64..3, 0_u64..40, 0_usize..50), 1..200),
            age in 1_u64..200,
            most in 0_usize..400,
        ) {
            let mut ring = Ring::new(limits(age, most));
            let (mut turn, mut time, mut gone) = (0, 1_000, Vec::new());
            let mut closed = Vec::new();
            for (number, (turns, later, bytes)) in steps.into_iter().enumerate() {
                turn += turns;
                time += later;
                closed.push((turn, time));
                gone.extend(ring.push(chunk(turn, time, bytes, number)));
                // In order, each once: what went and what is left are all there were.
                let left: Vec<usize> = ring.chunks().map(|chunk| chunk.body).collect();
                let all = gone.iter().map(|chunk| chunk.body).chain(left.iter().copied());
                prop_assert!(all.eq(0..=number));
                prop_assert_eq!(ring.bytes(), ring.chunks().map(|chunk| chunk.bytes).sum::<usize>());
                prop_assert!(ring.bytes() <= most);
                prop_assert!(ring.chunks().all(|chunk| chunk.closed.0 + age >= time));
                prop_assert_eq!(ring.cut(), gone.last().map(|chunk| chunk.closed));
                if let (Some(last), Some(&first)) = (gone.last(), left.first()) {
                    prop_assert!(last.turn != closed[first].0, "a turn is never cut in two");
                }
                // Nothing goes without a reason.
                let early = gone.iter().filter(|chunk| chunk.closed.0 + age >= time).count() as u64;
                prop_assert!(early <= ring.cut_by_size() + gone.len() as u64);
                if most >= 50 * 200 && turns > 0 {
                    prop_assert_eq!(ring.cut_by_size(), 0);
                }
            }
        }
    }
}
