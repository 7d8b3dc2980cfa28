//! When programs slept, by what they say themselves.
//!
//! Of a sleep they know from when to when at most, and for how long. At most it is that whole stretch;
//! at least it is what is left when all the time the thread was not asleep in it is taken away at each
//! end.

use std::path::Path;

use serde::Deserialize;

use super::{Span, files};
use crate::judge::JudgeError;

/// Sleeps the kernel side does not tell, ns.
const SHORT_NS: u64 = 200_000;

/// Runs up to this between two sleeps of a launching thread are looks for something to do, ns.
const LOOK_NS: u64 = 100_000;

/// Two clocks read one behind the other tell less than this as a sleep that never was, ns.
const NOISE_NS: u64 = 2_000;

/// One sleep of `slept` ns at most, somewhere in `[from, to)`. The kernel side counts with it until the
/// thread has a CPU again, which `away` counts with, too.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "(u64, u64, u64, u64)")]
struct Sleep {
    from: u64,
    to: u64,
    slept: u64,
    away: u64,
}

impl From<(u64, u64, u64, u64)> for Sleep {
    fn from((from, to, slept, away): (u64, u64, u64, u64)) -> Self {
        Self { from, to, slept, away }
    }
}

impl Sleep {
    fn at_least(self) -> Option<Span> {
        let awake = (self.to - self.from).saturating_sub(self.slept);
        let (from, to) = (self.from + awake, self.to.saturating_sub(awake));
        (self.slept >= SHORT_NS && from < to).then_some((from, to))
    }

    /// The kernel side may tell of it.
    const fn may_be_told(&self) -> bool {
        self.slept >= NOISE_NS && self.away >= SHORT_NS
    }

    /// It was over when the work was launched: at the latest, or at the earliest.
    fn over_before(self, launch: Option<Span>, at_least: bool) -> bool {
        let (earliest, latest) = (self.from + self.slept, self.to);
        launch.is_none_or(|launch| if at_least { latest <= launch.0 } else { earliest <= launch.1 })
    }
}

/// A program's own account of its first thread.
#[derive(Debug, Deserialize)]
struct Account {
    hands_out: bool,
    waits: Vec<Sleep>,
    elsewhere: Vec<Sleep>,
}

/// The sleeps of a launching thread and of the engine cores that hand out its work.
#[derive(Debug, Default)]
pub(super) struct Sleeps {
    launching: Vec<Sleep>,
    cores: Vec<Vec<Sleep>>,
    /// Where any of them slept beside that.
    strays: Vec<Sleep>,
}

impl Sleeps {
    /// One thread that launches, and its engine cores.
    pub(super) fn read(folder: &Path) -> Result<Self, JudgeError> {
        let mut all = Self::default();
        for path in files(folder, "sleeps")? {
            let text = std::fs::read_to_string(&path).map_err(|source| JudgeError::Read {
                what: "a program's sleeps",
                path: path.clone(),
                source,
            })?;
            let account: Account =
                serde_json::from_str(&text).map_err(|error| JudgeError::Parse {
                    what: "a program's sleeps",
                    path: path.clone(),
                    message: error.to_string(),
                })?;
            all.strays.extend(account.elsewhere.iter().filter(|stray| stray.may_be_told()));
            if account.hands_out {
                all.cores.push(account.waits);
            } else {
                all.launching.extend(account.waits);
            }
        }
        Ok(all)
    }

    /// When all of them slept within `window`, at most or at least. A core that sleeps on until `launch`,
    /// which ends the gap, waits for its worker: nobody lacks requests then.
    pub(super) fn all_asleep(
        &self,
        window: Span,
        launch: Option<Span>,
        at_least: bool,
    ) -> Vec<Span> {
        let spans = |sleeps: &[Sleep], launch: Option<Span>| -> Vec<Span> {
            let sleeps = within(sleeps, window).filter(|sleep| sleep.over_before(launch, at_least));
            if at_least {
                sleeps.filter_map(Sleep::at_least).collect()
            } else {
                sleeps.map(|sleep| (sleep.from, sleep.to)).collect()
            }
        };
        let mut launching = spans(&self.launching, None);
        if !at_least {
            launching = joined(&launching);
        }
        let together = self
            .cores
            .iter()
            .fold(launching, |together, core| both(&together, &spans(core, launch)));
        together
            .iter()
            .map(|span| (span.0.max(window.0), span.1.min(window.1)))
            .filter(|span| span.0 < span.1)
            .collect()
    }

    /// What they were away in `[from, until)` for locks and pages, ns, with the runs before and after
    /// that may count as looks.
    pub(super) fn astray(&self, from: u64, until: u64) -> u64 {
        self.strays
            .iter()
            .filter(|stray| stray.from < until && from < stray.to)
            .map(|stray| stray.away + 2 * LOOK_NS)
            .sum()
    }

    #[cfg(test)]
    pub(super) fn of(launching: &[(u64, u64, u64)], core: &[(u64, u64, u64)]) -> Self {
        let sleeps = |list: &[(u64, u64, u64)]| {
            list.iter().map(|&(from, to, slept)| Sleep { from, to, slept, away: slept }).collect()
        };
        Self { launching: sleeps(launching), cores: vec![sleeps(core)], strays: Vec::new() }
    }
}

/// Those that overlap `window`. They are in order and do not overlap each other.
fn within(sleeps: &[Sleep], window: Span) -> impl Iterator<Item = Sleep> {
    let first = sleeps.partition_point(|sleep| sleep.to <= window.0);
    sleeps[first..].iter().copied().take_while(move |sleep| sleep.from < window.1)
}

/// Between two sleeps it may have run so shortly that it counts as asleep.
fn joined(spans: &[Span]) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for &(from, to) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 + LOOK_NS => last.1 = to,
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// Where both lists cover. Each is in order and does not overlap itself.
fn both(left: &[Span], right: &[Span]) -> Vec<Span> {
    let (mut one, mut other) = (0, 0);
    let mut common = Vec::new();
    while let (Some(&a), Some(&b)) = (left.get(one), right.get(other)) {
        let span = (a.0.max(b.0), a.1.min(b.1));
        if span.0 < span.1 {
            common.push(span);
        }
        if a.1 <= b.1 {
            one += 1;
        } else {
            other += 1;
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: (u64, u64, u64) = (0, 4_000_000, 4_000_000);
    const WINDOW: Span = (0, 4_000_000);

    #[test]
    fn a_short_sleep_is_possible_and_not_certain() {
        let waits = [
            (0, 100_000, 99_000),
            (1_000_000, 2_000_000, 990_000),
            (2_100_000, 3_000_000, 890_000),
        ];
        let sleeps = Sleeps::of(&waits, &[ALWAYS]);
        // Between the last two it may have run so shortly that it counts as asleep.
        let most = sleeps.all_asleep(WINDOW, None, false);
        assert_eq!(most, [(0, 100_000), (1_000_000, 3_000_000)]);
        let least = sleeps.all_asleep(WINDOW, None, true);
        assert_eq!(least, [(1_010_000, 1_990_000), (2_110_000, 2_990_000)]);
        assert_eq!(both(&[(0, 10), (20, 30)], &[(5, 25)]), [(5, 10), (20, 25)]);
    }

    #[test]
    fn a_core_that_sleeps_on_until_the_launch_waits_for_its_worker() {
        let core = (1_000_000, 3_000_000, 1_900_000);
        let sleeps = Sleeps::of(&[ALWAYS], &[core]);
        let at = |launch| {
            [false, true].map(|least| sleeps.all_asleep(WINDOW, Some(launch), least).len())
        };
        assert_eq!(at((3_000_000, 3_100_000)), [1, 1]);
        // It ended between 2.9 and 3 ms.
        assert_eq!(at((2_950_000, 2_960_000)), [1, 0]);
        assert_eq!(at((2_800_000, 2_810_000)), [0, 0]);
    }

    #[test]
    fn sleeps_elsewhere_are_known_by_their_length() {
        let stray = |from, to, away| Sleep { from, to, slept: away, away };
        let strays = vec![stray(0, 10, 8), stray(20, 30, 5), stray(40, 50, 1)];
        let sleeps = Sleeps { strays, ..Sleeps::default() };
        assert_eq!(sleeps.astray(5, 40), 13 + 4 * LOOK_NS);
    }
    #[test]
    fn who_slept_shortly_and_waited_for_a_cpu_may_be_told_of() {
        let stray = |slept, away| Sleep { from: 0, to: 1_000_000, slept, away };
        assert!(stray(90_000, 300_000).may_be_told());
        assert!(!stray(90_000, 190_000).may_be_told());
        // It was preempted and slept never.
        assert!(!stray(1_000, 300_000).may_be_told());
    }
}
