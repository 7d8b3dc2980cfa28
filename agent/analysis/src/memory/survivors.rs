//! What became of what was allocated: of a leak, a part of every age is still there.

use super::number::float;
use super::series::seconds;

/// Of what was allocated in one stretch of time, how much is still live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// How long ago the stretch began, ns: the age of its oldest blocks.
    pub oldest_ns: u64,
    /// How long ago it ended, ns.
    pub youngest_ns: u64,
    /// Bytes allocated in it.
    pub allocated: u64,
    /// Of these, bytes still live.
    pub live: u64,
}

/// Whether survivors bear out a growth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Survival {
    /// Not known, or too few to tell.
    Unknown,
    /// Of the older half of what was allocated while it grew, this share and so many bytes are still there: at least half of
    /// what the growth says.
    Stay { share: f64, live: f64 },
    /// Less than a quarter of what the growth says is still there of the older half.
    Go { live: f64, expected: f64 },
}

/// `slope`: bytes per second, over the last `time` seconds. `sampled`: bytes that a sample stands for.
pub(super) fn survival(ages: &[Age], slope: f64, time: f64, sampled: f64) -> Survival {
    let (mut allocated, mut live, mut covered) = (0.0, 0.0, 0.0);
    for age in ages {
        let (oldest, youngest) = (seconds(age.oldest_ns), seconds(age.youngest_ns));
        // The older half of the growth, without its very beginning, where warm-up may be.
        if oldest <= time && youngest >= time / 2.0 && oldest > youngest {
            allocated += float(age.allocated);
            live += float(age.live.min(age.allocated));
            covered += oldest - youngest;
        }
    }
    let expected = slope * covered;
    // An eighth of the growth's time at least, or nothing is said.
    if covered < time / 8.0 || expected <= 0.0 || allocated <= 0.0 {
        return Survival::Unknown;
    }
    // What sampling may have missed: two standard errors of a count of samples.
    let unseen = 2.0 * (sampled * live.max(sampled)).sqrt();
    if live >= expected / 2.0 {
        Survival::Stay { share: live / allocated, live }
    } else if live + unseen < expected / 4.0 {
        Survival::Go { live, expected }
    } else {
        Survival::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(from: u64, to: u64, allocated: u64, live: u64) -> Age {
        Age { oldest_ns: from * 1_000_000_000, youngest_ns: to * 1_000_000_000, allocated, live }
    }

    #[test]
    fn only_the_older_half_of_the_growth_counts() {
        // Grew by 10 a second for 100 s.
        let asked = |ages: &[Age]| survival(ages, 10.0, 100.0, 0.0);
        let young = age(50, 0, 5000, 5000);
        assert_eq!(
            asked(&[young, age(100, 50, 5000, 500)]),
            Survival::Stay { share: 0.1, live: 500.0 }
        );
        assert_eq!(
            asked(&[young, age(100, 50, 5000, 100)]),
            Survival::Go { live: 100.0, expected: 500.0 }
        );
        // Between a quarter and a half: neither.
        assert_eq!(asked(&[age(100, 50, 5000, 200)]), Survival::Unknown);
        // Older than the growth, younger than its middle, hardly any time, nothing allocated, the wrong way round.
        for age in [
            age(200, 100, 5000, 5000),
            young,
            age(60, 55, 5000, 0),
            age(100, 50, 0, 0),
            age(50, 100, 5000, 0),
        ] {
            assert_eq!(asked(&[age]), Survival::Unknown, "{age:?}");
        }
        assert_eq!(asked(&[]), Survival::Unknown);
    }
}
