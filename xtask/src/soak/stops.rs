//! How long threads were stopped, kept small: counts of lengths, each rounded up to two digits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by length in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Stops(BTreeMap<u64, u64>);

impl Stops {
    /// One more, of so many nanoseconds.
    pub(super) fn add(&mut self, ns: u64) {
        let us = ns.div_ceil(1000);
        let mut unit = 1;
        while us.div_ceil(unit) > 99 {
            unit *= 10;
        }
        *self.0.entry(us.div_ceil(unit) * unit).or_default() += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The length that so many of a thousand do not exceed, microseconds; `None` of nothing.
    pub(super) fn at_permille(&self, permille: u64) -> Option<u64> {
        let wanted = (self.count() * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(&us, &count)| {
            seen += count;
            (seen >= wanted).then_some(us)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_never_told_too_short_nor_more_than_a_tenth_too_long() {
        for ns in [1, 999, 1000, 99_000, 99_001, 100_001, 1_234_567, 9_999_999, 50_000_000] {
            let mut stops = Stops::default();
            stops.add(ns);
            let told = stops.at_permille(500).unwrap() * 1000;
            assert!(told >= ns && told - ns <= (ns / 10).max(1000), "{ns}: {told}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut stops = Stops::default();
        (1..=100).for_each(|ms| stops.add(ms * 1_000_000));
        assert_eq!((stops.count(), stops.at_permille(500)), (100, Some(50_000)));
        assert_eq!(
            (stops.at_permille(990), stops.at_permille(1000)),
            (Some(99_000), Some(100_000))
        );
        assert_eq!(Stops::default().at_permille(990), None);
    }
}
