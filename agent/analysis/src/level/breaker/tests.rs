use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;
const WEEK: u64 = 7 * 24 * 3600;
const GROUP: GroupKey = GroupKey(1);

fn rise(breaker: &mut Breaker, second: u64, worker: u32, level: Level) {
    breaker.rose(Ns(second * S), ProcessKey(worker), GROUP, level);
}

fn die(breaker: &mut Breaker, second: u64, worker: u32, death: Death) -> Option<(Level, Cause)> {
    let trip = breaker.died(Ns(second * S), ProcessKey(worker), death)?;
    Some((trip.level, trip.cause))
}

fn allowed(breaker: &mut Breaker, second: u64) -> Option<Level> {
    breaker.bound(Ns(second * S)).map(|bound| bound.level)
}

#[test]
fn a_crash_within_ten_minutes_of_a_rise_trips_for_a_week() {
    let mut breaker = Breaker::default();
    rise(&mut breaker, 0, 1, Level::Counting);
    let trip = die(&mut breaker, 599, 1, Death::Signal(11));
    assert_eq!(trip, Some((Level::Counting, Cause::Signal(11))));
    assert_eq!(allowed(&mut breaker, 599 + WEEK - 1), Some(Level::Watching));
    assert_eq!(allowed(&mut breaker, 599 + WEEK), None);
}

#[test]
fn a_crash_later_is_its_own() {
    let mut breaker = Breaker::default();
    rise(&mut breaker, 0, 1, Level::Counting);
    assert_eq!(die(&mut breaker, 600, 1, Death::Signal(11)), None);
    assert_eq!(die(&mut breaker, 1, 2, Death::Signal(11)), None);
    assert_eq!(allowed(&mut breaker, 601), None);
}

#[test]
fn the_highest_level_of_the_last_ten_minutes_is_blamed() {
    let mut breaker = Breaker::default();
    rise(&mut breaker, 0, 1, Level::Stacks);
    rise(&mut breaker, 400, 1, Level::Counting);
    rise(&mut breaker, 500, 2, Level::Watching);
    assert_eq!(
        die(&mut breaker, 700, 1, Death::GpuError(31)),
        Some((Level::Counting, Cause::GpuError(31)))
    );
}

#[test]
fn the_other_ranks_of_the_incident_are_not_blamed() {
    let mut breaker = Breaker::default();
    for worker in 0..8 {
        rise(&mut breaker, 0, worker, Level::Watching);
        rise(&mut breaker, 60, worker, Level::Counting);
    }
    assert!(die(&mut breaker, 100, 0, Death::Signal(6)).is_some());
    for worker in 1..8 {
        assert_eq!(die(&mut breaker, 101, worker, Death::Signal(6)), None);
    }
    assert_eq!(allowed(&mut breaker, 102), Some(Level::Watching));
    assert_eq!(allowed(&mut breaker, 100 + WEEK), None);
}

#[test]
fn innocent_ends_never_trip_and_unknown_ones_only_in_a_row() {
    let mut breaker = Breaker::default();
    for round in 0..100 {
        rise(&mut breaker, round * 40, 1, Level::Stacks);
        assert_eq!(die(&mut breaker, round * 40 + 1, 1, Death::Signal(15)), None);
    }
    let killed = Death::Killed(OomCount::Unchanged);
    let mut end = |second: u64, worker| {
        rise(&mut breaker, second, worker, Level::Stacks);
        die(&mut breaker, second + 1, worker, killed)
    };
    // Eight ranks at once are one end; an hour later it is forgotten.
    for worker in 0..8 {
        assert_eq!(end(5000, worker), None);
    }
    assert_eq!(end(5100, 1), None);
    assert_eq!(end(9000, 1), None);
    assert_eq!(end(9100, 1), None);
    assert_eq!(end(9200, 1), Some((Level::Stacks, Cause::UnknownEnds)));
}

#[test]
fn every_further_trip_holds_twice_as_long_until_a_quiet_month() {
    let mut breaker = Breaker::default();
    let mut now = 0;
    let mut weeks = Vec::new();
    for _ in 0..6 {
        rise(&mut breaker, now, 1, Level::Stacks);
        die(&mut breaker, now, 1, Death::Signal(7)).unwrap();
        let from = now;
        while allowed(&mut breaker, now).is_some() {
            now += WEEK;
        }
        weeks.push((now - from) / WEEK);
    }
    assert_eq!(weeks, [1, 2, 4, 8, 8, 8]);
    now += FORGET_NS / S;
    rise(&mut breaker, now, 1, Level::Stacks);
    die(&mut breaker, now, 1, Death::Signal(7)).unwrap();
    assert_eq!(allowed(&mut breaker, now + WEEK), None);
}

#[test]
fn a_trip_at_a_lower_level_lowers_further_and_the_operator_closes() {
    let mut breaker = Breaker::default();
    rise(&mut breaker, 0, 1, Level::Stacks);
    die(&mut breaker, 1, 1, Death::Signal(7)).unwrap();
    assert_eq!(allowed(&mut breaker, 2), Some(Level::Counting));
    rise(&mut breaker, 2, 2, Level::Watching);
    die(&mut breaker, 3, 2, Death::Killed(OomCount::Grew)).unwrap();
    let expected = Bound { level: Level::Dormant, reason: Reason::Tripped(Cause::OutOfMemory) };
    assert_eq!(breaker.bound(Ns(4 * S)), Some(expected));
    breaker.reset();
    assert_eq!(allowed(&mut breaker, 5), None);
}

#[test]
fn a_server_that_is_slower_trips() {
    let mut breaker = Breaker::default();
    let sample = |breaker: &mut Breaker, second: u64, tokens_per_second| {
        let wobble = f64::from(u32::try_from(second % 7).unwrap());
        let tokens_per_second = tokens_per_second + wobble;
        let sample = Sample { at: Ns(second * S), tokens_per_second, running: 8 };
        breaker.on_sample(GROUP, sample)
    };
    for second in 0..100 {
        assert_eq!(sample(&mut breaker, second, 1000.0), None);
    }
    rise(&mut breaker, 100, 1, Level::Counting);
    let trip = (100..200).find_map(|second| sample(&mut breaker, second, 900.0)).unwrap();
    assert_eq!(trip.level, Level::Counting);
    let Cause::Slower(share) = trip.cause else { panic!("{trip:?}") };
    assert!((90..110).contains(&share), "{share}");
    assert_eq!(allowed(&mut breaker, 200), Some(Level::Watching));
}

#[test]
fn full_tables_are_counted() {
    let mut breaker = Breaker::default();
    let workers = u32::try_from(WORKERS).unwrap();
    for worker in 0..workers + 3 {
        breaker.rose(Ns(0), ProcessKey(worker), GroupKey(worker), Level::Watching);
    }
    assert_eq!((breaker.rises.len(), breaker.refused()), (WORKERS, 3));
    let sample = Sample { at: Ns(0), tokens_per_second: 1.0, running: 1 };
    assert_eq!(breaker.on_sample(GroupKey(workers + 9), sample), None);
    assert_eq!(breaker.refused(), 4);
    for worker in 0..workers {
        breaker.died(Ns(0), ProcessKey(worker), Death::Exit(0));
        breaker.group_ended(GroupKey(worker));
    }
    assert!(breaker.rises.is_empty() && breaker.paces.is_empty());
}

fn any_death() -> impl Strategy<Value = Death> {
    prop_oneof![
        (-1..300i32).prop_map(Death::Exit),
        (0..65i32).prop_map(Death::Signal),
        any::<u32>().prop_map(Death::GpuError),
        Just(Death::Unseen),
        Just(Death::Killed(OomCount::Grew)),
        Just(Death::Killed(OomCount::Unread)),
    ]
}

proptest! {
    /// Open exactly below what was blamed, never for an innocent end, never for longer than eight
    /// weeks after the last trip.
    #[test]
    fn it_is_open_for_trips_only(
        told in prop::collection::vec((0..2000u64, 0..5u32, 0..4u32, any_death()), 1..80),
    ) {
        let mut breaker = Breaker::default();
        let mut now = 0;
        let mut lowest: Option<Level> = None;
        for (wait, worker, word, death) in told {
            now += wait;
            let level = Level::from_word(word).unwrap();
            if level > Level::Dormant && worker < 3 {
                rise(&mut breaker, now, worker, level);
            } else if let Some((level, _)) = die(&mut breaker, now, worker % 3, death) {
                prop_assert!(death.verdict() != Verdict::Innocent);
                prop_assert!(level > Level::Dormant);
                lowest = Some(lowest.map_or(below(level), |low| low.min(below(level))));
            }
            prop_assert_eq!(allowed(&mut breaker, now), lowest);
        }
        prop_assert_eq!(allowed(&mut breaker, now + 8 * WEEK), None);
    }
}
