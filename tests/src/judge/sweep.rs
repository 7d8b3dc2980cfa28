//! Adds up a device's time over the elementary intervals between all edges.

use crate::judge::kernels::Busy;

/// Something that took a device's time.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub start: u64,
    pub end: u64,
    pub busy: Busy,
}

/// Time of a window, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// By [`Busy`]: an instant belongs to the first class that runs.
    pub exclusive: [u64; 5],
    /// By [`Busy`]: union of each on its own.
    pub inclusive: [u64; 5],
    /// Union of other compute and copies.
    pub inclusive_other: u64,
    /// Attention, GEMM or other compute together with communication.
    pub overlap: u64,
    /// Nothing ran and nothing unknown may have run.
    pub idle: u64,
    /// Nothing is known to have run, but something unknown may have: after arming.
    pub unobserved_invalid: u64,
    /// From the window's start to the drained instant, gaps only.
    pub unobserved_arming: u64,
    /// Part of `idle` in which work ran that the profiler was never told of.
    pub idle_hidden: u64,
}

/// Index of an edge's counter: five of [`Busy`], then these.
const UNKNOWN: usize = 5;
const ARMING: usize = 6;
const HIDDEN: usize = 7;

/// Splits `[start, end)`. In `[start, drained)` gaps are unobserved for arming; elsewhere gaps
/// that overlap `unknown` are unobserved too. `hidden` work was never recorded.
pub fn sweep(
    intervals: &[Interval],
    unknown: &[(u64, u64)],
    hidden: &[(u64, u64)],
    window: (u64, u64),
    drained: u64,
) -> Split {
    let mut edges: Vec<(u64, usize, i64)> = Vec::with_capacity(2 * intervals.len() + 8);
    let mut add = |start: u64, end: u64, counter: usize| {
        let (start, end) = (start.max(window.0), end.min(window.1));
        if start < end {
            edges.push((start, counter, 1));
            edges.push((end, counter, -1));
        }
    };
    for interval in intervals {
        add(interval.start, interval.end, interval.busy.index());
    }
    for &(start, end) in unknown {
        add(start, end, UNKNOWN);
    }
    for &(start, end) in hidden {
        add(start, end, HIDDEN);
    }
    add(window.0, drained, ARMING);
    edges.push((window.0, UNKNOWN, 0));
    edges.push((window.1, UNKNOWN, 0));
    edges.sort_unstable();

    let mut running = [0_i64; 8];
    let mut split = Split::default();
    let mut position = window.0;
    for (at, counter, change) in edges {
        if at > position {
            split.take(&running, at - position);
            position = at;
        }
        running[counter] += change;
    }
    split
}

impl Split {
    fn take(&mut self, running: &[i64; 8], length: u64) {
        let runs = |busy: Busy| running[busy.index()] > 0;
        for busy in Busy::ALL.into_iter().filter(|&busy| runs(busy)) {
            self.inclusive[busy.index()] += length;
        }
        if runs(Busy::Other) || runs(Busy::Copy) {
            self.inclusive_other += length;
        }
        let compute = runs(Busy::Attention) || runs(Busy::Gemm) || runs(Busy::Other);
        if compute && runs(Busy::Communication) {
            self.overlap += length;
        }
        if let Some(first) = Busy::ALL.into_iter().find(|&busy| runs(busy)) {
            self.exclusive[first.index()] += length;
        } else if running[ARMING] > 0 {
            self.unobserved_arming += length;
        } else if running[UNKNOWN] > 0 {
            self.unobserved_invalid += length;
        } else {
            self.idle += length;
            if running[HIDDEN] > 0 {
                self.idle_hidden += length;
            }
        }
    }

    /// Both kinds of unobserved time.
    pub fn unobserved(&self) -> u64 {
        self.unobserved_invalid + self.unobserved_arming
    }
}

/// The earliest instant before which gaps add up to `gaps_ns`, from `window.0` on; the window's
/// end when they never do.
pub fn instant_after_gaps(intervals: &[Interval], window: (u64, u64), gaps_ns: u64) -> u64 {
    let mut busy: Vec<(u64, u64)> = intervals
        .iter()
        .map(|interval| (interval.start.max(window.0), interval.end.min(window.1)))
        .filter(|(start, end)| start < end)
        .collect();
    busy.sort_unstable();
    let mut position = window.0;
    let mut left = gaps_ns;
    for (start, end) in busy {
        if left == 0 {
            return position;
        }
        if start > position {
            let gap = start - position;
            if gap >= left {
                return position + left;
            }
            left -= gap;
        }
        position = position.max(end);
    }
    (position + left).min(window.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(start: u64, end: u64, busy: Busy) -> Interval {
        Interval { start, end, busy }
    }

    #[test]
    fn priority_edges_gaps_and_overlap() {
        let intervals = [
            interval(0, 30, Busy::Communication),
            interval(20, 40, Busy::Gemm),
            interval(35, 45, Busy::Copy),
            interval(60, 60, Busy::Attention),
            interval(90, 200, Busy::Other),
        ];
        let split = sweep(&intervals, &[(50, 70), (80, u64::MAX)], &[(44, 75)], (10, 100), 10);
        assert_eq!(
            split,
            Split {
                exclusive: [0, 20, 10, 10, 5],
                inclusive: [0, 20, 10, 20, 10],
                inclusive_other: 20,
                overlap: 10,
                idle: 15,
                unobserved_invalid: 30,
                unobserved_arming: 0,
                idle_hidden: 10,
            }
        );
    }

    #[test]
    fn arming_takes_the_gaps_before_the_drained_instant() {
        let intervals = [interval(5, 15, Busy::Gemm), interval(20, 30, Busy::Gemm)];
        let split = sweep(&intervals, &[(0, 50)], &[], (0, 40), 18);
        assert_eq!((split.unobserved_arming, split.unobserved_invalid, split.idle), (8, 12, 0));
        assert_eq!(instant_after_gaps(&intervals, (0, 40), 8), 18);
        assert_eq!(instant_after_gaps(&intervals, (0, 40), 0), 0);
        assert_eq!(instant_after_gaps(&intervals, (0, 40), 99), 40);
    }

    /// The same by looking at every single instant.
    #[test]
    fn agrees_with_looking_at_every_instant() {
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let intervals: Vec<Interval> = (0..random(12))
                .map(|_| {
                    let start = random(100);
                    let busy = Busy::ALL[usize::try_from(random(5)).unwrap()];
                    interval(start, start + random(30), busy)
                })
                .collect();
            let unknown: Vec<(u64, u64)> =
                (0..random(3)).map(|_| (random(60), 40 + random(60))).collect();
            let hidden = [(random(60), 40 + random(60))];
            let window = (random(30), 60 + random(60));
            let drained = random(80);
            let mut expected = Split::default();
            for instant in window.0..window.1 {
                let mut running = [0; 8];
                for one in &intervals {
                    running[one.busy.index()] +=
                        i64::from(one.start <= instant && instant < one.end);
                }
                for &(start, end) in &unknown {
                    running[UNKNOWN] += i64::from(start <= instant && instant < end);
                }
                running[HIDDEN] = i64::from(hidden[0].0 <= instant && instant < hidden[0].1);
                running[ARMING] = i64::from(instant < drained);
                expected.take(&running, 1);
            }
            assert_eq!(sweep(&intervals, &unknown, &hidden, window, drained), expected);
        }
    }
}
