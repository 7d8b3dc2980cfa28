//! The multi-producer, single-consumer ring over [`Slot`]s: reserve, write, commit.
//!
//! Equations (positions only grow, `slot = position % RING_SLOTS`):
//! - free = `RING_SLOTS` - (head - tail); a reservation of n needs n <= free.
//! - a slot is readable when its stamp = position + 1.
//!
//! Nothing here blocks. A full ring refuses; the caller counts.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::limits::RING_SLOTS;
use crate::shim::{Cursors, Payload, Slot};

/// Producer side, shared by any number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Producer<'m> {
    head: &'m AtomicU64,
    tail: &'m AtomicU64,
    slots: &'m [Slot],
}

impl<'m> Producer<'m> {
    /// `None` unless there are exactly `RING_SLOTS` slots.
    pub fn new(cursors: &'m Cursors, slots: &'m [Slot]) -> Option<Self> {
        (slots.len() == RING_SLOTS).then_some(Self {
            head: &cursors.head.position,
            tail: &cursors.tail.position,
            slots,
        })
    }

    /// Writes all of `records` in one reservation, or none and returns `false`.
    /// At most [`crate::limits::BATCH`] records a call keeps other producers' wait short.
    #[must_use]
    pub fn push(&self, records: &[Payload]) -> bool {
        let count = records.len() as u64;
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Acquire pairs with the consumer's release: its reads of the slots we reuse are done.
            let tail = self.tail.load(Ordering::Acquire);
            // A hostile or confused consumer may put tail anywhere; wrapping arithmetic then only
            // refuses or overwrites records, it never leaves the slots.
            let used = head.wrapping_sub(tail);
            if used.wrapping_add(count) > RING_SLOTS as u64 {
                return false;
            }
            match self.head.compare_exchange_weak(
                head,
                head.wrapping_add(count),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(current) => head = current,
            }
        }
        for (index, record) in records.iter().enumerate() {
            let position = head.wrapping_add(index as u64);
            let slot = &self.slots[slot_index(position)];
            for (word, value) in slot.payload.iter().zip(record) {
                word.store(*value, Ordering::Relaxed);
            }
            slot.stamp
                .store(position.wrapping_add(1), Ordering::Release);
        }
        true
    }
}

/// What the consumer found at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing was reserved here yet.
    Empty,
    /// Reserved by a producer that has not committed.
    Pending,
    Record(Payload),
}

/// Consumer side: one at a time, by the lock on the memfd. Trusts no word of the mapping: a
/// position outside head and tail's window reads as [`Next::Empty`].
#[derive(Debug)]
pub struct Consumer<'m> {
    head: &'m AtomicU64,
    tail: &'m AtomicU64,
    slots: &'m [Slot],
    position: u64,
}

impl<'m> Consumer<'m> {
    /// Continues at the tail its predecessor left. `None` unless there are `RING_SLOTS` slots.
    pub fn new(cursors: &'m Cursors, slots: &'m [Slot]) -> Option<Self> {
        Self::at(cursors, slots, cursors.tail.position.load(Ordering::Acquire))
    }

    /// Continues at a position of the caller's own: a tail that the other side may have moved is
    /// not asked again.
    pub fn at(cursors: &'m Cursors, slots: &'m [Slot], position: u64) -> Option<Self> {
        (slots.len() == RING_SLOTS).then_some(Self {
            head: &cursors.head.position,
            tail: &cursors.tail.position,
            slots,
            position,
        })
    }

    /// Next position to read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Records reserved and not yet read, at most `RING_SLOTS`.
    pub fn backlog(&self) -> u64 {
        let behind = self
            .head
            .load(Ordering::Acquire)
            .wrapping_sub(self.position);
        if behind > RING_SLOTS as u64 {
            0
        } else {
            behind
        }
    }

    /// The record at the position. Does not move.
    pub fn peek(&self) -> Next {
        let slot = &self.slots[slot_index(self.position)];
        if slot.stamp.load(Ordering::Acquire) != self.position.wrapping_add(1) {
            return if self.backlog() == 0 {
                Next::Empty
            } else {
                Next::Pending
            };
        }
        Next::Record(core::array::from_fn(|word| {
            slot.payload[word].load(Ordering::Relaxed)
        }))
    }

    /// Moves past the current position without making the slot free yet.
    pub fn advance(&mut self) {
        self.position = self.position.wrapping_add(1);
    }

    /// Makes every slot before the position free for producers.
    pub fn release(&self) {
        self.tail.store(self.position, Ordering::Release);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "masked to RING_SLOTS, far below usize"
)]
fn slot_index(position: u64) -> usize {
    (position & (RING_SLOTS as u64 - 1)) as usize
}
