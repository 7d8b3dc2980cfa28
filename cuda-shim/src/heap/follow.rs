//! The heap is sampled while an agent wants it, as often as stacks can be taken for it.

use std::sync::atomic::Ordering;

use wire::limits::MEMORY_STACKS;
use wire::shim::HEAP_CLOSED;

use super::{COUNTS, Heap, MEAN};
use crate::gate::HEAP;
use crate::teller::Teller;

/// Bytes between two samples at first: some hundred samples a second of a busy program.
const FIRST: u64 = 256 << 10;
/// At least: one of a hundred small blocks.
const LEAST: u64 = 16 << 10;
/// At most; a program that allocates 100 GiB/s has a hundred samples a second then.
const MOST: u64 = 1 << 30;
/// Between two looks at how many samples there are.
const LOOK_NS: u64 = 1_000_000_000;

/// State of a process's sampling.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    heap: Option<Heap>,
    /// Its functions were looked for, once.
    looked_for: bool,
    on: bool,
    looked_ns: u64,
    /// Samples at that time, those without room too.
    samples: u64,
}

impl Sampling {
    /// To be called each turn of the shim's thread, which may wait for the loader's lock here.
    pub(crate) fn follow(&mut self, teller: &Teller, wanted: bool, now: u64) {
        if wanted && !self.looked_for {
            self.looked_for = true;
            self.heap = Heap::find();
        }
        let stats = teller.region.stats();
        let Some(heap) = &self.heap else {
            return stats.heap_mean.store(if wanted { HEAP_CLOSED } else { 0 }, Ordering::Relaxed);
        };
        if wanted != self.on {
            self.on = wanted;
            (self.samples, self.looked_ns) = (samples(), now);
            if wanted {
                teller.gate.open(HEAP);
                heap.begin(FIRST);
            } else {
                teller.gate.shut(HEAP);
                heap.end();
            }
        } else if wanted && now.saturating_sub(self.looked_ns) >= LOOK_NS {
            let (samples, time) = (samples(), now.saturating_sub(self.looked_ns));
            let fresh = samples.saturating_sub(self.samples);
            (self.samples, self.looked_ns) = (samples, now);
            let mean = MEAN.load(Ordering::Relaxed);
            MEAN.store(next(mean, fresh, time), Ordering::Relaxed);
        }
        if wanted {
            heap.look();
            stats.heap_without_python.store(heap.misses_python().into(), Ordering::Relaxed);
        }
        let mean = if wanted { MEAN.load(Ordering::Relaxed) } else { 0 };
        stats.heap_mean.store(mean, Ordering::Relaxed);
        stats.heap_refused.store(COUNTS.refused.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn samples() -> u64 {
    COUNTS.samples.load(Ordering::Relaxed).saturating_add(COUNTS.refused.load(Ordering::Relaxed))
}

/// The mean after one that had `samples` in `time`, ns: three quarters of what stacks are taken of at most, and never
/// more than halved, as traffic comes and goes.
fn next(mean: u64, samples: u64, time: u64) -> u64 {
    let wanted = u128::from(MEMORY_STACKS) * 3 / 4 * u128::from(time) / 1_000_000_000;
    let ideal = u128::from(mean) * u128::from(samples) / wanted.max(1);
    let ideal = u64::try_from(ideal).unwrap_or(MOST);
    ideal.clamp(mean / 2, MOST).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn samples_come_as_often_as_stacks_can_be_taken() {
        let wanted = u64::from(MEMORY_STACKS) * 3 / 4;
        assert_eq!(next(FIRST, wanted, SECOND), FIRST);
        assert_eq!(next(FIRST, 10 * wanted, SECOND), 10 * FIRST);
        assert_eq!(next(FIRST, 10 * wanted, 2 * SECOND), 5 * FIRST);
        assert_eq!(next(FIRST, wanted / 3, SECOND), FIRST / 2, "no faster than by half");
        assert_eq!(next(FIRST, 0, SECOND), FIRST / 2);
        assert_eq!(next(LEAST, 0, SECOND), LEAST);
        assert_eq!(next(MOST, u64::MAX, SECOND), MOST);
        assert_eq!(next(FIRST, u64::MAX, 0), MOST);
    }
}
