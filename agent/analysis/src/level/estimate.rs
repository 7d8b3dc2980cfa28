//! What share of all time was busy, from the windows in which a worker was armed.
//!
//! The windows are clusters of time, and busy time and length of each are known, so the estimate is
//! the ratio estimator of cluster sampling (W. G. Cochran, "Sampling Techniques", third edition,
//! 1977, sections 2.11, 6.3 and 9A.1). For n windows of lengths x and busy times y, f = sum x / total:
//!
//! ```text
//! R      = sum y / sum x
//! var R  = (1 - f) / (n xm^2) x sum (y - R x)^2 / (n - 1),    xm = sum x / n
//! R +- t(n - 1) sqrt(var R),  t of Student's distribution at 97.5 %
//! ```
//! The interval is cut to what is possible: busy time outside the windows is between none and all of
//! it. Where every window is idle, or every one busy throughout, the variance is zero and says
//! nothing; then the interval is Clopper and Pearson's for n equal outcomes, (1 - f) (1 - 0.025^(1/n)).
//!
//! Load that resembles itself inside a window does no harm, as the windows are the sample. Load that
//! resembles itself from window to window makes the interval too wide, not too narrow, when there is
//! one window in each period. Load that keeps step with the windows makes it wrong: hence their phase
//! is drawn at random ([`crate::level::duty`]). With few windows of very uneven load the distribution
//! is skewed and the interval holds less often than it says; the tests have the figures.

/// Whether there is an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The true value is in it for 95 of 100 estimates, if the windows came at random.
    Percent95,
    /// All of the time was looked at: the value is no estimate.
    Exact,
    /// Fewer than two windows: no spread is known. The interval is what is possible at all.
    None,
}

/// A share of time, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub confidence: Confidence,
    /// Windows it rests on.
    pub windows: usize,
}

/// Student's t at 97.5 % for 1, 2, 3, ... degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// 97.5 % of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The share of `total_ns` that was busy, from windows of `(length_ns, busy_ns)`. Windows without
/// length are left out; busy time beyond a window's length counts as its length, and a total
/// shorter than the windows as their sum. `None` when there is no window.
pub fn estimate(on_windows: &[(u64, u64)], total_ns: u64) -> Option<Estimate> {
    let windows: Vec<(f64, f64)> = on_windows
        .iter()
        .filter(|(length, _)| *length > 0)
        .map(|&(length, busy)| (float(length), float(busy.min(length))))
        .collect();
    let length: f64 = windows.iter().map(|(length, _)| length).sum();
    let busy: f64 = windows.iter().map(|(_, busy)| busy).sum();
    if windows.is_empty() {
        return None;
    }
    let total = float(total_ns).max(length);
    let value = (busy / length).clamp(0.0, 1.0);
    // What is possible: the rest of the time idle throughout, or busy throughout.
    let least = (busy / total).min(value);
    let most = ((busy + (total - length)) / total).clamp(value, 1.0);
    let count = windows.len();
    let seen = length / total;
    let (confidence, off) = if seen >= 1.0 {
        (Confidence::Exact, 0.0)
    } else if count < 2 {
        (Confidence::None, f64::INFINITY)
    } else if busy <= 0.0 || busy >= length {
        let unanimous = 1.0 - libm::pow(0.025, 1.0 / float_of(count));
        (Confidence::Percent95, (1.0 - seen) * unanimous)
    } else {
        let squares: f64 = windows
            .iter()
            .map(|(length, busy)| {
                let residual = busy - value * length;
                residual * residual
            })
            .sum();
        let mean = length / float_of(count);
        let spread = squares / float_of(count - 1);
        let variance = (1.0 - seen) / (float_of(count) * mean * mean) * spread;
        (Confidence::Percent95, student(count - 1) * variance.sqrt())
    };
    let low = (value - off).max(least);
    let high = (value + off).min(most);
    Some(Estimate { value, low, high, confidence, windows: count })
}

/// Student's t at 97.5 %. Beyond the table, the first terms of Cornish and Fisher's expansion, which
/// are off by less than 0.0002 there: z + (z^3 + z) / 4d + (5 z^5 + 16 z^3 + 3 z) / 96 d^2.
pub(crate) fn student(degrees: usize) -> f64 {
    if let Some(&t) = STUDENT.get(degrees.saturating_sub(1)) {
        return t;
    }
    let d = float_of(degrees);
    let cube = Z * Z * Z;
    Z + (cube + Z) / (4.0 * d) + (5.0 * cube * Z * Z + 16.0 * cube + 3.0 * Z) / (96.0 * d * d)
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits of nanoseconds")]
fn float(ns: u64) -> f64 {
    ns as f64
}

#[expect(clippy::cast_precision_loss, reason = "a count of windows")]
fn float_of(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
pub(in crate::level) mod noise;
#[cfg(test)]
mod tests;
