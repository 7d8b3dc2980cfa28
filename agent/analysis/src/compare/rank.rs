//! Whether two samples of windows differ by more than chance, without assuming how either is
//! distributed: Mann and Whitney's test, with Hodges and Lehmann's estimate of the shift and its
//! interval. Windows that follow each other resemble each other; the variance is raised by as much
//! as each sample's own autocorrelation says, never lowered.

use std::cmp::Ordering;

/// Fewest windows of each side. With 8 and 8 the rarest outcome has p = 0.0002, which is little
/// enough for a handful of subjects; below that no outcome would mean anything.
pub const LEAST: usize = 8;

/// Two-sided 95 % of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// What the test says about two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTest {
    /// Probability of a difference at least this clear by chance.
    pub p: f64,
    /// How clearly they are apart, from -1 (every window after is below every one before) over 0 to
    /// 1: Cliff's delta.
    pub effect: f64,
    /// Median of all differences after - before.
    pub shift: f64,
    /// 95 % interval of the shift.
    pub low: f64,
    pub high: f64,
    /// By how much the variance was raised for windows that resemble their neighbours; 1: not.
    pub inflation: f64,
}

/// Compares two samples in their order of time; `None` with fewer than [`LEAST`] finite values in
/// one of them.
pub fn compare(before: &[f64], after: &[f64]) -> Option<RankTest> {
    let before: Vec<f64> = before.iter().copied().filter(|value| value.is_finite()).collect();
    let after: Vec<f64> = after.iter().copied().filter(|value| value.is_finite()).collect();
    let (n, m) = (before.len(), after.len());
    if n < LEAST || m < LEAST {
        return None;
    }
    let (n_f, m_f) = (float(n), float(m));
    let (rank_sum, ties) = rank_sum(&before, &after);
    // U = how many of the n m pairs have the window after above, ties half.
    let u = rank_sum - m_f * (m_f + 1.0) / 2.0;
    let pairs = n_f * m_f;
    let all = n_f + m_f;
    // Var U = n m / 12 (N + 1 - sum(t^3 - t) / (N (N - 1))); under dependence the part that each
    // sample contributes grows with its own inflation: n m (m I_before + n I_after) / 12.
    let inflation = (m_f * variance_inflation(&before) + n_f * variance_inflation(&after)) / all;
    let variance = pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0))) * inflation;
    let off = ((u - pairs / 2.0).abs() - 0.5).max(0.0);
    // All values equal: no variance, and nothing is off.
    let p = if variance > 0.0 { libm::erfc(off / (2.0 * variance).sqrt()).min(1.0) } else { 1.0 };
    let spread = (pairs * (all + 1.0) / 12.0 * inflation).sqrt();
    let (shift, low, high) = shift(&before, &after, spread);
    Some(RankTest { p, effect: 2.0 * u / pairs - 1.0, shift, low, high, inflation })
}

/// Sum of the ranks of `after` among both, ties sharing theirs, and sum of t^3 - t over ties.
fn rank_sum(before: &[f64], after: &[f64]) -> (f64, f64) {
    let mut all: Vec<(f64, bool)> = before.iter().map(|&value| (value, false)).collect();
    all.extend(after.iter().map(|&value| (value, true)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut ties) = (0.0, 0.0);
    let mut first = 0;
    for group in all.chunk_by(|a, b| a.0.partial_cmp(&b.0) == Some(Ordering::Equal)) {
        let size = float(group.len());
        let rank = float(first) + f64::midpoint(size, 1.0);
        sum += rank * float(group.iter().filter(|(_, is_after)| *is_after).count());
        ties += size * size * size - size;
        first += group.len();
    }
    (sum, ties)
}

/// Median of all differences and the interval whose ends are the k-th from either side.
fn shift(before: &[f64], after: &[f64], spread: f64) -> (f64, f64, f64) {
    let mut differences: Vec<f64> =
        after.iter().flat_map(|a| before.iter().map(move |b| a - b)).collect();
    let count = differences.len();
    // Only a few places of the order are needed, and the list has thousands.
    let mut at = |index: usize| {
        let index = index.min(count - 1);
        *differences.select_nth_unstable_by(index, f64::total_cmp).1
    };
    let median = f64::midpoint(at((count - 1) / 2), at(count / 2));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index: not negative, and at most the number of pairs"
    )]
    let skipped = (float(count) / 2.0 - Z95 * spread).max(0.0).floor() as usize;
    (median, at(skipped), at((count - 1).saturating_sub(skipped)))
}

/// 1 + 2 sum over lags of (1 - k / n) r(k), of the ranks, up to the first pair of lags that sums to
/// nothing: Geyer's initial positive sequence. At least 1.
fn variance_inflation(sample: &[f64]) -> f64 {
    let count = sample.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| sample[a].total_cmp(&sample[b]));
    let mut ranks = vec![0.0; count];
    let mut first = 0;
    for group in order.chunk_by(|&a, &b| sample[a].partial_cmp(&sample[b]) == Some(Ordering::Equal))
    {
        let rank = float(first) + float(group.len() - 1) / 2.0;
        for &index in group {
            ranks[index] = rank;
        }
        first += group.len();
    }
    let mean = float(count - 1) / 2.0;
    for rank in &mut ranks {
        *rank -= mean;
    }
    let covariance = |lag: usize| -> f64 {
        ranks.iter().zip(ranks.iter().skip(lag)).map(|(a, b)| a * b).sum::<f64>()
    };
    let variance = covariance(0);
    if variance <= 0.0 {
        return 1.0;
    }
    let mut inflation = 1.0;
    // Beyond a third of the sample there are too few pairs to say anything.
    for lag in (1..=count / 3).step_by(2) {
        let pair = (covariance(lag) + covariance(lag + 1)) / variance;
        if pair <= 0.0 {
            break;
        }
        inflation += 2.0 * pair;
    }
    inflation
}

#[expect(clippy::cast_precision_loss, reason = "counts of windows and their pairs")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
