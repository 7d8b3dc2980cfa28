//! Whether a server makes fewer tokens since a rise than before it, at comparable load.
//!
//! Tokens a second depend on the requests that run at the time far more than on anything we do, so
//! only samples with about as many are compared:
//! - slope = median over all pairs of samples before the rise of the difference of ln(tokens/s) by that
//!   of ln(requests) (Theil and Sen's estimate), cut to [0, 1]: more requests make no fewer tokens, and
//!   no more than in proportion;
//! - residual of a sample = ln(tokens/s) - median of ln(tokens/s) of the samples before the rise that
//!   ran within 10 % as many requests, or one more or less, each moved along the slope to the
//!   sample's own number;
//! - samples with fewer than four such are not used;
//! - shift = Hodges and Lehmann's estimate between the residuals after and before, with its 95 %
//!   interval, widened by what the samples' own autocorrelation says ([`crate::compare::rank`]).
//!
//! The rise is blamed when the whole interval lies below ln(0.95): not one slow sample, and not a
//! slowness that might be less than 5 %. What this cannot tell apart is a change of the requests
//! themselves (longer prompts) that coincides with the rise.

use std::collections::VecDeque;

use crate::compare::rank;
use crate::decode::Level;
use crate::ids::Ns;
use crate::level::after;
use crate::level::breaker::WATCH_NS;

/// Samples kept of the time before, and of the time after: five minutes at one a second, fifty at the
/// ten seconds at which a server's metrics are read. Judging pairs all of them: 90 000 differences.
const SAMPLES: usize = 300;

/// Of a sample before the rise, this old at most: load of another hour is another load.
const OLDEST_NS: u64 = 3_600_000_000_000;

/// After a rise, what arming itself costs is no steady state: five seconds until drained, twice.
const SETTLE_NS: u64 = 10_000_000_000;

/// Between two looks. Ten looks in ten minutes, so that looking often does not make chance likely.
const LOOK_NS: u64 = 60_000_000_000;

/// Samples each side needs. The rank test could do with eight; twenty bound what one burst of long
/// prompts can do.
const ENOUGH: usize = 20;

/// Independent samples that those since the rise must be worth: their number, divided by what the rank
/// test raised the variance by. With fewer, their autocorrelation is itself not known well enough: of
/// servers whose pace remembers 0.9 of itself every ten seconds, 3 % were blamed for nothing.
const INDEPENDENT: f64 = 12.0;

/// Comparable samples before the rise that a sample needs.
const COMPARABLE: usize = 4;

/// Running requests are alike within this share of the larger number, percent.
const ALIKE_PERCENT: u64 = 10;

/// ln(0.95): the fall of 5 % that is too much.
const TOO_MUCH: f64 = -0.051_293_294_387_550_58;

/// Tokens a second below which a server counts as making this many, so that none has a logarithm.
const LEAST_RATE: f64 = 1e-3;

/// A look at a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub at: Ns,
    /// Generated, per second.
    pub tokens_per_second: f64,
    /// Requests that ran meanwhile.
    pub running: u32,
}

/// By how much a server is slower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slower {
    /// Share of the tokens that is missing, and the least share by the 95 % interval.
    pub share: f64,
    pub at_least: f64,
}

#[derive(Clone, Debug)]
struct Watch {
    level: Level,
    since: Ns,
    looked: Ns,
    samples: VecDeque<Sample>,
}

/// One server's pace.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Without a rise being watched: what it is like. With one: what it was like before.
    before: VecDeque<Sample>,
    watch: Option<Watch>,
}

impl Pace {
    /// Ranks rise one by one; the first one counts. A further rise while one is watched is compared
    /// with the time before the first.
    pub(super) fn rose(&mut self, now: Ns, level: Level) {
        self.end(now);
        if self.watch.as_ref().is_none_or(|watch| watch.level < level) {
            self.watch = Some(Watch { level, since: now, looked: now, samples: VecDeque::new() });
        }
    }

    /// What came since is of neither side.
    pub(super) fn fell(&mut self) {
        self.watch = None;
    }

    /// Takes a sample in; the level that is too slow, if it is time to look and it is.
    pub(super) fn on_sample(&mut self, sample: Sample) -> Option<(Level, Slower)> {
        let rate = sample.tokens_per_second;
        if sample.running == 0 || !rate.is_finite() || rate < 0.0 {
            return None;
        }
        self.end(sample.at);
        let Some(watch) = &mut self.watch else {
            push(&mut self.before, sample);
            return None;
        };
        if sample.at < after(watch.since, SETTLE_NS) {
            return None;
        }
        push(&mut watch.samples, sample);
        if sample.at < after(watch.looked, LOOK_NS) {
            return None;
        }
        watch.looked = sample.at;
        let oldest = Ns(watch.since.0.saturating_sub(OLDEST_NS));
        let before: Vec<Sample> =
            self.before.iter().copied().filter(|old| old.at >= oldest).collect();
        let slower = slower(&before, watch.samples.make_contiguous())?;
        Some((watch.level, slower))
    }

    /// A watch that is over leaves its samples as what the server is like.
    fn end(&mut self, now: Ns) {
        if self.watch.as_ref().is_some_and(|watch| now >= after(watch.since, WATCH_NS))
            && let Some(watch) = self.watch.take()
        {
            self.before = watch.samples;
        }
    }
}

/// The oldest one goes.
fn push(samples: &mut VecDeque<Sample>, sample: Sample) {
    if samples.len() == SAMPLES {
        samples.pop_front();
    }
    samples.push_back(sample);
}

fn slower(before: &[Sample], since: &[Sample]) -> Option<Slower> {
    let slope = slope(before);
    let residuals = |samples: &mut dyn Iterator<Item = &Sample>| -> Vec<f64> {
        samples.filter_map(|sample| residual(*sample, before, slope)).collect()
    };
    let since_residuals = residuals(&mut since.iter());
    // Load that did not come again says nothing.
    let again = |old: &&Sample| since.iter().any(|sample| alike(old.running, sample.running));
    let before_residuals = residuals(&mut before.iter().filter(again));
    if since_residuals.len() < ENOUGH || before_residuals.len() < ENOUGH {
        return None;
    }
    let test = rank::compare(&before_residuals, &since_residuals)?;
    let independent = float(since_residuals.len()) / test.inflation;
    (test.high < TOO_MUCH && independent >= INDEPENDENT)
        .then(|| Slower { share: -libm::expm1(test.shift), at_least: -libm::expm1(test.high) })
}

/// How ln(tokens/s) grows with ln(requests). `None`: the load was the same throughout.
fn slope(samples: &[Sample]) -> Option<f64> {
    let points: Vec<(f64, f64)> =
        samples.iter().map(|sample| (requests(sample.running), logarithm(*sample))).collect();
    let mut slopes = Vec::new();
    for (index, (load, rate)) in points.iter().enumerate() {
        // Loads that differ by less than 3 % tell noise, not a slope.
        let apart = points.iter().skip(index + 1).filter(|other| (other.0 - load).abs() > 0.03);
        slopes.extend(apart.map(|other| (other.1 - rate) / (other.0 - load)));
    }
    if slopes.is_empty() {
        return None;
    }
    let middle = slopes.len() / 2;
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    Some(median.clamp(0.0, 1.0))
}

/// Without a slope, only samples of the very same load are compared.
fn residual(sample: Sample, before: &[Sample], slope: Option<f64>) -> Option<f64> {
    let load = requests(sample.running);
    let mut comparable: Vec<f64> = before
        .iter()
        .filter(|old| alike(old.running, sample.running))
        .filter(|old| slope.is_some() || old.running == sample.running)
        .map(|old| logarithm(*old) + slope.unwrap_or(0.0) * (load - requests(old.running)))
        .collect();
    if comparable.len() < COMPARABLE {
        return None;
    }
    let middle = comparable.len() / 2;
    let (_, median, _) = comparable.select_nth_unstable_by(middle, f64::total_cmp);
    Some(logarithm(sample) - *median)
}

fn requests(running: u32) -> f64 {
    libm::log(f64::from(running.max(1)))
}

fn logarithm(sample: Sample) -> f64 {
    libm::log(sample.tokens_per_second.max(LEAST_RATE))
}

#[expect(clippy::cast_precision_loss, reason = "a count of samples")]
fn float(count: usize) -> f64 {
    count as f64
}

fn alike(a: u32, b: u32) -> bool {
    let apart = u64::from(a.abs_diff(b));
    apart <= 1 || apart * 100 <= u64::from(a.max(b)) * ALIKE_PERCENT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::level::estimate::noise::Noise;

    const S: u64 = 1_000_000_000;

    /// A server whose tokens grow with its load less than in proportion, with noise that remembers.
    struct Server {
        noise: Noise,
        state: f64,
        memory: f64,
        pace: Pace,
        now: u64,
    }

    impl Server {
        fn new(seed: u64, memory: f64) -> Self {
            let noise = Noise::new(seed);
            Self { noise, state: 0.0, memory, pace: Pace::default(), now: 0 }
        }

        /// So many samples ten seconds apart; what is found first.
        fn run(&mut self, samples: u32, load: u32, factor: f64) -> Option<(Level, Slower)> {
            let mut found = None;
            for _ in 0..samples {
                self.now += 10;
                let fresh = (1.0 - self.memory * self.memory).sqrt();
                self.state = self.memory * self.state + fresh * self.noise.normal();
                // Load wanders by a third, by itself.
                let running = load + self.noise.below(load / 3 + 1);
                let rate = 60.0 * f64::from(running).powf(0.8);
                let tokens_per_second = factor * rate * (1.0 + 0.08 * self.state);
                let sample = Sample { at: Ns(self.now * S), tokens_per_second, running };
                found = found.or(self.pace.on_sample(sample));
            }
            found
        }

        fn rise(&mut self) {
            self.pace.rose(Ns(self.now * S), Level::Counting);
        }
    }

    /// Of forty servers, how many are found slower.
    fn found(memory: f64, load: u32, factor: f64) -> usize {
        let found = (0..40).filter(|seed| {
            let mut server = Server::new(seed + 1, memory);
            assert_eq!(server.run(120, 30, 1.0), None);
            server.rise();
            server.run(59, load, factor).is_some()
        });
        let found = found.count();
        println!("memory {memory}, load {load}, {factor} of the tokens: {found} of 40 found");
        found
    }

    #[test]
    fn a_server_that_is_as_fast_is_not_blamed() {
        for memory in [0.0, 0.5, 0.9] {
            assert!(found(memory, 30, 1.0) <= 1, "memory {memory}: {}", found(memory, 30, 1.0));
        }
    }

    #[test]
    fn a_short_time_before_is_not_blamed_either() {
        // Of 25 samples, each load has a handful: their median is itself off by several percent.
        for memory in [0.0, 0.5] {
            let found = (0..400).filter(|seed| {
                let mut server = Server::new(seed + 1, memory);
                server.run(25, 30, 1.0);
                server.rise();
                server.run(59, 30, 1.0).is_some()
            });
            let found = found.count();
            println!("short before, memory {memory}: {found} of 400 found");
            assert!(found <= 4, "{found}");
        }
    }

    #[test]
    fn less_load_is_not_blamed_on_the_rise() {
        // At 22 to 29 requests, the only comparable ones are at the lower edge of the 30 to 40 before:
        // without the slope they would make 7 % fewer tokens.
        for load in [20, 22, 24, 26, 28, 36, 40] {
            assert!(found(0.0, load, 1.0) <= 1, "load {load}");
        }
        assert!(found(0.5, 22, 1.0) <= 1);
    }

    #[test]
    fn a_server_that_is_much_slower_is_found() {
        assert!(found(0.0, 30, 0.88) >= 39, "{}", found(0.0, 30, 0.88));
        assert!(found(0.5, 30, 0.85) >= 37, "{}", found(0.5, 30, 0.85));
    }

    #[test]
    fn a_server_that_is_a_little_slower_is_left_alone() {
        assert!(found(0.0, 30, 0.97) <= 1, "{}", found(0.0, 30, 0.97));
    }

    #[test]
    fn the_level_and_the_share_are_told() {
        let mut server = Server::new(7, 0.0);
        server.run(180, 30, 1.0);
        server.rise();
        let (level, slower) = server.run(59, 30, 0.7).unwrap();
        assert_eq!(level, Level::Counting);
        assert!((0.2..0.4).contains(&slower.share), "{slower:?}");
        assert!((0.05..slower.share).contains(&slower.at_least), "{slower:?}");
    }

    #[test]
    fn few_samples_an_idle_server_and_nonsense_say_nothing() {
        let mut server = Server::new(7, 0.0);
        server.run(15, 30, 1.0);
        server.rise();
        assert_eq!(server.run(59, 30, 0.5), None);
        for (tokens_per_second, running) in [(0.0, 0), (f64::NAN, 4), (f64::INFINITY, 4), (-1.0, 4)]
        {
            let sample = Sample { at: Ns(0), tokens_per_second, running };
            assert_eq!(server.pace.on_sample(sample), None);
        }
        assert_eq!(server.pace.before.len(), 15);
    }

    #[test]
    fn after_ten_minutes_the_rise_is_not_watched_and_its_samples_are_what_it_is_like() {
        let mut server = Server::new(7, 0.0);
        server.run(180, 30, 1.0);
        server.rise();
        assert_eq!(server.run(60, 30, 1.0), None);
        assert_eq!(server.run(60, 30, 0.5), None);
        assert!(server.pace.watch.is_none());
        assert!(server.pace.before.len() > 100);
    }

    #[test]
    fn a_fall_ends_the_watch() {
        let mut server = Server::new(7, 0.0);
        server.run(180, 30, 1.0);
        server.rise();
        server.pace.fell();
        assert_eq!(server.run(59, 30, 0.5), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_grows(
            told in prop::collection::vec((0..u64::MAX, 0..4u32, any::<u32>(), any::<f64>()), 0..900),
        ) {
            let mut pace = Pace::default();
            for (at, event, running, tokens_per_second) in told {
                match event {
                    0 => pace.rose(Ns(at), Level::Stacks),
                    1 => pace.fell(),
                    _ => {
                        pace.on_sample(Sample { at: Ns(at), tokens_per_second, running });
                    }
                }
                let watched = pace.watch.as_ref().map_or(0, |watch| watch.samples.len());
                prop_assert!(pace.before.len() <= SAMPLES && watched <= SAMPLES);
            }
        }
    }
}
