//! How an amount went over time, in a fixed number of points: the step doubles when they are used up.
//!
//! Each point keeps the least, the last and the greatest amount of its interval, because a mean would
//! lose what verdicts rest on: the troughs. An interval in which nothing was told has no point;
//! nothing is made up for it.

use crate::ids::Ns;

/// Points at most. Between 256 and 512 steps of the whole time are kept, whatever its length: enough for
/// 24 windows of ten points each ([`super::trend::WINDOWS`]), whose troughs and whose correlation from
/// point to point are known. At 32 bytes a point that is 16 KiB a series, 4 MiB for 256 sites.
pub const POINTS: usize = 512;

/// What became of an amount during one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Number of the interval, from the series' start, in steps.
    slot: u32,
    /// How often the amount was told.
    pub told: u32,
    pub least: u64,
    /// The amount when the interval ended.
    pub last: u64,
    pub greatest: u64,
}

/// An amount (bytes, or a count) over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Time of the first amount; slots count from here.
    start: Ns,
    /// Time of the last amount.
    end: Ns,
    first_step: u64,
    step: u64,
    points: Vec<Point>,
    refused: u64,
}

impl Series {
    /// An empty series whose points are `step_ns` apart at first (at least 1 ns). Nothing is allocated
    /// before the first amount.
    pub fn new(step_ns: u64) -> Self {
        let step = step_ns.max(1);
        Self { start: Ns(0), end: Ns(0), first_step: step, step, points: Vec::new(), refused: 0 }
    }

    /// The amount is `amount` from `time` on. What lies before the last time told is refused and counted.
    ///
    /// To be called at a steady rate, at least once a step: a point that was told rarely has a least
    /// amount that is not as low as its neighbours'.
    pub fn add(&mut self, time: Ns, amount: u64) {
        if self.points.is_empty() {
            (self.start, self.end) = (time, time);
        }
        let (Some(_), Some(since)) = (time.since(self.end), time.since(self.start)) else {
            self.refused = self.refused.saturating_add(1);
            return;
        };
        self.end = time;
        self.make_room(since);
        // Below POINTS after make_room, so the cast never saturates.
        let slot = u32::try_from(since / self.step).unwrap_or(u32::MAX);
        match self.points.last_mut() {
            Some(point) if point.slot == slot => {
                point.told = point.told.saturating_add(1);
                point.least = point.least.min(amount);
                point.greatest = point.greatest.max(amount);
                point.last = amount;
            }
            _ => self.points.push(Point {
                slot,
                told: 1,
                least: amount,
                last: amount,
                greatest: amount,
            }),
        }
    }

    /// Adds what another amount was at the same times. Of the two the later begun was nothing before; where their steps
    /// do not meet, what it was counts for the interval in which its own began, and where it was not told, as it was last.
    pub fn plus(&mut self, other: &Self) {
        if other.points.is_empty() {
            return;
        }
        if self.points.is_empty() || other.start < self.start {
            let earlier = std::mem::replace(self, other.clone());
            self.plus(&earlier);
            return;
        }
        if let Some(since) = other.end.since(self.start) {
            self.make_room(since);
        }
        let offset = other.start.since(self.start).unwrap_or(0);
        let step = self.step;
        let slot_of = |point: &Point| {
            let begin = u64::from(point.slot).saturating_mul(other.step).saturating_add(offset);
            u32::try_from(begin / step).unwrap_or(u32::MAX)
        };
        let mut theirs = other.points.iter().peekable();
        let mut last = 0_u64;
        for point in &mut self.points {
            let (mut least, mut greatest) = (last, last);
            let mut told = false;
            while let Some(their) = theirs.next_if(|their| slot_of(their) <= point.slot) {
                least = if told { least.min(their.least) } else { their.least };
                greatest = if told { greatest.max(their.greatest) } else { their.greatest };
                (last, told) = (their.last, true);
            }
            point.least = point.least.saturating_add(least);
            point.greatest = point.greatest.saturating_add(greatest);
            point.last = point.last.saturating_add(last);
        }
        self.end = self.end.max(other.end);
        self.refused = self.refused.saturating_add(other.refused);
    }

    /// Doubles the step until the time `since` the start has a slot. One pass for any number of
    /// doublings; the time covered at least doubles with each pass, so a series sees 64 of them at most.
    fn make_room(&mut self, since: u64) {
        let slots = u64::try_from(POINTS).unwrap_or(u64::MAX);
        let mut shift = 0;
        while (since / self.step) >> shift >= slots {
            shift += 1;
        }
        if shift == 0 {
            return;
        }
        // since / step >= POINTS << (shift - 1), so this is below since.
        self.step <<= shift;
        let mut kept: usize = 0;
        for index in 0..self.points.len() {
            let mut point = self.points[index];
            point.slot = point.slot.checked_shr(shift).unwrap_or(0);
            match kept.checked_sub(1).and_then(|before| self.points.get_mut(before)) {
                Some(before) if before.slot == point.slot => {
                    before.told = before.told.saturating_add(point.told);
                    before.least = before.least.min(point.least);
                    before.greatest = before.greatest.max(point.greatest);
                    before.last = point.last;
                }
                _ => {
                    self.points[kept] = point;
                    kept += 1;
                }
            }
        }
        self.points.truncate(kept);
    }

    /// The points, oldest first; fewer than steps have passed where nothing was told.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Those whose interval is over: the last amount came within a first step of its end, or after.
    pub(super) fn complete(&self) -> &[Point] {
        let Some((last, rest)) = self.points.split_last() else {
            return &[];
        };
        let end = u64::from(last.slot).saturating_add(1).saturating_mul(self.step);
        let over = self.covered().saturating_add(self.first_step) >= end;
        if over { &self.points } else { rest }
    }

    /// When a point's interval began, seconds since the series' start.
    pub(super) fn begin_s(&self, point: &Point) -> f64 {
        f64::from(point.slot) * self.step_s()
    }

    pub(super) fn step_s(&self) -> f64 {
        seconds(self.step)
    }

    /// Of these series' points the last that begins at or before a time, seconds since `other`'s start.
    pub(super) fn last_at(&self, other: &Self, at_s: f64) -> Option<u64> {
        let offset = match self.start.since(other.start) {
            Some(later) => -seconds(later),
            None => seconds(other.start.since(self.start).unwrap_or(0)),
        };
        let behind = self.points.partition_point(|point| self.begin_s(point) <= at_s + offset);
        behind.checked_sub(1).map(|index| self.points[index].last)
    }

    /// Length of an interval, ns.
    pub fn step_ns(&self) -> u64 {
        self.step
    }

    /// Time of the first amount told; `None` while there is none.
    pub fn start(&self) -> Option<Ns> {
        (!self.points.is_empty()).then_some(self.start)
    }

    /// From the first amount told to the last, ns.
    pub fn covered(&self) -> u64 {
        self.end.since(self.start).unwrap_or(0)
    }

    /// Amounts that came with a time before the last one's.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time of 104 days is exact to the nanosecond")]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn added(amounts: impl IntoIterator<Item = (u64, u64)>) -> Series {
        let mut series = Series::new(SECOND);
        for (second, amount) in amounts {
            series.add(Ns(7 + second * SECOND), amount);
        }
        series
    }

    #[test]
    fn troughs_and_crests_survive_any_number_of_doublings() {
        let amounts = |second: u64| match second {
            300 => 1,
            40_000 => 9_000,
            _ => 500 + second % 7,
        };
        let series = added((0..100_000).map(|second| (second, amounts(second))));
        assert!(series.points().len() <= POINTS);
        assert!(series.points().len() >= POINTS / 2);
        assert_eq!(series.step_ns(), 256 * SECOND);
        let at = |second: u64| {
            *series.points().iter().find(|point| u64::from(point.slot) == second / 256).unwrap()
        };
        assert_eq!((at(300).least, at(300).greatest), (1, 506));
        assert_eq!((at(40_000).least, at(40_000).greatest), (500, 9_000));
        assert_eq!(at(300).told, 256);
        let told: u64 = series.points().iter().map(|point| u64::from(point.told)).sum();
        assert_eq!(told, 100_000);
        assert_eq!(series.points().last().unwrap().last, amounts(99_999));
    }

    #[test]
    fn a_sum_is_what_both_were_at_the_same_time() {
        let one = |second: u64| 1000 + second % 50;
        // At the beginning of an interval, and within one.
        for from in [704, 700] {
            let other = |second: u64| if second < from { 0 } else { second % 3 };
            let mut sum = added((0..5000).map(|second| (second, one(second))));
            let whole = added((0..5000).map(|second| (second, one(second) + other(second))));
            let younger = added((from..5000).map(|second| (second, other(second))));
            let mut other_way = younger.clone();
            other_way.plus(&sum);
            sum.plus(&younger);
            assert_eq!(sum.points(), other_way.points());
            assert_eq!((sum.points().len(), sum.start()), (whole.points().len(), whole.start()));
            for (sum, whole) in sum.points().iter().zip(whole.points()) {
                // They need not be least at the same instant.
                assert!(from == 700 || sum.least <= whole.least && whole.greatest <= sum.greatest);
                let near = |one: u64, other: u64| one.abs_diff(other) <= 2;
                assert!(near(sum.least, whole.least) && near(sum.greatest, whole.greatest));
                assert!(near(sum.last, whole.last));
            }
        }
        let younger = added([(3, 5)]);
        let mut nothing = Series::new(SECOND);
        nothing.plus(&younger);
        nothing.plus(&Series::new(SECOND));
        assert_eq!(nothing.points(), younger.points());
    }

    #[test]
    fn time_that_goes_back_is_refused_and_counted() {
        let mut series = added([(0, 5), (3, 6)]);
        series.add(Ns(7), 100);
        series.add(Ns(0), 100);
        series.add(Ns(7 + 3 * SECOND), 8);
        assert_eq!(series.refused(), 2);
        assert_eq!(series.points().iter().map(|point| point.greatest).max(), Some(8));
        assert_eq!(series.covered(), 3 * SECOND);
    }

    #[test]
    fn intervals_in_which_nothing_was_told_have_no_point() {
        let series = added([(0, 5), (100, 6), (5_000, 7)]);
        let slots: Vec<u32> = series.points().iter().map(|point| point.slot).collect();
        assert_eq!((series.step_ns(), slots), (16 * SECOND, vec![0, 6, 312]));
    }

    #[test]
    fn the_ends_of_time_have_a_slot() {
        let mut series = Series::new(0);
        series.add(Ns(0), u64::MAX);
        series.add(Ns(u64::MAX), 0);
        assert_eq!(series.points().len(), 2);
        assert_eq!(series.points()[0].last, u64::MAX);
    }

    #[test]
    fn an_interval_that_is_not_over_is_not_complete() {
        let series = added((0..1000).map(|second| (second, 1)));
        assert_eq!((series.step_ns(), series.points().len()), (2 * SECOND, 500));
        assert_eq!(series.complete().len(), 500);
        let series = added((0..=1000).map(|second| (second, 1)));
        assert_eq!((series.points().len(), series.complete().len()), (501, 500));
    }

    #[test]
    fn another_series_is_read_at_this_ones_time() {
        let live = added((0..100).map(|second| (second, 1)));
        let mut served = Series::new(SECOND);
        for second in 10..100 {
            served.add(Ns(7 + second * SECOND), second * 3);
        }
        assert_eq!(served.last_at(&live, 9.5), None);
        assert_eq!(served.last_at(&live, 10.0), Some(30));
        assert_eq!(served.last_at(&live, 50.9), Some(150));
        assert_eq!(live.last_at(&served, 0.0), Some(1));
    }
}
