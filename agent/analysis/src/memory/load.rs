//! Memory that follows the load: what traffic holds grows when more of it comes, and is no leak.

use super::number::{count, float, squared};
use super::series::Series;
use super::trend::{self, Dot};

/// How many standard errors the part of the load must be off 0, before it is taken out: so many that it does
/// not happen by chance, as levels and loads that wander resemble each other by themselves.
const CLEAR: f64 = 5.0;

/// Growth of which load that rose meanwhile may explain this part is not put down to a leak.
const EXPLAINED: f64 = 0.5;

/// Requests served, at the times of points.
pub(super) struct Load {
    /// Requests since the first point, one a point.
    pub served: Vec<f64>,
}

impl Load {
    /// `None` where the counter does not cover the points: nothing is made up.
    pub(super) fn of(requests: &Series, live: &Series, at: &[f64]) -> Option<Self> {
        let first = requests.last_at(live, *at.first()?)?;
        let mut served = Vec::with_capacity(at.len());
        let mut most = first;
        for &at in at {
            // A counter that begins again (another process) adds nothing until it is above what it was.
            most = most.max(requests.last_at(live, at)?);
            served.push(float(most - first));
        }
        (*served.last()? > 0.0).then_some(Self { served })
    }

    /// Bytes for each request a second more, from the windows of `size` points: the slope of bytes over rate, with
    /// a line over time taken out of both; and its standard error.
    fn weight(dots: &[Dot], rates: &[f64], size: usize) -> Option<(f64, f64)> {
        let troughs = trend::troughs(dots, size);
        let n = troughs.len().min(rates.len());
        if n < trend::LEAST_WINDOWS {
            return None;
        }
        let times: Vec<f64> = troughs.iter().map(|dot| dot.at).collect();
        let bytes = beside_line(&times, troughs.iter().map(|dot| dot.bytes));
        let rates = beside_line(&times, rates.iter().copied());
        let spread: f64 = rates.iter().map(|rate| squared(*rate)).sum();
        let both: f64 = bytes.iter().zip(&rates).map(|(bytes, rate)| bytes * rate).sum();
        if spread <= 0.0 {
            return None;
        }
        let weight = both / spread;
        let left: f64 =
            bytes.iter().zip(&rates).map(|(bytes, rate)| squared(bytes - weight * rate)).sum();
        Some((weight, (left / count(n - 3) / spread).sqrt()))
    }

    /// Whether load that rose meanwhile may be what a growth is. `dots` are the levels from the point `from` on, and
    /// rise by `grown` to `level` bytes. What a request holds is at most as much as the windows leave open, and
    /// all of them together hold at most what is there.
    pub(super) fn explains(&self, dots: &[Dot], from: usize, grown: f64, level: f64) -> bool {
        let size = trend::window(dots.len());
        let rates = self.rates(dots, size, from);
        let times = trend::troughs(dots, size);
        let over: Vec<Dot> =
            times.iter().zip(&rates).map(|(dot, &bytes)| Dot { at: dot.at, bytes }).collect();
        let (Some(trend), Some(first), Some(last)) =
            (trend::of_points(&over, 1, 0.0), over.first(), over.last())
        else {
            return false;
        };
        let more = trend.slope * (last.at - first.at);
        let most = rates.iter().copied().fold(0.0, f64::max);
        if trend.low <= 0.0 || most <= 0.0 {
            return false;
        }
        let open = Self::weight(dots, &rates, size)
            .map_or(f64::INFINITY, |(weight, error)| weight + 2.0 * error);
        more * open.min(level / most) >= EXPLAINED * grown
    }

    /// Requests a second in each window.
    fn rates(&self, dots: &[Dot], size: usize, from: usize) -> Vec<f64> {
        let skip = dots.len() % size.max(1);
        let served = self.served.get(from + skip..).unwrap_or(&[]);
        let dots = &dots[skip..];
        served
            .chunks_exact(size)
            .zip(dots.chunks_exact(size))
            .enumerate()
            .map(|(index, (inside, times))| {
                // From the point before the window, so that windows of one point have a rate.
                let before = (index * size).checked_sub(1);
                let from = before.and_then(|before| served.get(before)).unwrap_or(&inside[0]);
                let start = before.and_then(|before| dots.get(before)).unwrap_or(&times[0]).at;
                let time = times[size - 1].at - start;
                if time > 0.0 { (inside[size - 1] - from) / time } else { 0.0 }
            })
            .collect()
    }

    /// What of each of these levels follows the load, around its mean; `None` where nothing clearly does. They
    /// begin with the point `from`.
    pub(super) fn part(&self, dots: &[Dot], from: usize) -> Option<Vec<f64>> {
        let size = trend::window(dots.len());
        let rates = self.rates(dots, size, from);
        let (weight, error) = Self::weight(dots, &rates, size)?;
        if weight <= CLEAR * error {
            return None;
        }
        let skip = dots.len() % size;
        let mean = rates.iter().sum::<f64>() / count(rates.len());
        let part = |index: usize| {
            let window = index.saturating_sub(skip) / size;
            rates.get(window).map_or(0.0, |rate| weight * (rate - mean))
        };
        Some((0..dots.len()).map(part).collect())
    }
}

/// What is left of values beside their least-squares line.
fn beside_line(times: &[f64], values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.take(times.len()).collect();
    let n = count(values.len());
    let (time, value) = (times.iter().sum::<f64>() / n, values.iter().sum::<f64>() / n);
    let spread: f64 = times.iter().map(|at| squared(at - time)).sum();
    let both: f64 = times.iter().zip(&values).map(|(at, y)| (at - time) * (y - value)).sum();
    let slope = if spread > 0.0 { both / spread } else { 0.0 };
    times.iter().zip(&values).map(|(at, y)| y - value - slope * (at - time)).collect()
}
