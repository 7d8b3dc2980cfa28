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

/// Lost races before a push gives up. A lost race means that another producer won one, so only a
/// writer outside this process that keeps moving `head` can bring it about.
const RACES: usize = 1024;

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
        let Some(head) = self.reserve(records.len() as u64) else {
            return false;
        };
        for (index, record) in records.iter().enumerate() {
            let position = head.wrapping_add(index as u64);
            let slot = &self.slots[slot_index(position)];
            for (word, value) in slot.payload.iter().zip(record) {
                word.store(*value, Ordering::Relaxed);
            }
            slot.stamp.store(position.wrapping_add(1), Ordering::Release);
        }
        true
    }

    /// Where `count` free slots begin; `None` when there are not as many.
    fn reserve(&self, count: u64) -> Option<u64> {
        self.reserve_held_up(count, || {})
    }

    /// The same; `held_up` stands for whatever may happen to the thread between its two looks at the ring.
    fn reserve_held_up(&self, count: u64, mut held_up: impl FnMut()) -> Option<u64> {
        let mut head = self.head.load(Ordering::Relaxed);
        for _ in 0..RACES {
            held_up();
            // Acquire pairs with the consumer's release: its reads of the slots we reuse are done.
            let tail = self.tail.load(Ordering::Acquire);
            // A hostile or confused consumer may put tail anywhere; wrapping arithmetic then only
            // refuses or overwrites records, it never leaves the slots.
            let used = head.wrapping_sub(tail);
            if used.wrapping_add(count) > RING_SLOTS as u64 {
                // Others may have moved head, and the consumer tail past the head seen here: the ring is full only
                // where head still is what it was.
                match self.head.load(Ordering::Relaxed) {
                    same if same == head => return None,
                    current => {
                        head = current;
                        continue;
                    }
                }
            }
            match self.head.compare_exchange(
                head,
                head.wrapping_add(count),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(begin) => return Some(begin),
                Err(current) => head = current,
            }
        }
        None
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
        let behind = self.head.load(Ordering::Acquire).wrapping_sub(self.position);
        if behind > RING_SLOTS as u64 { 0 } else { behind }
    }

    /// The record at the position. Does not move.
    pub fn peek(&self) -> Next {
        let slot = &self.slots[slot_index(self.position)];
        if slot.stamp.load(Ordering::Acquire) != self.position.wrapping_add(1) {
            return if self.backlog() == 0 { Next::Empty } else { Next::Pending };
        }
        Next::Record(core::array::from_fn(|word| slot.payload[word].load(Ordering::Relaxed)))
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

#[expect(clippy::cast_possible_truncation, reason = "masked to RING_SLOTS, far below usize")]
fn slot_index(position: u64) -> usize {
    (position & (RING_SLOTS as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::array::from_fn;
    use std::boxed::Box;
    use std::vec::Vec;
    use std::{thread, vec};

    use super::*;
    use crate::limits::BATCH;
    use crate::shim::Cursor;

    fn cursor() -> Cursor {
        Cursor { position: AtomicU64::new(0), reserved: from_fn(|_| AtomicU64::new(0)) }
    }

    fn memory() -> (Box<Cursors>, Box<[Slot]>) {
        let slot = || Slot { payload: from_fn(|_| AtomicU64::new(0)), stamp: AtomicU64::new(0) };
        let cursors = Cursors {
            head: cursor(),
            tail: cursor(),
            names: cursor(),
            graphs: cursor(),
            captures: cursor(),
        };
        (Box::new(cursors), (0..RING_SLOTS).map(|_| slot()).collect())
    }

    fn record(number: u64) -> Payload {
        from_fn(|word| number.wrapping_mul(word as u64 + 1))
    }

    fn drain(consumer: &mut Consumer<'_>) -> Vec<u64> {
        let mut numbers = vec![];
        while let Next::Record(payload) = consumer.peek() {
            assert_eq!(payload, record(payload[0]), "torn record");
            numbers.push(payload[0]);
            consumer.advance();
        }
        consumer.release();
        numbers
    }

    #[test]
    fn what_goes_in_comes_out_in_order_over_many_laps() {
        const LAPS: usize = if cfg!(miri) { 50 } else { 20_000 };
        let (cursors, slots) = memory();
        let producer = Producer::new(&cursors, &slots).unwrap();
        let mut consumer = Consumer::new(&cursors, &slots).unwrap();
        let mut next = 0;
        for batch in (1..=BATCH).cycle().take(LAPS) {
            let records: Vec<_> = (next..next + batch as u64).map(record).collect();
            assert!(producer.push(&records));
            assert_eq!(drain(&mut consumer), (next..next + batch as u64).collect::<Vec<_>>());
            next += batch as u64;
        }
        assert!(next > 2 * RING_SLOTS as u64);
        assert_eq!(consumer.peek(), Next::Empty);
    }

    #[test]
    fn a_full_ring_refuses_whole_batches_and_loses_nothing_it_took() {
        let (cursors, slots) = memory();
        let producer = Producer::new(&cursors, &slots).unwrap();
        for number in 0..RING_SLOTS as u64 {
            assert!(producer.push(&[record(number)]));
        }
        assert!(!producer.push(&[record(1)]));
        let mut consumer = Consumer::new(&cursors, &slots).unwrap();
        assert_eq!(consumer.backlog(), RING_SLOTS as u64);
        consumer.advance();
        consumer.release();
        assert!(!producer.push(&[record(1), record(2)]));
        assert!(producer.push(&[record(RING_SLOTS as u64)]));
        assert_eq!(drain(&mut consumer), (1..=RING_SLOTS as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_producer_that_was_held_up_between_its_two_looks_is_not_refused() {
        let (cursors, slots) = memory();
        let producer = Producer::new(&cursors, &slots).unwrap();
        let mut consumer = Consumer::new(&cursors, &slots).unwrap();
        let mut once = true;
        // Meanwhile others write, and the consumer reads all of it.
        let begin = producer.reserve_held_up(1, || {
            for number in (0..100).filter(|_| once) {
                assert!(producer.push(&[record(number)]));
            }
            once = false;
            drain(&mut consumer);
        });
        assert_eq!(begin, Some(100), "of a ring that was empty all the while");
    }

    #[test]
    fn four_producers_and_a_consumer_account_for_every_record() {
        const EACH: u64 = if cfg!(miri) { 100 } else { 300_000 };
        let (cursors, slots) = memory();
        let producer = Producer::new(&cursors, &slots).unwrap();
        let mut seen = [0_u64; 4];
        let refused: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u64)
                .map(|thread| {
                    scope.spawn(move || {
                        let push = |index: u64| producer.push(&[record(thread << 32 | index)]);
                        (1..=EACH).filter(|&index| !push(index)).count() as u64
                    })
                })
                .collect();
            let mut consumer = Consumer::new(&cursors, &slots).unwrap();
            let mut last = [0_u64; 4];
            loop {
                let done = threads.iter().all(thread::ScopedJoinHandle::is_finished);
                for number in drain(&mut consumer) {
                    let (thread, index) = ((number >> 32) as usize, number & 0xffff_ffff);
                    assert!(index > last[thread], "a producer's records changed order");
                    last[thread] = index;
                    seen[thread] += 1;
                }
                if done && consumer.backlog() == 0 {
                    break;
                }
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(seen.iter().sum::<u64>() + refused, 4 * EACH);
    }

    #[test]
    fn a_successor_continues_where_its_predecessor_released() {
        let (cursors, slots) = memory();
        let producer = Producer::new(&cursors, &slots).unwrap();
        assert!(producer.push(&[record(1), record(2), record(3)]));
        let mut first = Consumer::new(&cursors, &slots).unwrap();
        first.advance();
        first.release();
        first.advance();
        // Killed before it released the second: the successor reads that one again.
        let mut second = Consumer::new(&cursors, &slots).unwrap();
        assert_eq!(drain(&mut second), [2, 3]);
    }

    #[test]
    fn lying_cursors_and_stamps_read_as_nothing() {
        for (head, tail) in [(u64::MAX, 0), (0, u64::MAX - 9), (5, u64::MAX - 3), (1 << 63, 7)] {
            let (cursors, slots) = memory();
            cursors.head.position.store(head, Ordering::Relaxed);
            cursors.tail.position.store(tail, Ordering::Relaxed);
            let consumer = Consumer::new(&cursors, &slots).unwrap();
            assert!(matches!(consumer.peek(), Next::Empty | Next::Pending));
            assert!(consumer.backlog() <= RING_SLOTS as u64);
            let producer = Producer::new(&cursors, &slots).unwrap();
            // Refused or written somewhere inside the slots; never a panic.
            let _either = producer.push(&[record(1); BATCH]);
        }
    }

    #[test]
    fn slots_of_another_number_are_refused() {
        let (cursors, slots) = memory();
        assert!(Producer::new(&cursors, &slots[1..]).is_none());
        assert!(Consumer::new(&cursors, &slots[1..]).is_none());
    }
}
