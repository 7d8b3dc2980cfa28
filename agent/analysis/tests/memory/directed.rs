//! One thing at a time.

use analysis::ids::Ns;
use analysis::memory::{Age, Interval, Kind, Missing, Question, Series, judge};

use crate::shapes::{Dice, GIB, MIB, SECOND, whole};

/// A second apart, from an hour on.
fn series(seconds: u64, mut amount: impl FnMut(f64) -> f64) -> Series {
    let mut series = Series::new(SECOND);
    for second in 0..seconds {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let amount = amount(second as f64);
        series.add(Ns((3600 + second) * SECOND), whole(amount));
    }
    series
}

/// 2 GiB, traffic of up to 20 MiB, and so many bytes a second.
fn leaking(seconds: u64, rate: f64) -> Series {
    let mut dice = Dice::new(1);
    series(seconds, |at| 2.0 * GIB + rate * at + 20.0 * MIB * dice.uniform())
}

fn ages(share: impl Fn(f64) -> f64) -> Vec<Age> {
    (0..10_u32)
        .map(|index| {
            let youngest = f64::from(index) * 60.0;
            let allocated = 600.0 * MIB;
            Age {
                oldest_ns: whole((youngest + 60.0) * 1e9),
                youngest_ns: whole(youngest * 1e9),
                allocated: whole(allocated),
                live: whole(allocated * share(youngest)),
            }
        })
        .collect()
}

fn holds(interval: Interval, truth: f64) -> bool {
    interval.low <= truth && truth <= interval.high
}

#[test]
fn a_leak_has_its_rate_its_bytes_a_request_and_its_limit() {
    let live = leaking(600, 0.5 * MIB);
    let requests = series(600, |at| 40.0 * at);
    let limit = Some(whole(4.0 * GIB));
    let verdict = judge(&Question { requests: Some(&requests), limit, ..Question::new(&live) });
    assert_eq!(verdict.kind, Kind::Leak, "{verdict:?}");
    assert!(verdict.confidence > 0.8, "{verdict:?}");
    assert!(holds(verdict.rate.unwrap(), 0.5 * MIB), "{verdict:?}");
    assert!(holds(verdict.per_thousand_requests.unwrap(), 0.5 * MIB * 25.0), "{verdict:?}");
    // 2 GiB less 300 MiB that leaked and 20 MiB of traffic, at 0.5 MiB/s.
    let until = verdict.until_limit.unwrap();
    assert!(until.earliest < 3456.0 && until.latest.unwrap() > 3456.0, "{until:?}");
    assert!(verdict.evidence[0].starts_with("troughs of "), "{:?}", verdict.evidence);
    assert_eq!(verdict.warm_up_end, None);
}

#[test]
fn survivors_bear_a_leak_out_or_rule_it_out() {
    let live = leaking(600, 0.5 * MIB);
    let alone = judge(&Question::new(&live));
    // 10 MiB a second are allocated; a twentieth is the leak.
    let stay = ages(|age| if age < 20.0 { 0.4 } else { 0.05 });
    let stay = judge(&Question { survivors: &stay, ..Question::new(&live) });
    assert_eq!((alone.kind, stay.kind), (Kind::Leak, Kind::Leak));
    assert!(stay.confidence > alone.confidence, "{stay:?}");
    let go = ages(|age| if age < 120.0 { 0.4 } else { 0.001 });
    let go = judge(&Question { survivors: &go, ..Question::new(&live) });
    assert_eq!(go.kind, Kind::Undecided(Missing::Survivors), "{go:?}");
    // Of a heap that is sampled so coarsely, that few may have been missed.
    let coarse = ages(|age| if age < 120.0 { 0.4 } else { 0.001 });
    let sample_bytes = whole(32.0 * MIB);
    let coarse = judge(&Question { survivors: &coarse, sample_bytes, ..Question::new(&live) });
    assert_eq!(coarse.kind, Kind::Leak, "{coarse:?}");
}

#[test]
fn a_growth_of_few_samples_is_not_decided() {
    // One sample of 8 MiB stays every 200 s: three of them, each a step.
    let live = series(600, |at| GIB + 8.0 * MIB * (at / 200.0) + MIB * (at % 7.0));
    assert_eq!(judge(&Question::new(&live)).kind, Kind::Leak);
    let sampled = judge(&Question { sample_bytes: whole(8.0 * MIB), ..Question::new(&live) });
    let Kind::Undecided(Missing::Samples { have }) = sampled.kind else {
        panic!("{sampled:?}");
    };
    assert!((have - 3.0).abs() < 0.3, "{have}");
}

#[test]
fn load_that_rises_may_be_why_and_load_that_does_not_is_none() {
    let mut dice = Dice::new(3);
    // Each request a second holds 5 MiB.
    let mut served = 0.0;
    let mut both = Vec::new();
    for second in 0..900_u32 {
        let rate = 20.0 + f64::from(second) / 20.0;
        served += rate;
        both.push((GIB + 5.0 * MIB * rate + 10.0 * MIB * dice.uniform(), served));
    }
    let live = series(900, |at| both[usize::try_from(whole(at)).unwrap()].0);
    let risen = series(900, |at| both[usize::try_from(whole(at)).unwrap()].1);
    assert_eq!(judge(&Question::new(&live)).kind, Kind::Leak);
    let verdict = judge(&Question { requests: Some(&risen), ..Question::new(&live) });
    assert_eq!(verdict.kind, Kind::Undecided(Missing::Load), "{verdict:?}");
    let even = series(900, |at| 50.0 * at);
    let verdict = judge(&Question { requests: Some(&even), ..Question::new(&live) });
    assert_eq!(verdict.kind, Kind::Leak, "{verdict:?}");
}

#[test]
fn load_that_comes_and_goes_is_taken_out() {
    let mut dice = Dice::new(4);
    let mut served = 0.0;
    let mut both = Vec::new();
    for second in 0..3000_u32 {
        let rate = 40.0 + 30.0 * (f64::from(second) / 500.0).sin();
        served += rate;
        let leak = 0.05 * MIB * f64::from(second);
        both.push((GIB + leak + 20.0 * MIB * rate + 10.0 * MIB * dice.uniform(), served));
    }
    let live = series(3000, |at| both[usize::try_from(whole(at)).unwrap()].0);
    let requests = series(3000, |at| both[usize::try_from(whole(at)).unwrap()].1);
    let verdict = judge(&Question { requests: Some(&requests), ..Question::new(&live) });
    assert_eq!(verdict.kind, Kind::Leak, "{verdict:?}");
    assert!(holds(verdict.rate.unwrap(), 0.05 * MIB), "{verdict:?}");
    let said = "what follows the rate of requests was taken out first";
    assert!(verdict.evidence.iter().any(|sentence| sentence == said), "{:?}", verdict.evidence);
}

#[test]
fn a_rise_without_a_single_fall_is_not_believed() {
    let live = series(600, |at| GIB + MIB * at);
    let verdict = judge(&Question::new(&live));
    assert_eq!(verdict.kind, Kind::Leak);
    assert!((verdict.confidence - 0.5).abs() < 1e-9, "{verdict:?}");
}

#[test]
fn reserved_memory_that_grows_around_live_memory_is_fragmentation() {
    let live = leaking(900, 0.0);
    let reserved = series(900, |at| 3.0 * GIB + 20.0 * MIB * (at / 40.0).floor());
    let limit = Some(whole(8.0 * GIB));
    let verdict = judge(&Question { reserved: Some(&reserved), limit, ..Question::new(&live) });
    assert_eq!(verdict.kind, Kind::Fragmentation, "{verdict:?}");
    assert!(holds(verdict.rate.unwrap(), 0.5 * MIB), "{verdict:?}");
    assert!(verdict.until_limit.is_some());
    // What is reserved for what leaks is no fragmentation.
    let live = leaking(900, 0.5 * MIB);
    let verdict = judge(&Question { reserved: Some(&reserved), ..Question::new(&live) });
    assert_eq!(verdict.kind, Kind::Leak, "{verdict:?}");
}

/// Nor need it be certain that what lives in it does not rise at all.
#[test]
fn chance_in_what_lives_hides_no_fragmentation() {
    let reserved = series(60, |at| MIB * at.floor());
    let unclear = |seed| {
        let mut dice = Dice::new(seed);
        // A sample more or less, now and then.
        let mut samples: f64 = 2.0;
        let live = series(60, |_| {
            samples = (samples + (2.4 * dice.uniform() - 1.2).round()).clamp(0.0, 6.0);
            MIB / 16.0 * samples
        });
        let alone = judge(&Question::new(&live)).kind;
        (alone == Kind::Undecided(Missing::Clarity)).then_some(live)
    };
    let unclear: Vec<Series> = (0..200).filter_map(unclear).collect();
    assert!(unclear.len() >= 3, "{}", unclear.len());
    for live in &unclear {
        let verdict = judge(&Question { reserved: Some(&reserved), ..Question::new(live) });
        assert_eq!(verdict.kind, Kind::Fragmentation, "{verdict:?}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let live = series(10, |_| GIB);
    let verdict = judge(&Question::new(&live));
    assert_eq!(verdict.kind, Kind::Undecided(Missing::Points { have: 10, need: 24 }));
    assert_eq!(verdict.evidence, ["10 points of 1 s after the warm-up, 24 are needed"]);
    let nothing = judge(&Question::new(&Series::new(SECOND)));
    assert_eq!(nothing.kind, Kind::Undecided(Missing::Points { have: 0, need: 24 }));
}

#[test]
fn a_rise_too_slow_to_be_noticed_in_a_day_is_none() {
    // 100 B/s are 8 MiB a day, of 2 GiB.
    let live = series(3000, |at| 2.0 * GIB + 100.0 * at);
    assert_eq!(judge(&Question::new(&live)).kind, Kind::Stable);
    let small = series(3000, |at| 2.0 * MIB + 100.0 * at);
    assert_eq!(judge(&Question::new(&small)).kind, Kind::Leak);
}

#[test]
fn times_that_went_back_are_told() {
    let mut live = leaking(100, 0.0);
    live.add(Ns(0), 0);
    let verdict = judge(&Question::new(&live));
    let said = "1 amounts came with a time that went back and were left out";
    assert!(verdict.evidence.iter().any(|sentence| sentence == said), "{:?}", verdict.evidence);
}

#[test]
fn a_leak_that_begins_after_half_a_day_is_found_within_an_eighth_of_it() {
    let mut dice = Dice::new(7);
    let onset = 43_200_u64;
    let mut live = Series::new(SECOND);
    let found = (0..2 * onset).find(|&second| {
        let leaked =
            0.1 * MIB * f64::from(u32::try_from(second.saturating_sub(onset)).unwrap_or(0));
        let traffic = 100.0 * MIB * dice.uniform();
        live.add(Ns(second * SECOND), whole(2.0 * GIB + leaked + traffic));
        second > onset && second % 60 == 0 && judge(&Question::new(&live)).kind == Kind::Leak
    });
    let found = found.expect("a leak of 0.1 MiB/s for half a day");
    assert!(found - onset < onset / 8, "after {} s", found - onset);
}

#[test]
fn a_morning_that_only_comes_back_to_where_it_was_is_no_leak() {
    let mut dice = Dice::new(8);
    let mut live = Series::new(60 * SECOND);
    for minute in 0..4 * 1440_u32 {
        let day = f64::from(minute) / 1440.0;
        let load = 1.0 - (std::f64::consts::TAU * day).cos();
        let amount = 4.0 * GIB + 300.0 * MIB * load + 20.0 * MIB * dice.uniform();
        live.add(Ns(u64::from(minute) * 60 * SECOND), whole(amount));
        // From the first evening on.
        if day > 0.75 && minute % 30 == 0 {
            let verdict = judge(&Question::new(&live));
            assert_ne!(verdict.kind, Kind::Leak, "day {day:.2}: {verdict:?}");
        }
    }
}

#[test]
fn a_rise_that_is_hardly_beyond_chance_is_not_sure() {
    let mut hardly = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let live = series(300, |at| 2.0 * GIB + 0.03 * MIB * at + 100.0 * MIB * dice.uniform());
        let verdict = judge(&Question::new(&live));
        let Some(rate) = verdict.rate.filter(|_| verdict.kind == Kind::Leak) else { continue };
        if rate.low < rate.value / 20.0 {
            hardly += 1;
            assert!(verdict.confidence < 0.8, "{seed}: {verdict:?}");
        }
    }
    assert!(hardly >= 5, "{hardly}");
}
