//! Who is armed when, where being armed all the time costs too much.
//!
//! Time is cut into periods; in each, a group is armed once, for its share of it, from a random
//! instant on. All ranks of a group are armed together: what a collective costs is the wait for the
//! slowest rank, and that wait is only told from work where all of them are looked at at once. So
//! groups take turns, ranks do not.
//!
//! The instants are drawn anew for every period and group. Load with a rhythm (a cron job each minute,
//! a client's batches) would otherwise meet the same phase of it each time, and no interval would show
//! that. One window in each period, not windows anywhere: slow changes of the load then add nothing to
//! the error. Groups draw by themselves, so two may be armed at once; their costs are bounded each.
//! A window that would go beyond its period goes on at the period's beginning, in two pieces: so every
//! instant has the same chance to be seen, also to load that keeps step with the periods.
//!
//! Pure: the same seed, group and time always give the same turn, so nothing is kept.

use crate::ids::Ns;
use crate::level::GroupKey;
use crate::level::operator::Identity;

/// Length of a period. Long against the up to 5 s that an arming may take to be drained, short
/// against the minutes in which somebody looks at a chart.
pub const PERIOD_NS: u64 = 60_000_000_000;

/// Longer periods count as this one. Arbitrary: some decades, so that sums fit.
const LONGEST_NS: u64 = 1 << 60;

/// A share of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty {
    /// Armed once in each of these.
    pub period_ns: u64,
    /// For this long.
    pub on_ns: u64,
}

impl Duty {
    /// Of a period of a minute; more than all of it is all of it.
    pub const fn percent(percent: u32) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { period_ns: PERIOD_NS, on_ns: PERIOD_NS / 100 * percent as u64 }
    }
}

/// Whether a group is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Armed until then.
    On(Ns),
    /// Not armed until then.
    Off(Ns),
}

/// Whose turn it is. `seed` is the node's, so that nodes are not armed all at once either.
pub fn turn(duty: Duty, seed: Identity, group: GroupKey, now: Ns) -> Turn {
    let (period, place) = place(duty, seed, group, now);
    let Place { seed, index, begin, length } = place;
    let on = duty.on_ns.min(period);
    let on = scaled(on, length, period);
    let from = seed.draw(index) % length.max(1);
    let within = now.0 - begin;
    // Of [from, from + on), what is beyond the end begins the period.
    let first = (from + on).saturating_sub(length);
    let ends = |offset: u64| Ns(begin.saturating_add(offset));
    if within < first {
        Turn::On(ends(first))
    } else if within < from {
        Turn::Off(ends(from))
    } else if within < from + on {
        Turn::On(ends((from + on).min(length)))
    } else {
        // The instant of the next window is drawn then; nothing changes before its period.
        Turn::Off(ends(length))
    }
}

/// Which of a group's periods it is. Each holds exactly its share of armed time, so costs that are
/// summed up from the end of one to the end of another do not depend on the phases.
pub fn period(duty: Duty, seed: Identity, group: GroupKey, now: Ns) -> u64 {
    place(duty, seed, group, now).1.index
}

/// A period, and what is drawn for its group.
struct Place {
    seed: Identity,
    index: u64,
    begin: u64,
    length: u64,
}

/// Length of periods, and the one that it is.
fn place(duty: Duty, seed: Identity, group: GroupKey, now: Ns) -> (u64, Place) {
    let period = duty.period_ns.clamp(1, LONGEST_NS);
    let seed = Identity::drawn(seed.draw(u64::from(group.0)));
    // Periods end at `border`, `border + period`, ...; the piece before the first is a shorter one.
    let border = seed.draw(u64::MAX) % period;
    let place = match now.0.checked_sub(border) {
        None => Place { seed, index: 0, begin: 0, length: border },
        Some(past) => {
            let (index, begin) = (past / period + 1, now.0 - past % period);
            Place { seed, index, begin, length: period }
        }
    };
    (period, place)
}

/// `on` of a `period`, as much of `length`.
fn scaled(on: u64, length: u64, period: u64) -> u64 {
    let scaled = u128::from(on) * u128::from(length) / u128::from(period);
    u64::try_from(scaled).unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    /// Windows of a group in so many seconds, looked at each second.
    fn windows(duty: Duty, group: u32, seconds: u64) -> Vec<(u64, u64)> {
        let seed = Identity::of("node");
        let mut windows: Vec<(u64, u64)> = Vec::new();
        for second in 0..seconds {
            if let Turn::On(_) = turn(duty, seed, GroupKey(group), Ns(second * S)) {
                match windows.last_mut() {
                    Some(last) if last.1 == second => last.1 = second + 1,
                    _ => windows.push((second, second + 1)),
                }
            }
        }
        windows
    }

    #[test]
    fn a_group_is_armed_for_its_share() {
        for percent in [5, 10, 20, 50, 100] {
            let on: u64 =
                windows(Duty::percent(percent), 1, 60_000).iter().map(|w| w.1 - w.0).sum();
            let expected = u64::from(percent) * 600;
            assert!(on.abs_diff(expected) <= 60, "{percent} %: {on} s of {expected}");
        }
    }

    #[test]
    fn phases_differ_between_periods_and_groups() {
        let starts = |group| -> Vec<u64> {
            windows(Duty::percent(10), group, 6_000).iter().map(|w| w.0 % 60).collect()
        };
        let mut distinct = starts(1);
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 30, "{distinct:?}");
        assert_ne!(starts(1), starts(2));
    }

    proptest! {
        /// The end that is told is in the future, and until then nothing changes.
        #[test]
        fn a_turn_holds_until_its_end(
            period in 0..200 * S, on in 0..200 * S, group: u32, at in 0..10_000 * S, part in 0.0..1.0,
        ) {
            let duty = Duty { period_ns: period, on_ns: on };
            let seed = Identity::of("node");
            let at = at + u64::from(group % 2);
            let now = turn(duty, seed, GroupKey(group), Ns(at));
            let (Turn::On(end) | Turn::Off(end)) = now;
            prop_assert!(end.0 > at);
            #[expect(
                clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "some instant before the end"
            )]
            let later = at + ((end.0 - at - 1) as f64 * part) as u64;
            prop_assert_eq!(turn(duty, seed, GroupKey(group), Ns(later.min(end.0 - 1))), now);
        }

        #[test]
        fn nothing_panics(period: u64, on: u64, group: u32, at: u64) {
            let duty = Duty { period_ns: period, on_ns: on };
            turn(duty, Identity::of("node"), GroupKey(group), Ns(at));
        }
    }
}
