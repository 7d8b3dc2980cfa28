//! How fast the troughs of a series rise, and how sure that is.
//!
//! Traffic takes memory and gives it back; what stays is what is left in the troughs. So the least amounts of
//! equal windows are looked at, n of them, with times t and amounts y:
//!
//! ```text
//! slope = median of all (y_j - y_i) / (t_j - t_i), i < j                        Theil 1950, Sen 1968
//! interval: the slopes of rank (N -+ q sqrt(v V)) / 2, N = n (n - 1) / 2        Sen 1968
//! V = n (n - 1) (2 n + 5) / 18, the variance of Kendall's S = sum sign(y_j - y_i)       Kendall 1955
//! q: Student's 97.5 % with n - 2 degrees, as the spread of slopes is itself seen in n windows only
//! ```
//! That the interval is above 0 is Mann and Kendall's test. It takes windows for independent, and they resemble each
//! other. `v` makes up for it, as if what is left beside the line were autoregressive with correlations
//! `R[i, j] = a^|i-j|`; with `c[i] = i - (n - 1) / 2`, the variance of an ordinary slope is larger by
//!
//! ```text
//! v = (c'Rc / c'c) / (tr(M R) / (n - 2)),    M = what takes out a line
//! ```
//! (Hamed and Rao 1998 use sample autocorrelations at every lag; with two dozen windows these are too rough
//! beyond the first.) The correlation r beside a fitted line is too low by about (2 + 4 a) / n (Kendall 1954),
//! which is put right. What is near enough to 1 counts as 1 ([`UNIT`]). Then levels wander and there is no
//! line to be off from: the mean of the increments with Student's interval is right for them, and used instead:
//!
//! ```text
//! slope = (y_n - y_1) / (t_n - t_1) -+ q sd(increments) sqrt(n - 1) / (t_n - t_1)
//! ```
//! A sampled heap adds what it cannot see: k samples, each standing for d bytes, say k d -+ d sqrt(k).

use super::number::{count, normal_above, squared};
use crate::level::estimate::student;

/// Windows at most: 276 slopes, so that a verdict takes microseconds. Between 12 and 24 hardly anything that the shapes of
/// the tests show depends on it; of more, each would be too short to hold a trough.
pub(super) const WINDOWS: usize = 24;

/// Windows at least, for a line: below that Kendall's S is not near enough to normal (8: Mann 1945 has the exact table).
pub(super) const LEAST_WINDOWS: usize = 8;

/// A correlation of windows above 1 - UNIT / sqrt(n) counts as 1. Perron and Yabu 2009 show that rounding up when it is
/// as near as that makes tests of a slope right for levels that wander and for those that do not; 2, because
/// with two dozen windows the correlation of what wanders is still seen as 0.8 -+ 0.2. Of 1, 1.5 and 2,
/// 2 says leak least often of random walks (6.4, 6.4, 5.5 % of looks), and finds leaks as soon.
const UNIT: f64 = 2.0;

/// A trough: seconds, and bytes from wherever the caller counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dot {
    pub at: f64,
    pub bytes: f64,
}

/// A slope in bytes per second (or per whatever `Dot::at` is).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    pub slope: f64,
    /// 95 % interval.
    pub low: f64,
    pub high: f64,
    /// Standard error.
    pub error: f64,
    /// How many windows it rests on.
    pub windows: usize,
    /// Degrees of freedom of the error.
    pub degrees: f64,
}

impl Trend {
    /// Chance that the true slope is above this.
    pub(super) fn above(&self, slope: f64) -> f64 {
        chance_above(self.slope - slope, self.error, self.degrees)
    }

    /// With time that may be off by this factor: whether it rises is as sure as before, how fast is not.
    pub(super) fn within(self, factor: f64) -> Self {
        let wider = |bound: f64, away: bool| if away { bound * factor } else { bound / factor };
        let (low, high) = (wider(self.low, self.low < 0.0), wider(self.high, self.high > 0.0));
        Self { low, high, ..self }
    }
}

/// Chance that something estimated as `value` is above 0, with a standard error that is itself known with
/// so many degrees of freedom. Student's distribution by the normal one: z = t (1 - 1 / 4d) / sqrt(1 + t^2 / 2d)
/// (Abramowitz and Stegun 26.7.8), too large a chance of the other side by a third at d = 6.
pub(super) fn chance_above(value: f64, error: f64, degrees: f64) -> f64 {
    if error > 0.0 {
        let t = value / error;
        let z = t * (1.0 - 0.25 / degrees) / (1.0 + t * t / (2.0 * degrees)).sqrt();
        normal_above(-z)
    } else if value > 0.0 {
        1.0
    } else if value < 0.0 {
        0.0
    } else {
        0.5
    }
}

/// Points a window, so that there are at most [`WINDOWS`].
pub(super) fn window(points: usize) -> usize {
    points.div_ceil(WINDOWS).max(1)
}

/// The least of each window of `size` points, at its middle; the oldest points that fill none are left out.
pub(super) fn troughs(points: &[Dot], size: usize) -> Vec<Dot> {
    let size = size.max(1);
    let skip = points.len() % size;
    points[skip..].chunks_exact(size).filter_map(trough).collect()
}

fn trough(window: &[Dot]) -> Option<Dot> {
    let (first, last) = (window.first()?, window.last()?);
    let bytes = window.iter().map(|dot| dot.bytes).fold(f64::INFINITY, f64::min);
    Some(Dot { at: f64::midpoint(first.at, last.at), bytes })
}

/// The trend of the troughs of windows of `size` points, or of shorter ones where there would be fewer than
/// [`LEAST_WINDOWS`]; `None` below as many points. `sampled`: bytes that a sample stands for, 0 when
/// nothing is sampled.
pub(super) fn of_points(points: &[Dot], size: usize, sampled: f64) -> Option<Trend> {
    let size = size.min(points.len() / LEAST_WINDOWS);
    if size == 0 {
        return None;
    }
    let dots = troughs(points, size);
    let slope = slope(&dots)?;
    // What the points themselves tell, carried over the length of a window: there are more of them.
    let near = persistence(points, slope).powf(count(size));
    let near = persistence(&dots, slope).max(near);
    let unit = 1.0 - UNIT / count(dots.len()).sqrt();
    if near >= unit { wandering(&dots, sampled) } else { line(&dots, near, sampled) }
}

/// Theil and Sen's slope, with Kendall's interval for windows that are this much alike.
fn line(dots: &[Dot], persistence: f64, sampled: f64) -> Option<Trend> {
    let mut slopes = slopes(dots)?;
    slopes.sort_by(f64::total_cmp);
    let n = count(dots.len());
    let kendall = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0 * inflation(dots.len(), persistence);
    let rank = |off: f64| {
        let middle = count(slopes.len()) / 2.0;
        let off = off * kendall.sqrt() / 2.0;
        (at_rank(&slopes, middle - off - 0.5), at_rank(&slopes, middle + off - 0.5))
    };
    let slope = at_rank(&slopes, count(slopes.len()) / 2.0 - 0.5);
    // Of windows that are alike, fewer count.
    let degrees = ((n - 2.0) * (1.0 - persistence) / (1.0 + persistence)).max(2.0);
    let sides = student(dots.len() - 2);
    let ((low, high), (below, above)) = (rank(sides), rank(1.0));
    let unseen = unseen(dots, slope, sampled);
    let widen = |side: f64| (squared(side) + squared(sides * unseen)).sqrt();
    Some(Trend {
        slope,
        low: slope - widen(slope - low),
        high: slope + widen(high - slope),
        error: (squared((above - below) / 2.0) + squared(unseen)).sqrt(),
        windows: dots.len(),
        degrees,
    })
}

/// The mean increment with Student's interval: for levels that wander, and for a handful of cycles. `None`
/// below three.
pub(super) fn wandering(dots: &[Dot], sampled: f64) -> Option<Trend> {
    let (first, last) = (dots.first()?, dots.last()?);
    let increments = dots.len().checked_sub(2).filter(|degrees| *degrees > 0)? + 1;
    let time = last.at - first.at;
    if time <= 0.0 {
        return None;
    }
    let slope = (last.bytes - first.bytes) / time;
    // Increments against what their own time would have given, so that unequal windows do no harm.
    let squares: f64 = dots
        .windows(2)
        .map(|pair| squared(pair[1].bytes - pair[0].bytes - slope * (pair[1].at - pair[0].at)))
        .sum();
    let spread = (squares / count(increments - 1) * count(increments)).sqrt() / time;
    let error = (squared(spread) + squared(unseen(dots, slope, sampled))).sqrt();
    let off = student(increments - 1) * error;
    Some(Trend {
        slope,
        low: slope - off,
        high: slope + off,
        error,
        windows: dots.len(),
        degrees: count(increments - 1),
    })
}

/// Standard error of a slope from sampling: growth of k samples of d bytes each is off by d sqrt(k), and by
/// one sample at least.
fn unseen(dots: &[Dot], slope: f64, sampled: f64) -> f64 {
    let time = dots.last().map_or(0.0, |last| last.at) - dots.first().map_or(0.0, |dot| dot.at);
    if sampled <= 0.0 || time <= 0.0 {
        return 0.0;
    }
    (sampled * (slope * time).abs().max(sampled)).sqrt() / time
}

fn slopes(dots: &[Dot]) -> Option<Vec<f64>> {
    let mut slopes = Vec::with_capacity(dots.len() * dots.len().saturating_sub(1) / 2);
    for (index, a) in dots.iter().enumerate() {
        for b in &dots[index + 1..] {
            if b.at > a.at {
                slopes.push((b.bytes - a.bytes) / (b.at - a.at));
            }
        }
    }
    (!slopes.is_empty()).then_some(slopes)
}

/// Theil and Sen's slope alone.
pub(super) fn slope(dots: &[Dot]) -> Option<f64> {
    median(slopes(dots)?)
}

pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some(at_rank(&values, count(values.len()) / 2.0 - 0.5))
}

/// Between the two values that a rank from 0 lies between; the first and the last beyond them.
fn at_rank(sorted: &[f64], rank: f64) -> f64 {
    let rank = rank.clamp(0.0, count(sorted.len().saturating_sub(1)));
    let below = whole(rank);
    let low = sorted.get(below).copied().unwrap_or(0.0);
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    low + (high - low) * (rank - count(below))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank or degrees of freedom; a cast saturates"
)]
fn whole(value: f64) -> usize {
    value as usize
}

/// Correlation of what is beside the line with its neighbour, put right for the line having been fitted;
/// between 0 and 1.
fn persistence(dots: &[Dot], slope: f64) -> f64 {
    let n = count(dots.len());
    if dots.len() <= 6 {
        return 0.0;
    }
    let off: Vec<f64> = dots.iter().map(|dot| dot.bytes - slope * dot.at).collect();
    let mean = off.iter().sum::<f64>() / n;
    let all: f64 = off.iter().map(|value| squared(value - mean)).sum();
    let next: f64 = off.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    if all <= 0.0 {
        return 0.0;
    }
    ((n * next / all + 2.0) / (n - 4.0)).clamp(0.0, 1.0)
}

/// `v` of the file's head.
fn inflation(windows: usize, persistence: f64) -> f64 {
    if persistence <= 0.0 {
        return 1.0;
    }
    let n = count(windows);
    let (mut line, mut all) = (0.0, 0.0);
    // Sums over pairs at each distance k: there are n - k, and sum c_i c_(i+k) has a closed form, but two
    // dozen windows are as quick.
    let mut alike = 1.0;
    for distance in 0..windows {
        let products: f64 = (0..windows - distance)
            .map(|i| (count(i) - (n - 1.0) / 2.0) * (count(i + distance) - (n - 1.0) / 2.0))
            .sum();
        let twice = if distance == 0 { 1.0 } else { 2.0 };
        line += twice * alike * products;
        all += twice * alike * (n - count(distance));
        alike *= persistence;
    }
    line /= n * (n * n - 1.0) / 12.0;
    let left = (n - all / n - line) / (n - 2.0);
    if left > 0.0 { (line / left).max(1.0) } else { n }
}

#[cfg(test)]
mod tests;
