//! What holds for any input.

use analysis::ids::Ns;
use analysis::memory::{Age, Kind, Question, Series, Verdict, judge};
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that a question is made of.
#[derive(Clone, Debug)]
struct Told {
    step: u64,
    live: Vec<(u64, u64)>,
    reserved: Option<Vec<(u64, u64)>>,
    requests: Option<Vec<(u64, u64)>>,
    survivors: Vec<(u64, u64, u64, u64)>,
    sample: u64,
    limit: Option<u64>,
}

impl Told {
    /// With every byte times `scale` and every time later by `shift`.
    fn judged(&self, scale: u64, shift: u64) -> Verdict {
        let series = |told: &[(u64, u64)], scale: u64| {
            let mut series = Series::new(self.step);
            for &(time, amount) in told {
                series.add(Ns(time.saturating_add(shift)), amount.saturating_mul(scale));
            }
            series
        };
        let live = series(&self.live, scale);
        let reserved = self.reserved.as_ref().map(|told| series(told, scale));
        let requests = self.requests.as_ref().map(|told| series(told, 1));
        let survivors: Vec<Age> = self
            .survivors
            .iter()
            .map(|&(oldest_ns, youngest_ns, allocated, live)| Age {
                oldest_ns,
                youngest_ns,
                allocated: allocated.saturating_mul(scale),
                live: live.saturating_mul(scale),
            })
            .collect();
        judge(&Question {
            live: &live,
            reserved: reserved.as_ref(),
            requests: requests.as_ref(),
            survivors: &survivors,
            sample_bytes: self.sample.saturating_mul(scale),
            limit: self.limit.map(|limit| limit.saturating_mul(scale)),
            slack: 0,
        })
    }
}

/// Numbers of every size, and the ends.
fn any_number(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..64_u32).prop_flat_map(|bits| 0..=(u64::MAX >> bits)),
        1 => Just(0),
        1 => Just(u64::MAX),
        4 => 0..2000_u64,
    ]
    .prop_map(move |number| number.min(most))
}

/// Times that mostly go on, amounts that mostly have a course.
fn told(most: u64, latest: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let course = (any_number(most), 0..3_u64, vec((0..1_000_u64, 0..100_u64), 0..700)).prop_map(
        move |(base, slope, steps)| {
            let mut at = 0;
            let told = |(noise, gap): (u64, u64)| {
                at += 1 + gap / 90 * gap;
                let grown = at * slope * 100;
                (at * 1_000_000_000, base.saturating_add(grown).saturating_add(noise).min(most))
            };
            steps.into_iter().map(told).collect()
        },
    );
    prop_oneof![3 => course, 1 => vec((any_number(latest), any_number(most)), 0..100)]
}

/// With amounts up to `most` and times up to `latest`.
fn questions(most: u64, latest: u64) -> impl Strategy<Value = Told> {
    let ages = (any_number(u64::MAX), any_number(u64::MAX), any_number(most), any_number(most));
    (
        prop_oneof![Just(1_000_000_000), any_number(u64::MAX)],
        told(most, latest),
        proptest::option::of(told(most, latest)),
        proptest::option::of(told(u64::MAX, latest)),
        vec(ages, 0..8),
        prop_oneof![Just(0), any_number(most)],
        proptest::option::of(any_number(most)),
    )
        .prop_map(|(step, live, reserved, requests, survivors, sample, limit)| Told {
            step,
            live,
            reserved,
            requests,
            survivors,
            sample,
            limit,
        })
}

/// All but the sentences, which name bytes: with `scale` taken out.
fn numbers(verdict: &Verdict, scale: f64) -> Vec<f64> {
    let mut numbers = vec![verdict.confidence];
    for interval in [verdict.rate, verdict.per_thousand_requests].into_iter().flatten() {
        numbers.extend([interval.value / scale, interval.low / scale, interval.high / scale]);
    }
    if let Some(until) = verdict.until_limit {
        numbers.extend([until.seconds, until.earliest, until.latest.unwrap_or(-1.0)]);
    }
    numbers
}

fn finite(verdict: &Verdict) -> bool {
    (0.0..=1.0).contains(&verdict.confidence)
        && verdict.rate.is_none_or(|rate| rate.low <= rate.value && rate.value <= rate.high)
        && numbers(verdict, 1.0).iter().all(|number| number.is_finite())
        && verdict.evidence.len() <= 9
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics_or_overflows(told in questions(u64::MAX, u64::MAX)) {
        let verdict = told.judged(1, 0);
        prop_assert!(finite(&verdict), "{verdict:?}");
    }

    // Below 2^40, so that nothing saturates when it is scaled; what bytes are rounded to stays.
    #[test]
    fn bytes_times_a_power_of_two_and_a_later_start_change_nothing(
        told in questions(1 << 40, 1 << 63),
        power in 0..12_u32,
        shift in 0..1_u64 << 60,
    ) {
        let scale = 1_u64 << power;
        let (plain, moved) = (told.judged(1, 0), told.judged(scale, shift));
        prop_assert_eq!(kind(&plain), kind(&moved));
        #[expect(clippy::cast_precision_loss, reason = "a power of two")]
        let scale = scale as f64;
        prop_assert_eq!(numbers(&plain, 1.0), numbers(&moved, scale));
        let start = |verdict: &Verdict, shift: u64| {
            [verdict.since, verdict.warm_up_end].map(|time| time.map(|time| time.0 - shift))
        };
        prop_assert_eq!(start(&plain, 0), start(&moved, shift));
    }
}

/// As text, because what is missing may have a number of samples, which does not depend on the scale either.
fn kind(verdict: &Verdict) -> String {
    let kind: Kind = verdict.kind;
    format!("{kind:?}")
}
