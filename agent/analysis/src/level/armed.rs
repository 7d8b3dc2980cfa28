//! The windows in which a device was observed, gathered from its cumulative split, for [`estimate()`].

use std::collections::VecDeque;

use super::estimate::{Estimate, estimate};
use crate::report::Exclusive;

/// How far back estimates look, ns: an hour, so sixty windows of a duty of a minute.
const HORIZON_NS: u64 = 3_600_000_000_000;

/// Time that is not observed and shorter than this, ns, ends no window: pieces of one arming resemble each other, and as
/// windows of their own would make the interval too narrow. Short against the half minute without which nobody takes turns.
const PAUSE_NS: u64 = 5_000_000_000;

/// A window that long, ns, ends: one of each period, also where all of the time is observed.
const LONGEST_NS: u64 = super::duty::PERIOD_NS;

/// Windows kept: twice as many as an hour has periods, since a window may come in two pieces.
const KEPT: usize = 128;

/// Classes of time that are estimated, idle time among them.
pub const CLASSES: [&str; 5] = ["attention", "gemm", "communication", "other", "idle"];

/// One stretch of observed time.
#[derive(Clone, Copy, Debug, Default)]
struct Armed {
    start: u64,
    end: u64,
    observed: u64,
    parts: [u64; CLASSES.len()],
}

/// Of one device.
#[derive(Clone, Debug, Default)]
pub struct ArmedWindows {
    windows: VecDeque<Armed>,
    /// Not observed since the latest window's end.
    pause: u64,
    /// Where the data ended, and the split up to there.
    told: Option<(u64, Exclusive)>,
}

/// What a device's time was spent on, by the part of it that was observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimated {
    /// Of the time from the first window's beginning to the last one's end, the part that was observed.
    pub observed: f64,
    /// In the order of [`CLASSES`]; their values sum to 1.
    pub classes: [Estimate; CLASSES.len()],
}

impl ArmedWindows {
    /// Adds the cumulative split of a device whose data ends at `end`. What does not move on is left out.
    pub fn add(&mut self, end: u64, split: Exclusive) {
        let before = self.told.replace((end, split));
        let Some((begin, before)) = before else { return };
        if end <= begin {
            self.told = Some((begin, before));
            return;
        }
        let parts = parts(&split);
        let mut passed = parts;
        for (passed, before) in passed.iter_mut().zip(self::parts(&before)) {
            *passed = passed.saturating_sub(before);
        }
        let observed: u64 = passed.iter().sum();
        // What was not observed comes first: a watermark stands while nothing is armed.
        self.pause += split.unobserved.saturating_sub(before.unobserved);
        if observed == 0 {
            return;
        }
        let goes_on = self.pause < PAUSE_NS
            && self.windows.back().is_some_and(|window| window.end - window.start < LONGEST_NS);
        self.pause = 0;
        if !goes_on {
            let start = end.saturating_sub(observed);
            self.windows.push_back(Armed { start, ..Armed::default() });
        }
        if let Some(window) = self.windows.back_mut() {
            window.end = end;
            window.observed += observed;
            for (sum, passed) in window.parts.iter_mut().zip(passed) {
                *sum += passed;
            }
        }
        let oldest = end.saturating_sub(HORIZON_NS);
        while self.windows.len() > KEPT
            || self.windows.front().is_some_and(|window| window.end < oldest)
        {
            self.windows.pop_front();
        }
    }

    /// What is estimated of all time; `None` while nothing was observed.
    pub fn estimated(&self) -> Option<Estimated> {
        let (first, last) = (self.windows.front()?, self.windows.back()?);
        let total = last.end.saturating_sub(first.start);
        let observed: u64 = self.windows.iter().map(|window| window.observed).sum();
        let of = |class: usize| {
            let windows: Vec<(u64, u64)> = self
                .windows
                .iter()
                .map(|window| (window.observed, window.parts.get(class).copied().unwrap_or(0)))
                .collect();
            estimate(&windows, total)
        };
        Some(Estimated {
            observed: share(observed, total),
            classes: [of(0)?, of(1)?, of(2)?, of(3)?, of(4)?],
        })
    }
}

/// In the order of [`CLASSES`].
fn parts(split: &Exclusive) -> [u64; CLASSES.len()] {
    let &Exclusive { attention, gemm, communication, other, idle, unobserved: _ } = split;
    [attention, gemm, communication, other, idle]
}

#[expect(clippy::cast_precision_loss, reason = "a share of hours in nanoseconds")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::super::estimate::Confidence;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Fed twice a second while armed; the load is 30 % gemm, a little more in every other minute.
    fn in_turns(minutes: u64, on_seconds: u64) -> ArmedWindows {
        let mut windows = ArmedWindows::default();
        let (mut split, mut now) = (Exclusive::default(), 0);
        windows.add(now, split);
        for minute in 0..minutes {
            let gemm = if minute % 2 == 0 { 28 } else { 32 };
            for half in 0..on_seconds * 2 {
                let off = if half == 0 && minute > 0 { 60 - on_seconds } else { 0 };
                split.unobserved += off * SECOND;
                split.gemm += SECOND / 200 * gemm;
                split.idle += SECOND / 200 * (100 - gemm);
                now += off * SECOND + SECOND / 2;
                windows.add(now, split);
            }
        }
        windows
    }

    #[test]
    fn each_turn_is_a_window_and_the_interval_holds_the_load() {
        let windows = in_turns(20, 6);
        assert_eq!(windows.windows.len(), 20);
        assert!(windows.windows.iter().all(|window| window.observed == 6 * SECOND));
        let estimated = windows.estimated().unwrap();
        assert!((estimated.observed - 0.105).abs() < 0.001, "{}", estimated.observed);
        let gemm = estimated.classes[1];
        assert_eq!((gemm.confidence, gemm.windows), (Confidence::Percent95, 20));
        assert!((gemm.value - 0.3).abs() < 1e-9, "{gemm:?}");
        assert!(gemm.low < 0.3 && gemm.high > 0.3 && gemm.high - gemm.low < 0.04, "{gemm:?}");
        let sum: f64 = estimated.classes.iter().map(|class| class.value).sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_always_observed_is_exact_and_bounded() {
        let windows = in_turns(300, 60);
        assert!(windows.windows.len() <= KEPT);
        let estimated = windows.estimated().unwrap();
        assert!((estimated.observed - 1.0).abs() < f64::EPSILON);
        assert_eq!(estimated.classes[1].confidence, Confidence::Exact);
        assert!(in_turns(0, 1).estimated().is_none());
    }

    #[test]
    fn a_short_hole_ends_no_window_and_time_that_stands_adds_nothing() {
        let mut windows = in_turns(1, 6);
        let (end, mut split) = windows.told.unwrap();
        windows.add(end, Exclusive { gemm: u64::MAX, ..split });
        split.unobserved += SECOND;
        split.idle += SECOND;
        windows.add(end + 2 * SECOND, split);
        assert_eq!(windows.windows.len(), 1);
        assert_eq!(windows.windows[0].observed, 7 * SECOND);
    }
}
