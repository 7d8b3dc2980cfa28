//! How many stacks of memory calls a process takes in a second.

use std::sync::atomic::{AtomicU64, Ordering};

use wire::limits::MEMORY_STACKS;

const SECOND_NS: u64 = 1_000_000_000;

/// The second it is (upper half) and what was taken in it (lower half).
#[derive(Debug)]
pub(super) struct Budget(AtomicU64);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One stack, if there are any left in the second of `now`, ns.
    pub(super) fn take(&self, now: u64) -> bool {
        // Seconds since the machine started: 32 bits last for a century.
        let second = (now / SECOND_NS) << 32;
        let outcome = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let used = if word >> 32 == second >> 32 { word & u64::from(u32::MAX) } else { 0 };
            (used < u64::from(MEMORY_STACKS)).then_some(second | (used + 1))
        });
        outcome.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own() {
        let budget = Budget::new();
        for second in [5, 6, 9] {
            let in_it = |part: u64| second * SECOND_NS + part * SECOND_NS / 2000;
            let taken = (0..2000).filter(|&part| budget.take(in_it(part))).count();
            assert_eq!(taken, MEMORY_STACKS as usize);
        }
    }
}
