//! How often a CPU's clock takes a sample, round by round.
//!
//! A program that does the same thing every 10 ms, sampled every 10 ms, shows one point of its loop
//! for ever. So every round of a clock has a frequency of its own, uniform between half and one and
//! a half of the one asked for, and no two CPUs change theirs at the same time.
//!
//! Setting a period starts it anew: of a round of length R with period P, `R / P - 1/2` samples are
//! to be expected, because what was left of the last period is lost. With u uniform in [0.5, 1.5),
//! the period is chosen as `P = R / (u * hz * R + 1/2)`, so that the mean is `hz * R`.

use std::hash::{BuildHasher, Hasher};

use analysis::ids::Ns;

const SECOND: u64 = 1_000_000_000;

/// Samples of one round, at the frequency asked for: few enough that a round whose period happens to
/// fit the program's loop counts little among the others.
const ROUND_SAMPLES: u64 = 64;

/// Shortest round, ns. Setting a period interrupts its CPU for some microseconds.
const ROUND_MIN_NS: u64 = 100_000_000;

/// Longest round, ns: a slow clock changes its phase as often as that.
const ROUND_MAX_NS: u64 = 4 * SECOND;

/// Whether the clocks' frequency varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Jittered,
    /// Always the same: shows what jitter is good for.
    Fixed,
}

/// Draws the rounds of all clocks.
#[derive(Debug)]
pub(super) struct Rounds {
    hz: u32,
    phase: Phase,
    state: u64,
}

/// A period and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Of a clock, ns; of anything else, how often it happens.
    pub(super) period: u64,
    /// The next one is due then; never, of a fixed phase.
    pub(super) until: Option<Ns>,
}

impl Rounds {
    /// `hz` is at least 1.
    pub(super) fn new(hz: u32, phase: Phase) -> Self {
        // The seed of the standard library's hash maps is random.
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self::seeded(hz, phase, seed)
    }

    fn seeded(hz: u32, phase: Phase, seed: u64) -> Self {
        Self { hz: hz.max(1), phase, state: seed }
    }

    /// The first round of a clock: cut short somewhere, so that clocks go their own ways.
    pub(super) fn first(&mut self, now: Ns) -> Round {
        let mut round = self.next(now);
        if let Some(until) = &mut round.until {
            let length = self.length();
            *until = Ns(now.0 + length / 8 + self.below(length * 7 / 8));
        }
        round
    }

    pub(super) fn next(&mut self, now: Ns) -> Round {
        let hz = u64::from(self.hz);
        if self.phase == Phase::Fixed {
            return Round { period: SECOND / hz, until: None };
        }
        let length = self.length();
        // u and the samples of the round in units of 2^-20.
        let u = (1 << 19) + self.below(1 << 20);
        let samples = u128::from(length) * u128::from(hz) * u128::from(u) / u128::from(SECOND);
        let period = (u128::from(length) << 20) / (samples + (1 << 19));
        let period = u64::try_from(period).unwrap_or(u64::MAX).max(1);
        Round { period, until: Some(Ns(now.0 + length)) }
    }

    /// Of a round, ns.
    fn length(&self) -> u64 {
        (ROUND_SAMPLES * SECOND / u64::from(self.hz)).clamp(ROUND_MIN_NS, ROUND_MAX_NS)
    }

    /// Uniform in `[0, bound)`: splitmix64, which nobody has to be unable to predict.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let high = (u128::from(z) * u128::from(bound)) >> 64;
        u64::try_from(high).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of a clock by its rounds: one at each period after a round begins, none at its end.
    fn simulate(mut rounds: Rounds, seconds: u64) -> Vec<u64> {
        let mut samples = Vec::new();
        let end = seconds * SECOND;
        let mut from = 0;
        let mut round = rounds.first(Ns(0));
        while from < end {
            let until = round.until.map_or(end, |until| until.0.min(end));
            let mut at = from + round.period;
            while at < until {
                samples.push(at);
                at += round.period;
            }
            from = until;
            round = rounds.next(Ns(from));
        }
        samples
    }

    #[expect(clippy::cast_precision_loss, reason = "shares")]
    fn share(samples: &[u64], period: u64) -> f64 {
        // The first 30 % of each turn of the loop.
        let within = samples.iter().filter(|&&at| at % period < period * 3 / 10).count();
        within as f64 / samples.len() as f64
    }

    #[test]
    fn the_mean_rate_is_what_was_asked_for() {
        for hz in [1, 49, 99, 997, 9_999] {
            let seconds: u32 = if hz > 500 { 1_000 } else { 20_000 };
            let rounds = Rounds::seeded(hz, Phase::Jittered, hz.into());
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let got = simulate(rounds, seconds.into()).len() as f64;
            let ratio = got / (f64::from(hz) * f64::from(seconds));
            // Rounds differ by 29 % (one standard deviation), and there are at least 4 000.
            assert!((ratio - 1.0).abs() < 0.02, "{hz} Hz: {ratio}");
        }
    }

    /// 6 000 samples of a loop that takes as long as the clock's period, or a simple part or multiple of it.
    #[test]
    fn a_loop_in_step_with_the_clock_shows_its_true_shares() {
        for hz in [99, 997] {
            let seconds = 6_000 / u64::from(hz) + 1;
            let period = SECOND / u64::from(hz);
            for turn in [period, 2 * period, period / 2, 3 * period / 2] {
                let errors: Vec<f64> = (0..200)
                    .map(|seed| Rounds::seeded(hz, Phase::Jittered, seed))
                    .map(|rounds| share(&simulate(rounds, seconds), turn) - 0.3)
                    .collect();
                let within = errors.iter().filter(|error| error.abs() <= 0.02).count();
                let worst = errors.iter().fold(0.0_f64, |worst, error| worst.max(error.abs()));
                // Samples drawn at random would have a standard deviation of 0.6 points.
                assert!(within >= 198 && worst < 0.03, "{hz} Hz, {turn} ns: {within}, {worst}");
            }
            let fixed = share(&simulate(Rounds::seeded(hz, Phase::Fixed, 0), seconds), period);
            assert!(!(0.01..=0.99).contains(&fixed), "{fixed}");
        }
    }

    #[test]
    fn clocks_part_at_once() {
        let mut rounds = Rounds::new(99, Phase::Jittered);
        let firsts: Vec<Round> = (0..8).map(|_| rounds.first(Ns(0))).collect();
        for (at, round) in firsts.iter().enumerate() {
            assert!(!firsts[..at].contains(round), "{firsts:?}");
            assert!((SECOND / 99 / 2..=SECOND / 99 * 2).contains(&round.period), "{round:?}");
        }
    }
}
