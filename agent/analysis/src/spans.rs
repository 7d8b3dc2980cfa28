//! Stretches of time in order, as the host's threads spend them.

/// `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn clipped(self, from: u64, to: u64) -> Self {
        Self { from: self.from.max(from), to: self.to.min(to) }
    }
}

/// Disjoint stretches, ordered. Stretches that touch are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    list: Vec<Span>,
}

impl Spans {
    /// Adds a stretch; nearly always at the end. `false`: there are `capacity` already and it
    /// touches none of them.
    pub(crate) fn add(&mut self, span: Span, capacity: usize) -> bool {
        if span.from >= span.to {
            return true;
        }
        let first = self.list.partition_point(|kept| kept.to < span.from);
        let touched = self.list[first..].iter().take_while(|kept| kept.from <= span.to).count();
        if touched == 0 {
            if self.list.len() >= capacity {
                return false;
            }
            self.list.insert(first, span);
            return true;
        }
        let last = self.list[first + touched - 1];
        let kept = &mut self.list[first];
        kept.from = kept.from.min(span.from);
        kept.to = last.to.max(span.to);
        self.list.drain(first + 1..first + touched);
        true
    }

    /// The stretches that overlap `[from, to)`, whole.
    pub(crate) fn around(&self, from: u64, to: u64) -> impl Iterator<Item = Span> {
        let first = self.list.partition_point(move |kept| kept.to <= from);
        self.list[first..].iter().copied().take_while(move |kept| kept.from < to)
    }

    /// The stretches that overlap `[from, to)`, clipped to it.
    pub(crate) fn within(&self, from: u64, to: u64) -> impl Iterator<Item = Span> {
        self.around(from, to).map(move |kept| kept.clipped(from, to))
    }

    /// As [`Spans::within`], with stretches at most `slack` apart taken for one.
    pub(crate) fn joined_within(&self, from: u64, to: u64, slack: u64) -> Vec<Span> {
        let mut joined: Vec<Span> = Vec::new();
        let wide = self.around(from.saturating_sub(slack), to.saturating_add(slack));
        for span in wide {
            match joined.last_mut() {
                Some(last) if span.from <= last.to.saturating_add(slack) => last.to = span.to,
                _ => joined.push(span),
            }
        }
        joined.retain(|span| span.from < to && from < span.to);
        joined.iter().map(|span| span.clipped(from, to)).collect()
    }

    /// The stretch that covers `at`.
    pub(crate) fn at(&self, at: u64) -> Option<Span> {
        let first = self.list.partition_point(|kept| kept.to <= at);
        self.list.get(first).copied().filter(|kept| kept.from <= at)
    }

    /// Drops what ended before `done`.
    pub(crate) fn forget_before(&mut self, done: u64) {
        let gone = self.list.partition_point(|kept| kept.to < done);
        self.list.drain(..gone);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// What of `list` lies in none of `holes`; both ordered and disjoint.
pub(crate) fn without(list: &[Span], holes: &[Span]) -> Vec<Span> {
    let mut left = Vec::with_capacity(list.len());
    for &span in list {
        let mut from = span.from;
        let first = holes.partition_point(|hole| hole.to <= span.from);
        for hole in holes[first..].iter().take_while(|hole| hole.from < span.to) {
            if from < hole.from {
                left.push(Span { from, to: hole.from });
            }
            from = from.max(hole.to);
        }
        if from < span.to {
            left.push(Span { from, to: span.to });
        }
    }
    left
}

/// What lies in both; both ordered and disjoint.
pub(crate) fn both(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut shared = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (from, to) = (x.from.max(y.from), x.to.min(y.to));
        if from < to {
            shared.push(Span { from, to });
        }
        if x.to <= y.to {
            i += 1;
        } else {
            j += 1;
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::{Span, Spans, both, without};
    use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

    const SLACK: u64 = 2;

    fn spans() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0_u64..60, 0_u64..8), 0..12)
    }

    fn build(list: &[(u64, u64)]) -> Spans {
        let mut spans = Spans::default();
        for &(from, length) in list {
            assert!(spans.add(Span { from, to: from + length }, 1000));
        }
        spans
    }

    fn covers(list: &[Span], t: u64) -> bool {
        list.iter().any(|span| (span.from..span.to).contains(&t))
    }

    proptest! {
        #[test]
        fn every_instant_is_kept_and_only_slack_is_added(list in spans()) {
            let kept = build(&list).joined_within(0, 100, SLACK);
            for pair in kept.windows(2) {
                prop_assert!(pair[0].to + SLACK < pair[1].from);
            }
            for t in 0..100 {
                let told = list.iter().any(|&(from, length)| (from..from + length).contains(&t));
                if told {
                    prop_assert!(covers(&kept, t));
                } else if covers(&kept, t) {
                    let before = list.iter().filter(|s| s.1 > 0 && s.0 + s.1 <= t).map(|s| s.0 + s.1).max();
                    let after = list.iter().filter(|s| s.1 > 0 && s.0 > t).map(|s| s.0).min();
                    prop_assert!(after.unwrap() - before.unwrap() <= SLACK);
                }
            }
        }

        #[test]
        fn set_operations_agree_instant_by_instant(a in spans(), b in spans()) {
            let a: Vec<Span> = build(&a).within(0, 100).collect();
            let b: Vec<Span> = build(&b).within(0, 100).collect();
            let (difference, shared) = (without(&a, &b), both(&a, &b));
            for t in 0..100 {
                prop_assert_eq!(covers(&difference, t), covers(&a, t) && !covers(&b, t));
                prop_assert_eq!(covers(&shared, t), covers(&a, t) && covers(&b, t));
            }
        }
    }

    #[test]
    fn a_full_list_still_grows_what_it_has() {
        let mut spans = Spans::default();
        assert!(spans.add(Span { from: 0, to: 5 }, 1));
        assert!(!spans.add(Span { from: 7, to: 9 }, 1));
        assert!(spans.add(Span { from: 5, to: 6 }, 1));
        assert_eq!(spans.within(0, 10).collect::<Vec<_>>(), [Span { from: 0, to: 6 }]);
        spans.forget_before(7);
        assert!(spans.is_empty());
    }
}
