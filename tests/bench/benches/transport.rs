//! Records per second through the ring, one and four producers, beside a bare ring: a plain
//! single-producer ring of the same records without reservation or stamps.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use warplens_bench::{figure, median, per};
use wire::limits::{BATCH, RING_SLOTS};
use wire::ring::{Consumer, Next, Producer};
use wire::shim::{Cursor, Cursors, Payload, Slot};

const RECORDS: u64 = 8_000_000;
const TURNS: usize = 5;

fn main() {
    let (mut one, mut four, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        bare.push(bare_ring());
        one.push(ours(1));
        four.push(ours(4));
    }
    figure("transport/bare-ring", median(bare), "M records/s");
    figure("transport/one-producer", median(one), "M records/s");
    figure("transport/four-producers", median(four), "M records/s");
}

fn cursor() -> Cursor {
    Cursor { position: AtomicU64::new(0), reserved: std::array::from_fn(|_| AtomicU64::new(0)) }
}

fn slots() -> Vec<Slot> {
    let slot =
        || Slot { payload: std::array::from_fn(|_| AtomicU64::new(0)), stamp: AtomicU64::new(0) };
    (0..RING_SLOTS).map(|_| slot()).collect()
}

/// Millions of records per second.
fn ours(producers: u64) -> f64 {
    let slots = slots();
    let cursors = Cursors {
        head: cursor(),
        tail: cursor(),
        names: cursor(),
        graphs: cursor(),
        captures: cursor(),
    };
    let (Some(producer), Some(mut consumer)) =
        (Producer::new(&cursors, &slots), Consumer::new(&cursors, &slots))
    else {
        unreachable!("RING_SLOTS slots were made")
    };
    let begin = Instant::now();
    let sum = thread::scope(|scope| {
        for _ in 0..producers {
            scope.spawn(move || {
                let mut batch = [Payload::default(); BATCH];
                for first in (0..RECORDS / producers).step_by(BATCH) {
                    for (index, record) in batch.iter_mut().enumerate() {
                        *record = [first + index as u64; 7];
                    }
                    while !producer.push(&batch) {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut taken = Vec::with_capacity(RING_SLOTS);
        let (mut seen, mut sum) = (0, 0_u64);
        while seen < RECORDS {
            taken.clear();
            while let Next::Record(record) = consumer.peek() {
                taken.push(record);
                consumer.advance();
                if taken.len() == 1024 {
                    break;
                }
            }
            consumer.release();
            if taken.is_empty() {
                thread::yield_now();
            }
            seen += taken.len() as u64;
            sum += taken.iter().map(|record| record[3]).sum::<u64>();
        }
        sum
    });
    let each = RECORDS / producers;
    assert_eq!(sum, producers * (each * (each - 1) / 2), "records were lost or torn");
    per(RECORDS, 1_000_000) / begin.elapsed().as_secs_f64()
}

/// Slot of a position.
#[expect(clippy::cast_possible_truncation, reason = "below RING_SLOTS")]
fn index(position: u64) -> usize {
    (position % RING_SLOTS as u64) as usize
}

/// The floor: the same bytes, one producer, one release store per batch.
fn bare_ring() -> f64 {
    let slots = slots();
    let (head, tail) = (cursor(), cursor());
    let begin = Instant::now();
    let sum = thread::scope(|scope| {
        scope.spawn(|| {
            for first in (0..RECORDS).step_by(BATCH) {
                let next = first + BATCH as u64;
                while next - tail.position.load(Ordering::Acquire) > RING_SLOTS as u64 {
                    spin_loop();
                }
                for position in first..next {
                    for word in &slots[index(position)].payload {
                        word.store(position, Ordering::Relaxed);
                    }
                }
                head.position.store(next, Ordering::Release);
            }
        });
        let mut taken: Vec<Payload> = Vec::with_capacity(RING_SLOTS);
        let (mut seen, mut sum) = (0, 0_u64);
        while seen < RECORDS {
            let until = head.position.load(Ordering::Acquire).min(seen + 1024);
            taken.clear();
            for position in seen..until {
                let slot = &slots[index(position)].payload;
                taken.push(std::array::from_fn(|word| slot[word].load(Ordering::Relaxed)));
            }
            seen = until;
            tail.position.store(seen, Ordering::Release);
            sum += taken.iter().map(|record| record[3]).sum::<u64>();
        }
        sum
    });
    assert_eq!(sum, RECORDS * (RECORDS - 1) / 2, "records were lost or torn");
    per(RECORDS, 1_000_000) / begin.elapsed().as_secs_f64()
}
