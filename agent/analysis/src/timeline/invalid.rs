//! Where a record without timestamps may have run.
//!
//! For an invalid record of correlation c in a stream, launched at `enter`:
//! - e = the greatest end of a valid record of the stream with a smaller correlation,
//! - s = the smallest start of a valid record of the stream with a greater correlation,
//! - it ran somewhere in `[max(e, enter), s)`; records of the same launch do not bound it.
//!
//! Only time behind the device's watermark is still open. A valid record that lies wholly before
//! the watermark cannot raise the start of what is open; one with a greater correlation ends it.

/// An invalid record, or several of one stream merged: the first's lower bound, the last's upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) stream: u32,
    /// Correlation of the first.
    pub(crate) first: u64,
    /// Correlation of the last.
    pub(crate) last: u64,
    /// Entry of the launch, 0 where it is unknown.
    pub(crate) enter: u64,
    pub(crate) worker: u16,
}

/// A valid record, as far as it bounds invalid ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Valid {
    pub(crate) stream: u32,
    pub(crate) correlation: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The valid records of the streams that have invalid ones, ordered for look-up.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    /// By stream and correlation; end is the greatest so far in the stream.
    ordered: Vec<Valid>,
    /// Smallest start from this position to the end of its stream.
    starts: Vec<u64>,
}

impl Bounds {
    pub(crate) fn new(mut valid: Vec<Valid>) -> Self {
        valid.sort_unstable_by_key(|record| (record.stream, record.correlation));
        let mut starts: Vec<u64> = valid.iter().map(|record| record.start).collect();
        for index in 1..valid.len() {
            if valid[index].stream == valid[index - 1].stream {
                valid[index].end = valid[index].end.max(valid[index - 1].end);
            }
        }
        for index in (1..valid.len()).rev() {
            if valid[index].stream == valid[index - 1].stream {
                starts[index - 1] = starts[index - 1].min(starts[index]);
            }
        }
        Self { ordered: valid, starts }
    }

    /// `[max(e, enter), s)`, with `u64::MAX` for an s that was not seen yet.
    pub(crate) fn of(&self, invalid: &Invalid) -> (u64, u64) {
        let before = self
            .ordered
            .partition_point(|v| (v.stream, v.correlation) < (invalid.stream, invalid.first));
        let after = self
            .ordered
            .partition_point(|v| (v.stream, v.correlation) <= (invalid.stream, invalid.last));
        let end_before = before
            .checked_sub(1)
            .and_then(|index| self.ordered.get(index))
            .filter(|record| record.stream == invalid.stream)
            .map_or(0, |record| record.end);
        let start_after = self
            .ordered
            .get(after)
            .filter(|record| record.stream == invalid.stream)
            .and_then(|_| self.starts.get(after))
            .map_or(u64::MAX, |&start| start);
        (end_before.max(invalid.enter), start_after)
    }
}

/// Merges all of one stream into one, so that each stream has at most one. The region only grows.
pub(crate) fn merge(invalid: &mut Vec<Invalid>) {
    invalid.sort_unstable_by_key(|record| (record.stream, record.first));
    invalid.dedup_by(|next, kept| {
        let same = next.stream == kept.stream;
        if same {
            kept.last = kept.last.max(next.last);
            kept.enter = kept.enter.min(next.enter);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Invalid, Valid, merge};
    use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};

    fn valid() -> impl Strategy<Value = Valid> {
        (0_u32..3, 0_u64..12, 0_u64..100, 0_u64..30).prop_map(
            |(stream, correlation, start, length)| Valid {
                stream,
                correlation,
                start,
                end: start + length,
            },
        )
    }

    fn equation(valid: &[Valid], invalid: &Invalid) -> (u64, u64) {
        let stream = || valid.iter().filter(|record| record.stream == invalid.stream);
        let e = stream()
            .filter(|record| record.correlation < invalid.first)
            .map(|record| record.end)
            .max();
        let s = stream()
            .filter(|record| record.correlation > invalid.last)
            .map(|record| record.start)
            .min();
        (e.unwrap_or(0).max(invalid.enter), s.unwrap_or(u64::MAX))
    }

    proptest! {
        #[test]
        fn the_bounds_are_those_of_the_equation(
            records in prop::collection::vec(valid(), 0..30),
            stream in 0_u32..3,
            correlation in 0_u64..12,
            enter in 0_u64..100,
        ) {
            let invalid =
                Invalid { stream, first: correlation, last: correlation, enter, worker: 0 };
            let expected = equation(&records, &invalid);
            prop_assert_eq!(Bounds::new(records).of(&invalid), expected);
        }

        #[test]
        fn merging_only_widens(
            records in prop::collection::vec(valid(), 0..30),
            all in prop::collection::vec((0_u32..3, 0_u64..12, 0_u64..100), 1..8),
        ) {
            let each: Vec<Invalid> = all
                .into_iter()
                .map(|(stream, c, enter)| {
                    Invalid { stream, first: c, last: c, enter, worker: 0 }
                })
                .collect();
            let mut merged = each.clone();
            merge(&mut merged);
            let bounds = Bounds::new(records);
            for invalid in &each {
                let (start, end) = bounds.of(invalid);
                let of_stream = merged.iter().filter(|m| m.stream == invalid.stream);
                let wide: Vec<(u64, u64)> = of_stream.map(|m| bounds.of(m)).collect();
                prop_assert_eq!(wide.len(), 1);
                assert!(wide[0].0 <= start && end <= wide[0].1, "{wide:?} {start} {end}");
            }
        }
    }
}
