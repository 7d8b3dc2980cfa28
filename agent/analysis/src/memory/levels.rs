//! A series as numbers: where it begins to count, and whether it comes and goes in cycles.

use super::number::{count, off, squared};
use super::series::Series;
use super::trend::Dot;

/// A point: seconds since the series' start, bytes above its first least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub at: f64,
    pub least: f64,
    pub last: f64,
    pub greatest: f64,
}

/// The points whose interval is over. Bytes are counted from the first point's least, so that what is small
/// beside a heap of GiB keeps its digits; that amount is returned, too.
pub(super) fn levels(series: &Series) -> (Vec<Level>, u64) {
    let points = series.complete();
    let base = points.first().map_or(0, |point| point.least);
    let half = series.step_s() / 2.0;
    let levels = points
        .iter()
        .map(|point| Level {
            at: series.begin_s(point) + half,
            least: off(point.least, base),
            last: off(point.last, base),
            greatest: off(point.greatest, base),
        })
        .collect();
    (levels, base)
}

pub(super) fn leasts(levels: &[Level]) -> Vec<Dot> {
    levels.iter().map(|level| Dot { at: level.at, bytes: level.least }).collect()
}

/// What was never given back after each point: the least of it and all that follow.
fn kept(levels: &[Level]) -> Vec<f64> {
    let mut kept: Vec<f64> = levels.iter().map(|level| level.least).collect();
    for index in (1..kept.len()).rev() {
        kept[index - 1] = kept[index - 1].min(kept[index]);
    }
    kept
}

/// Points before the end of a stretch at which a step is measured: noise of one point is no step.
const BEFORE: usize = 3;

/// Where the warm-up ends: the first point after it, 0 without one.
///
/// Weights, KV cache and graphs are steps, each larger than everything that follows it. A step is
/// growth within a sixteenth of the series that was never given back; of those that are larger than all growth that
/// follows and are at least half of the growth before, the last; and again in what is left, so that
/// a small last step (graphs) behind a large first one (weights) is found. The last quarter is never
/// warm-up: what follows a step must be long enough to compare it with.
pub(super) fn warm_up(levels: &[Level]) -> usize {
    let all = levels.len();
    let stretch = (all / 16).max(1);
    let tail = (all / 4).max(2 * BEFORE);
    let Some(limit) = all.checked_sub(tail).filter(|limit| *limit > BEFORE) else {
        return 0;
    };
    let kept = kept(levels);
    let end = kept[all - (all / 8).max(BEFORE)];
    let mut from = 0;
    loop {
        // Rise within the stretch that ends with a point, from the most of what is before it.
        let rise = |index: usize| {
            let first = index.saturating_sub(stretch).max(from);
            let before = levels[first.saturating_sub(BEFORE - 1).max(from)..=first.min(index - 1)]
                .iter()
                .map(|level| level.greatest)
                .fold(f64::NEG_INFINITY, f64::max);
            (kept[index] - before, before, first)
        };
        let step = (from + 1..=limit).rev().find(|&index| {
            let (rise, _, first) = rise(index);
            rise > (end - kept[index]).max(0.0)
                && rise >= (kept[index] - kept[from]) / 2.0
                && rarely_as_high(&levels[from..=first], kept[index])
        });
        let Some(last) = step else {
            return from;
        };
        // The step is somewhere in the stretch: it ends where nearly all of the rise is there.
        let (all, before, first) = rise(last);
        let there = |index: &usize| kept[*index] - before >= NEARLY * all;
        from = (first + 1..=last).find(there).unwrap_or(last);
    }
}

/// Of a step, all but what may be a leak's beginning.
const NEARLY: f64 = 0.95;

/// Whether at most an eighth of these reach a level: a peak while weights are loaded does, waking up from
/// sleep mode comes back to where it was.
fn rarely_as_high(levels: &[Level], level: f64) -> bool {
    let as_high = levels.iter().filter(|before| before.greatest >= level).count();
    as_high * 8 <= levels.len()
}

/// Falls and rises of at least half of the greatest one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cycles {
    /// The least between two crests, oldest first, and behind the last one.
    pub troughs: Vec<Dot>,
    /// How often it fell from a crest.
    pub falls: usize,
    /// Greatest distance above what was kept.
    pub height: f64,
    /// Share of the points that were above half of it.
    pub high_share: f64,
}

/// Finds them. What they are measured by is how far levels are above [`kept`], so that growth below the cycles
/// does not count as height.
pub(super) fn cycles(levels: &[Level]) -> Cycles {
    let kept = kept(levels);
    let above = |(level, kept): (&Level, &f64)| level.greatest - kept;
    let height = levels.iter().zip(&kept).map(above).fold(0.0, f64::max);
    let Some(start) = levels.first().filter(|_| height > 0.0) else {
        return Cycles::default();
    };
    let high = levels.iter().zip(&kept).filter(|&both| above(both) > height / 2.0).count();
    let high_share = count(high) / count(levels.len());
    let mut cycles = Cycles { height, high_share, ..Cycles::default() };
    // The greatest so far while it is high, the least while it is low. What is low at the beginning may be
    // the tail of a fall that was not seen, and is no trough.
    let mut high = start.least - kept[0] > height / 2.0;
    let (mut seen, mut crest) = (high, start.greatest);
    let mut trough = Dot { at: start.at, bytes: f64::INFINITY };
    // Points at the bottom, this time and at the shortest.
    let (mut low, mut shortest) = (0, usize::MAX);
    let mut ended = start.greatest;
    for level in levels {
        let mut ends = level.last;
        // A point may hold both sides of an edge; where it was high before, its last says on which it ended.
        let mut rises_to = level.greatest;
        if high {
            crest = crest.max(level.greatest);
            // A point that only rises has its least amount in front, where the one before ended.
            if level.least < crest - height / 2.0 && level.least < ended {
                high = false;
                cycles.falls += 1;
                (trough.bytes, low) = (f64::INFINITY, 0);
                rises_to = level.last;
            }
        }
        if !high {
            low += 1;
            if level.least < trough.bytes {
                trough = Dot { at: level.at, bytes: level.least };
            }
            if rises_to > trough.bytes + height / 2.0 {
                if seen {
                    cycles.troughs.push(trough);
                    shortest = shortest.min(low);
                }
                (high, seen, crest) = (true, true, level.greatest);
                // It may have fallen again by the end of the point; the next one shows it.
                ends = level.greatest;
            }
        }
        ended = ends;
    }
    // The one it is in, where that is half as long as any before: it may fall further, and is not waited for.
    if !high && seen && low >= shortest.div_ceil(2) {
        cycles.troughs.push(trough);
    }
    cycles
}

/// What comes back from point to point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Falls {
    /// All of them together.
    pub bytes: f64,
    /// Share of the points that lie below the one before, at their least.
    pub share: f64,
}

impl Falls {
    pub(super) fn of(levels: &[Level]) -> Self {
        let falls = levels.windows(2).map(|pair| pair[0].greatest - pair[1].least);
        let falls: Vec<f64> = falls.filter(|fall| *fall > 0.0).collect();
        let pairs = count(levels.len().max(2) - 1);
        Self { bytes: falls.iter().sum(), share: count(falls.len()) / pairs }
    }
}

impl Cycles {
    /// Whether there are three or more whose troughs are so much alike that each is the same state come back to:
    /// beside their common rise off by at most a twentieth of the height; and no shorter than six points, as
    /// noise goes up and down faster. Troughs of uniform noise are off by a tenth.
    pub(super) fn regular(&self, points: usize) -> bool {
        self.troughs.len() >= 3
            && points >= 6 * self.troughs.len()
            && self.scatter() <= self.height / 20.0
    }

    /// How far a trough is from where its neighbours have it, bytes.
    pub(super) fn scatter(&self) -> f64 {
        let (Some(first), Some(last)) = (self.troughs.first(), self.troughs.last()) else {
            return 0.0;
        };
        let increments = count(self.troughs.len().saturating_sub(1).max(1));
        let rise = (last.bytes - first.bytes) / increments;
        let squares: f64 =
            self.troughs.windows(2).map(|pair| squared(pair[1].bytes - pair[0].bytes - rise)).sum();
        (squares / increments / 2.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One amount a point.
    fn flat(bytes: impl IntoIterator<Item = f64>) -> Vec<Level> {
        let level =
            |(at, bytes)| Level { at: count(at), least: bytes, last: bytes, greatest: bytes };
        bytes.into_iter().enumerate().map(level).collect()
    }

    #[test]
    fn warm_up_ends_with_the_last_step_that_is_larger_than_what_follows() {
        let stairs = |at: u32| match at {
            0..5 => 0.0,
            5..20 => 60.0,
            20..40 => 70.0,
            _ => 72.0 + f64::from(at) / 1000.0,
        };
        assert_eq!(warm_up(&flat((0..200).map(stairs))), 40);
        // A leak that adds up to more than the last step keeps it.
        let leak = |at: u32| stairs(at) + f64::from(at) / 10.0;
        assert_eq!(warm_up(&flat((0..200).map(leak))), 5);
        // A ramp ends where it ends.
        let ramp = |at: u32| f64::from(at.min(30));
        assert_eq!(warm_up(&flat((0..200).map(ramp))), 30);
    }

    #[test]
    fn neither_a_leak_nor_waking_up_nor_the_last_quarter_is_warm_up() {
        assert_eq!(warm_up(&flat((0..200).map(f64::from))), 0);
        let sleep = |at: u32| if (60..90).contains(&at) { 0.0 } else { 50.0 };
        assert_eq!(warm_up(&flat((0..200).map(sleep))), 0);
        let late = |at: u32| if at < 160 { 0.0 } else { 50.0 };
        assert_eq!(warm_up(&flat((0..200).map(late))), 0);
        // Equal steps: none stands out.
        let jumps = |at: u32| f64::from(at / 20);
        assert_eq!(warm_up(&flat((0..200).map(jumps))), 0);
        assert_eq!(warm_up(&flat([])), 0);
    }

    #[test]
    fn cycles_have_the_troughs_between_crests() {
        // Ten low, ten high; the low ones rise by 3. It begins low, which is no trough that was fallen into.
        let wave = |at: u32| {
            let cycle = f64::from(at / 20) * 3.0;
            if at % 20 < 10 { cycle } else { cycle + 100.0 }
        };
        let found = cycles(&flat((0..100).map(wave)));
        let troughs: Vec<f64> = found.troughs.iter().map(|trough| trough.bytes).collect();
        assert_eq!((troughs, found.falls), (vec![3.0, 6.0, 9.0, 12.0], 4));
        assert!(found.regular(100) && found.scatter() < 1e-9);
        assert!(!found.regular(20), "cycles of five points are noise");
        assert_eq!(cycles(&flat((0..50).map(f64::from))), Cycles::default());
    }

    #[test]
    fn a_burst_within_a_point_is_one() {
        let mut levels = flat(std::iter::repeat_n(50.0, 100));
        levels[40].greatest = 90.0;
        assert_eq!(cycles(&levels).falls, 1);
    }

    #[test]
    fn a_point_that_holds_a_step_is_no_fall() {
        // Every tenth point holds the step to the next stair.
        let mut stairs = flat((0..100).map(|at| f64::from(at / 10)));
        for at in (10..100).step_by(10) {
            stairs[at].least = stairs[at - 1].last;
        }
        assert_eq!(cycles(&stairs).falls, 0);
    }

    #[test]
    fn a_point_on_an_edge_is_one_side_of_it() {
        let wave = |at: u32| if at % 20 < 10 { 100.0 } else { 0.0 };
        let mut levels = flat((0..100).map(wave));
        for at in (10..100).step_by(10) {
            (levels[at].least, levels[at].greatest) = (0.0, 100.0);
        }
        let found = cycles(&levels);
        assert_eq!((found.troughs.len(), found.falls), (5, 5));
        let begun = |points: usize| cycles(&levels[..points]).troughs.len();
        assert_eq!((begun(55), begun(56)), (2, 3), "one that has just begun is none");
    }
}
