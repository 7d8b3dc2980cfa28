//! Worked values, rates of false alarms, and that a small planted change is found.

use proptest::prelude::*;

use super::*;

/// Deterministic noise: xorshift, and the sum of twelve uniforms for a bell.
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

    /// `count` windows, each keeping `memory` of the one before.
    fn windows(&mut self, count: usize, mean: f64, deviation: f64, memory: f64) -> Vec<f64> {
        let mut state = self.normal();
        (0..count)
            .map(|_| {
                state = memory * state + (1.0 - memory * memory).sqrt() * self.normal();
                mean + deviation * state
            })
            .collect()
    }
}

/// Share of `trials` in which two samples of the same kind are told apart at 5 %.
fn false_alarms(count: usize, memory: f64, trials: u32) -> f64 {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let alarms = (0..trials).filter(|_| {
        let before = noise.windows(count, 1.0, 0.1, memory);
        let after = noise.windows(count, 1.0, 0.1, memory);
        compare(&before, &after).unwrap().p <= 0.05
    });
    f64::from(u32::try_from(alarms.count()).unwrap()) / f64::from(trials)
}

#[test]
fn a_worked_example() {
    // Every value after is above every one before: U = 64, z = (32 - 0.5) / sqrt(64 * 17 / 12).
    let before = [1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
    let after = before.map(|value| value + 10.0);
    let test = compare(&before, &after).unwrap();
    assert!((test.p - 0.000_939).abs() < 2e-6, "{test:?}");
    assert!((test.effect - 1.0).abs() < 1e-12, "{test:?}");
    assert!((test.shift - 10.0).abs() < 1e-12, "{test:?}");
    assert!(test.low > 4.0 && test.high < 16.0 && test.low < 10.0, "{test:?}");
}

#[test]
fn ties_share_their_rank() {
    // Pairs: 0 over 0 ties half; 1 over 0 wins.
    let before = [0.0; 8];
    let after = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    let test = compare(&before, &after).unwrap();
    assert!((test.effect - 0.5).abs() < 1e-12, "{test:?}");
}

#[test]
fn too_few_windows_give_no_answer() {
    assert_eq!(compare(&[1.0; 7], &[2.0; 100]), None);
    let holes = [f64::NAN, f64::INFINITY, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    assert_eq!(compare(&holes, &[2.0; 100]), None);
}

#[test]
fn false_alarms_are_as_rare_as_promised() {
    for count in [8, 16, 64] {
        let rate = false_alarms(count, 0.0, 1_500);
        assert!(rate <= 0.06, "{count} windows: {rate}");
        assert!(rate >= 0.01, "{count} windows: {rate}: the test sees nothing");
    }
}

#[test]
fn windows_that_resemble_their_neighbours_raise_no_false_alarms() {
    for (memory, most) in [(0.3, 0.07), (0.6, 0.08), (0.8, 0.12)] {
        let rate = false_alarms(96, memory, 500);
        assert!(rate <= most, "memory {memory}: {rate}");
    }
}

#[test]
fn halves_of_one_observation_in_random_order_do_not_differ() {
    let mut noise = Noise(7);
    // Bursty, as a served load is: most windows alike, some far off.
    let mut windows: Vec<f64> = (0..128)
        .map(|index| if index % 9 == 0 { 5.0 } else { 1.0 } + 0.05 * noise.normal())
        .collect();
    let trials = 1_000;
    let mut alarms = 0;
    for _ in 0..trials {
        for index in (1..windows.len()).rev() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index"
            )]
            let other = (noise.uniform() * (index + 1) as f64) as usize;
            windows.swap(index, other);
        }
        let (before, after) = windows.split_at(64);
        alarms += u32::from(compare(before, after).unwrap().p <= 0.05);
    }
    let rate = f64::from(alarms) / f64::from(trials);
    assert!(rate <= 0.06, "{rate}");
}

#[test]
fn a_change_of_five_per_cent_is_found_and_measured() {
    let mut noise = Noise(3);
    let (mut found, mut covered) = (0, 0);
    for _ in 0..200 {
        let before = noise.windows(64, 1.0, 0.05, 0.2);
        let after = noise.windows(64, 1.05, 0.05, 0.2);
        let test = compare(&before, &after).unwrap();
        found += u32::from(test.p <= 0.01);
        covered += u32::from((test.low..=test.high).contains(&0.05));
    }
    assert!(found >= 180, "{found} of 200");
    assert!(covered >= 180, "the interval holds the change {covered} times of 200");
}

proptest! {
    #[test]
    fn a_sample_does_not_differ_from_itself(
        sample in proptest::collection::vec(-1e6f64..1e6, 8..60),
    ) {
        let test = compare(&sample, &sample).unwrap();
        prop_assert!(test.p > 0.99 && test.effect.abs() < 1e-9 && test.shift.abs() < 1e-9);
        prop_assert!(test.low <= 0.0 && test.high >= 0.0);
    }

    #[test]
    fn swapping_the_sides_turns_the_sign(
        before in proptest::collection::vec(-1e3f64..1e3, 8..40),
        after in proptest::collection::vec(-1e3f64..1e3, 8..40),
    ) {
        let there = compare(&before, &after).unwrap();
        let back = compare(&after, &before).unwrap();
        prop_assert!((there.p - back.p).abs() < 1e-9);
        prop_assert!((there.effect + back.effect).abs() < 1e-9);
        prop_assert!((there.shift + back.shift).abs() < 1e-6);
        prop_assert!((0.0..=1.0).contains(&there.p) && there.inflation >= 1.0);
        prop_assert!(there.low <= there.shift && there.shift <= there.high);
    }
}
