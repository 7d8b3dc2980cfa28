//! Intervals against the truth, in simulated series: how often they hold it.

use super::*;

/// xorshift, and the sum of twelve uniforms for a bell.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[expect(clippy::cast_precision_loss, reason = "noise")]
        let value = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
        value
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn dots(bytes: impl IntoIterator<Item = f64>) -> Vec<Dot> {
    bytes.into_iter().enumerate().map(|(at, bytes)| Dot { at: count(at), bytes }).collect()
}

const RUNS: u32 = 1000;

/// Percent of series of `points` with slope 3 and autoregressive noise whose interval lies below 3, holds it, lies above it.
fn coverage(points: usize, alike: f64, size: usize) -> (f64, f64, f64) {
    let mut noise = Noise(99);
    let (mut below, mut above) = (0, 0);
    for _ in 0..RUNS {
        let mut state = noise.normal() / (1.0 - alike * alike).max(0.1).sqrt();
        let dots = dots((0..points).map(|at| {
            state = alike * state + noise.normal();
            3.0 * count(at) + state
        }));
        let trend = of_points(&dots, size, 0.0).unwrap();
        below += u32::from(trend.high < 3.0);
        above += u32::from(trend.low > 3.0);
    }
    let percent = |runs: u32| 100.0 * f64::from(runs) / f64::from(RUNS);
    (percent(below), percent(RUNS - below - above), percent(above))
}

#[test]
fn intervals_hold_the_truth_whatever_windows_have_to_do_with_each_other() {
    // Points, correlation from point to point, points a window, percent that hold it. What wanders is sometimes taken
    // for what does not, so fewer do.
    let cases = [
        (12, 0.0, 1, 94.0..99.9),
        (24, 0.0, 1, 94.0..99.5),
        (24, 0.5, 1, 90.0..99.0),
        (24, 0.8, 1, 85.0..98.0),
        (24, 1.0, 1, 82.0..97.0),
        (240, 0.0, 10, 94.0..99.5),
        (240, 0.9, 10, 91.0..99.0),
        (240, 1.0, 10, 86.0..97.0),
    ];
    for (points, alike, size, expected) in cases {
        let (below, held, above) = coverage(points, alike, size);
        assert!(expected.contains(&held), "{points} {alike} {size}: {below} {held} {above}");
        assert!((below - above).abs() < 4.0, "{points} {alike} {size}: {below} {held} {above}");
    }
}

#[test]
fn a_line_is_its_slope_and_a_few_wild_windows_do_not_move_it() {
    let mut line = dots((0..24).map(|at| 7.0 - 2.0 * f64::from(at)));
    let exact = of_points(&line, 1, 0.0).unwrap();
    assert_eq!((exact.slope, exact.low, exact.high), (-2.0, -2.0, -2.0));
    assert!(exact.above(0.0) < 1e-12 && exact.above(-3.0) > 1.0 - 1e-12);
    for index in [3, 11, 19] {
        line[index].bytes += 1e6;
    }
    assert!((of_points(&line, 1, 0.0).unwrap().slope + 2.0).abs() < 1e-9);
}

#[test]
fn sampling_widens_by_the_samples_that_a_growth_is_made_of() {
    let line = dots((0..24).map(|at| 100.0 * f64::from(at)));
    let exact = of_points(&line, 1, 0.0).unwrap();
    // 2300 bytes in 23 s, in samples of 23: a hundred, so a tenth of the slope.
    let sampled = of_points(&line, 1, 23.0).unwrap();
    assert!(exact.error < 1e-9, "{exact:?}");
    assert!((sampled.error - 10.0).abs() < 1e-9, "{sampled:?}");
    assert!((sampled.high - sampled.slope - 10.0 * student(22)).abs() < 1e-6, "{sampled:?}");
    // Of one sample nothing is known.
    let one = of_points(&line, 1, 2300.0).unwrap();
    assert!(one.low < 0.0, "{one:?}");
}

#[test]
fn variance_is_raised_as_the_closed_forms_say() {
    assert!((inflation(24, 0.0) - 1.0).abs() < 1e-12);
    // Long series: (1 + a) / (1 - a).
    assert!((inflation(400, 0.5) - 3.0).abs() < 0.1);
    // Levels that wander: an ordinary slope has the variance 6/5 / n, and detrended levels n / 15 (of steps of 1),
    // which would make it 12 / n^3 n / 15.
    assert!((inflation(100, 0.9999) / 150.0 - 1.0).abs() < 0.05, "{}", inflation(100, 0.9999));
}

#[test]
fn troughs_are_the_least_of_whole_windows_from_the_end() {
    let dots = dots([9.0, 5.0, 4.0, 6.0, 8.0, 7.0, 9.0]);
    let found = troughs(&dots, 3);
    assert_eq!(found, [Dot { at: 2.0, bytes: 4.0 }, Dot { at: 5.0, bytes: 7.0 }]);
    assert_eq!(of_points(&dots, 3, 0.0), None);
}

#[test]
fn three_cycles_need_equal_rises() {
    let rise = |bytes: [f64; 3]| wandering(&dots(bytes), 0.0).unwrap();
    assert!(rise([0.0, 64.0, 129.0]).low > 0.0);
    assert!(rise([0.0, 64.0, 90.0]).low < 0.0);
    assert_eq!(wandering(&dots([0.0, 64.0]), 0.0), None);
}
