//! What the troughs of a series do: rise, rise ever more slowly, have risen and stopped, or stay.

use super::levels::{Cycles, Falls, Level, cycles, leasts, warm_up};
use super::number::{count, squared};
use super::trend::{self, Dot, LEAST_WINDOWS, Trend, chance_above};
use crate::level::estimate::student;

/// Points at least after the warm-up: three for each window of the fewest.
pub(super) const LEAST_POINTS: usize = 3 * LEAST_WINDOWS;

/// The part of a series that a rise is first looked for in, and then, if there is none, its ends: a leak that
/// begins late is diluted by the time before it.
const LATE: [usize; 2] = [2, 4];

/// The chance of a rise that is asked for at an end: these are more looks at one series.
const LATE_CHANCE: f64 = 0.998;

/// A growth that goes on is at least this part as fast in its second half as in its first. One that fills
/// towards a limit with the time constant T falls below it when half of T has been seen: e^(-1/4) = 0.78.
const STEADY: f64 = 0.75;

/// The chance that the first half keeps pace with the second, below which the second is looked at alone, and
/// decides if it rises clearly by itself; and below which it decides whatever it does.
const PERHAPS_FASTER: f64 = 0.25;
const FASTER: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Course {
    /// Rises, with what is known of whether it goes on.
    Rises(Trend, Pace),
    /// Rises ever more slowly.
    Slows(Trend, Pace),
    /// Rose by so many bytes and stopped.
    Stopped { grown: f64, late: Trend },
    /// Does not rise, as far as can be seen.
    Flat(Trend),
    /// May rise: the chance that it does is above 90 %, not above 97.5 %.
    Unclear(Trend),
}

/// First half of a growth against its second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    pub first: f64,
    pub second: f64,
    /// Chance that the second half grows at least [`STEADY`] times as fast as the first, and half as fast as the
    /// whole: a step between the halves is in neither.
    pub steady: f64,
}

/// What the troughs of a series do.
#[derive(Clone, Debug)]
pub(super) struct Assessment {
    /// Seconds from the series' start to the end of the warm-up; 0 without one.
    pub warm_up: f64,
    /// How much of the points were warm-up, 0 to 1.
    pub warm_share: f64,
    /// What it grew by until the warm-up's end, bytes.
    pub warm_growth: f64,
    /// From when on `course` holds, seconds.
    pub since: f64,
    pub course: Course,
    pub cycles: Cycles,
    /// Whether the trend is that of the cycles' own troughs.
    pub by_cycle: bool,
    /// The last point, seconds.
    pub end: f64,
    /// Greatest level of the last eighth: where it is, as a limit sees it.
    pub crest: f64,
    /// Middle of the leasts of the last eighth.
    pub trough: f64,
    /// After the warm-up.
    pub points: usize,
    /// Whether what it holds comes and goes while it grows; see [`Falls`].
    pub falls: Falls,
}

impl Assessment {
    /// Whether it rises, at whatever pace.
    pub(super) fn rises(&self) -> bool {
        matches!(self.course, Course::Rises(..) | Course::Slows(..))
    }
}

/// What is to be known before anything can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooShort {
    pub have: usize,
    pub need: usize,
}

/// `sampled`: bytes that a sample stands for, 0 when nothing is.
pub(super) fn assess(levels: &[Level], sampled: f64) -> Result<Assessment, TooShort> {
    let from = warm_up(levels);
    let after = levels.get(from..).unwrap_or(&[]);
    let short = TooShort { have: after.len(), need: LEAST_POINTS };
    let (Some(first), Some(last)) = (after.first(), after.last()) else {
        return Err(short);
    };
    let cycles = cycles(after);
    let regular = cycles.regular(after.len());
    if after.len() < LEAST_POINTS && !regular {
        return Err(short);
    }
    let found = if regular { by_cycle(&cycles, sampled) } else { None };
    let by_cycle = found.is_some();
    let found = found.or_else(|| by_window(&leasts(after), sampled));
    let (course, since) = found.ok_or(short)?;
    let eighth = &after[after.len() - (after.len() / 8).max(1)..];
    let warm_end = if from == 0 { 0.0 } else { first.at };
    Ok(Assessment {
        warm_up: warm_end,
        warm_share: count(from) / count(levels.len()),
        warm_growth: first.least - levels.first().map_or(0.0, |level| level.least),
        since,
        course,
        cycles,
        by_cycle,
        end: last.at,
        crest: eighth.iter().map(|level| level.greatest).fold(f64::NEG_INFINITY, f64::max),
        trough: trend::median(eighth.iter().map(|level| level.least).collect()).unwrap_or(0.0),
        points: after.len(),
        falls: Falls::of(&levels[levels.partition_point(|level| level.at < since)..]),
    })
}

/// Likewise, of the cycles' own troughs: bytes a cycle, however long each was.
fn by_cycle(cycles: &Cycles, sampled: f64) -> Option<(Course, f64)> {
    let uncertain = length_uncertainty(&cycles.troughs);
    let troughs = &evenly(&cycles.troughs);
    if troughs.len() >= LEAST_POINTS {
        return by_window(troughs, sampled);
    }
    let whole = trend::wandering(troughs, sampled)?.within(uncertain);
    let (first, middle) = (troughs.first()?, troughs.get(troughs.len() / 2)?);
    let half = |from: &Dot, to: &Dot| {
        let slope = (to.bytes - from.bytes) / (to.at - from.at).max(f64::MIN_POSITIVE);
        Trend { slope, error: whole.error * std::f64::consts::SQRT_2, ..whole }
    };
    let pace = pace(&half(first, middle), &half(middle, troughs.last()?), &whole);
    Some((rising(whole, pace), first.at))
}

/// With all cycles as long as they are on average. What stays of each is what its code leaves; how long it took is not
/// what makes that uncertain.
fn evenly(troughs: &[Dot]) -> Vec<Dot> {
    let (Some(first), Some(last)) = (troughs.first(), troughs.last()) else {
        return Vec::new();
    };
    let length = (last.at - first.at) / count(troughs.len().saturating_sub(1).max(1));
    let placed = (0..).zip(troughs);
    placed.map(|(at, dot)| Dot { at: first.at + length * f64::from(at), ..*dot }).collect()
}

/// By which factor the mean length of cycles may be off, at 95 %: Student's interval of the logarithms, as lengths are
/// above 0.
fn length_uncertainty(troughs: &[Dot]) -> f64 {
    let logarithms = troughs.windows(2).map(|pair| (pair[1].at - pair[0].at).ln());
    let logarithms: Vec<f64> = logarithms.filter(|logarithm| logarithm.is_finite()).collect();
    let Some(degrees) = logarithms.len().checked_sub(1).filter(|degrees| *degrees > 0) else {
        return 1.0;
    };
    let mean = logarithms.iter().sum::<f64>() / count(logarithms.len());
    let squares: f64 = logarithms.iter().map(|logarithm| squared(logarithm - mean)).sum();
    let error = (squares / count(degrees) / count(logarithms.len())).sqrt();
    (student(degrees) * error).exp()
}

/// The course, and from when on it holds.
fn by_window(dots: &[Dot], sampled: f64) -> Option<(Course, f64)> {
    let (course, start) = claim(dots, sampled)?;
    match course {
        Course::Rises(trend, _) if !higher_than_ever(dots, start) => {
            return Some((Course::Unclear(trend), start));
        }
        Course::Flat(_) | Course::Unclear(_) => {}
        _ => return Some((course, start)),
    }
    for part in LATE {
        let late = &dots[dots.len() - dots.len() / part..];
        if let Some((Course::Rises(trend, pace), start)) = claim(late, sampled)
            && trend.above(0.0) > LATE_CHANCE
            && higher_than_ever(dots, start)
        {
            return Some((Course::Rises(trend, pace), start));
        }
    }
    Some((course, start))
}

/// Whether what rises from `since` on ends above every trough before: a rise that only comes back to where it was is
/// traffic's, such as each morning's.
fn higher_than_ever(dots: &[Dot], since: f64) -> bool {
    let troughs = trend::troughs(dots, trend::window(dots.len()));
    let before = troughs.iter().filter(|dot| dot.at < since).map(|dot| dot.bytes);
    let end = &troughs[troughs.len() - troughs.len().min(3)..];
    let end = trend::median(end.iter().map(|dot| dot.bytes).collect());
    end.is_some_and(|end| end > before.fold(f64::NEG_INFINITY, f64::max))
}

/// What all of these points do, or, where they rise ever faster, their latter half.
fn claim(dots: &[Dot], sampled: f64) -> Option<(Course, f64)> {
    if dots.len() < LEAST_POINTS {
        return None;
    }
    let start = dots.first()?.at;
    let size = trend::window(dots.len());
    let whole = trend::of_points(dots, size, sampled)?;
    if let Some(stopped) = stopped(dots, size, sampled) {
        return Some((stopped, start));
    }
    let middle = dots.len() / 2;
    let first = trend::of_points(&dots[..middle], size, sampled)?;
    let second = trend::of_points(&dots[middle..], size, sampled)?;
    let course = rising(whole, pace(&first, &second, &whole));
    // The other way round: the first half is slower than the second, so the rate is that of the second.
    let even = pace(&second, &first, &whole).steady;
    if matches!(course, Course::Rises(..)) && even < PERHAPS_FASTER {
        return match claim(&dots[middle..], sampled) {
            Some((Course::Rises(trend, pace), since)) => Some((Course::Rises(trend, pace), since)),
            _ if even >= FASTER => Some((course, start)),
            Some((Course::Flat(_), _)) | None => Some((Course::Unclear(whole), start)),
            Some(found) => Some(found),
        };
    }
    Some((course, start))
}

fn pace(first: &Trend, second: &Trend, whole: &Trend) -> Pace {
    let error = (squared(second.error) + squared(STEADY * first.error)).sqrt();
    let degrees = first.degrees.min(second.degrees);
    let steady = chance_above(second.slope - STEADY * first.slope, error, degrees);
    let steady = steady.min(second.above(whole.slope / 2.0));
    Pace { first: first.slope, second: second.slope, steady }
}

fn rising(whole: Trend, pace: Pace) -> Course {
    if whole.low > 0.0 {
        if pace.steady < 0.05 { Course::Slows(whole, pace) } else { Course::Rises(whole, pace) }
    } else if whole.above(0.0) > 0.9 {
        Course::Unclear(whole)
    } else {
        Course::Flat(whole)
    }
}

/// Whether it rose, and the last third does not any more: that third is less than a third as fast as the
/// whole was on average, with all of its interval below that average, and lies clearly above the beginning.
fn stopped(dots: &[Dot], size: usize, sampled: f64) -> Option<Course> {
    let late = &dots[dots.len() - dots.len() / 3..];
    let trend = trend::of_points(late, size, sampled)?;
    let troughs = trend::troughs(late, size);
    let level = trend::median(troughs.iter().map(|dot| dot.bytes).collect())?;
    let early = trend::troughs(&dots[..dots.len() / 6], size);
    let early = trend::median(early.iter().map(|dot| dot.bytes).collect())?;
    let off = troughs
        .iter()
        .map(|dot| (dot.bytes - level - trend.slope * (dot.at - trend_middle(&troughs))).abs());
    let scatter = 1.4826 * trend::median(off.collect())?;
    let grown = level - early;
    let average = grown / (dots.last()?.at - dots.first()?.at).max(f64::MIN_POSITIVE);
    let clearly = grown > 5.0 * scatter && grown > 2.0 * sampled && grown > 0.0;
    let flat = trend.slope < average / 3.0 && trend.high < average;
    (clearly && flat).then_some(Course::Stopped { grown, late: trend })
}

fn trend_middle(dots: &[Dot]) -> f64 {
    match (dots.first(), dots.last()) {
        (Some(first), Some(last)) => f64::midpoint(first.at, last.at),
        _ => 0.0,
    }
}
