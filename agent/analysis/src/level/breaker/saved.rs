//! What the breaker remembers over a restart of the agent or of the machine.
//!
//! Times are kept as what is left of them: the monotonic clock begins anew with the machine. So time
//! in which no agent ran does not count, and a trip never ends early; the agent writes the state
//! whenever a trip or a rise changes it and every few minutes besides.
//!
//! The file may have been cut short, edited, or written by another version: [`Saved`] is what serde
//! makes of it, [`Breaker::restore`] says whether it can be true. What is rejected is told to the
//! operator, and the breaker begins closed: the agent that crashed a node would be found by the next
//! trip, but an agent that refuses to start for a bad file is found by nobody.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::decode::Level;
use crate::ids::Ns;
use crate::level::after;
use crate::level::breaker::{Breaker, Cap, Cause, DOUBLINGS, FORGET_NS, RETRY_NS, WATCH_NS, left};

/// Of [`Saved`]. Another number is not read.
const VERSION: u32 = 1;

/// Trips in a row that a state may claim. Arbitrary: one a minute for a year are fewer.
const MOST_TRIPS: u32 = 1_000_000;

/// As it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    pub version: u32,
    pub trips: u32,
    pub forget_in_ns: u64,
    /// While open.
    pub cap: Option<SavedCap>,
    /// The highest rise that is watched.
    pub rise: Option<SavedRise>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedCap {
    /// The word of the highest level allowed.
    pub level: u32,
    pub cause: Cause,
    pub retry_in_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRise {
    /// The word of the level risen to.
    pub level: u32,
    pub watched_for_ns: u64,
}

/// What happened since the state was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The agent alone, or the machine after the agent had left in order: it then writes the state
    /// without a rise ([`Breaker::leaving`]).
    Agent,
    /// The machine: its boot id is another one.
    Machine,
}

/// Why a state cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Another version's.
    Version { found: u32 },
    /// No level, or one that cannot stand there.
    Level { field: &'static str, word: u32 },
    /// More than it can be.
    TooMuch { field: &'static str, found: u64, most: u64 },
    /// Open without a trip.
    CapWithoutTrip,
    /// A share of missing tokens above 1.
    Cause { cause: u32 },
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => {
                write!(formatter, "the breaker's state is of version {found}, not {VERSION}")
            }
            Self::Level { field, word } => {
                write!(formatter, "the breaker's state has level {word} in `{field}`")
            }
            Self::TooMuch { field, found, most } => {
                write!(formatter, "the breaker's state has {found} in `{field}`, {most} at most")
            }
            Self::CapWithoutTrip => {
                formatter.write_str("the breaker's state is open without a trip")
            }
            Self::Cause { cause } => {
                write!(formatter, "the breaker's state has {cause} per mille of tokens missing")
            }
        }
    }
}

impl std::error::Error for Rejected {}

impl Breaker {
    /// To be written while the agent runs.
    pub fn save(&self, now: Ns) -> Saved {
        Saved {
            version: VERSION,
            trips: self.trips.min(MOST_TRIPS),
            forget_in_ns: left(now, self.forget),
            cap: self.cap.filter(|cap| now < cap.until).map(|cap| SavedCap {
                level: cap.level as u32,
                cause: cap.cause,
                retry_in_ns: left(now, cap.until),
            }),
            rise: self
                .watched(now)
                .map(|(level, watched_for_ns)| SavedRise { level: level as u32, watched_for_ns }),
        }
    }

    /// To be written when the agent ends in order: what happens from here on is not its fault.
    pub fn leaving(&self, now: Ns) -> Saved {
        Saved { rise: None, ..self.save(now) }
    }

    /// A breaker that remembers. A machine that went down while a rise was watched trips it.
    ///
    /// # Errors
    /// [`Rejected`] for a state that no breaker has written.
    pub fn restore(saved: &Saved, now: Ns, restart: Restart) -> Result<Self, Rejected> {
        let Saved { version, trips, forget_in_ns, cap, rise } = saved;
        if *version != VERSION {
            return Err(Rejected::Version { found: *version });
        }
        let longest = RETRY_NS << DOUBLINGS;
        at_most("trips", u64::from(*trips), u64::from(MOST_TRIPS))?;
        at_most("forget_in_ns", *forget_in_ns, longest + FORGET_NS)?;
        let mut breaker =
            Self { trips: *trips, forget: after(now, *forget_in_ns), ..Self::default() };
        if let Some(SavedCap { level, cause, retry_in_ns }) = cap {
            if *trips == 0 {
                return Err(Rejected::CapWithoutTrip);
            }
            at_most("retry_in_ns", *retry_in_ns, longest)?;
            if let Cause::Slower(share @ 1001..) = cause {
                return Err(Rejected::Cause { cause: *share });
            }
            let found = level_of("cap.level", *level)?;
            if found == Level::Stacks {
                return Err(Rejected::Level { field: "cap.level", word: *level });
            }
            breaker.cap =
                Some(Cap { level: found, cause: *cause, until: after(now, *retry_in_ns) });
        }
        if let Some(SavedRise { level, watched_for_ns }) = rise {
            at_most("watched_for_ns", *watched_for_ns, WATCH_NS)?;
            let found = level_of("rise.level", *level)?;
            if found == Level::Dormant {
                return Err(Rejected::Level { field: "rise.level", word: *level });
            }
            if restart == Restart::Machine {
                breaker.trip(now, found, Cause::MachineLost);
            }
        }
        Ok(breaker)
    }
}

fn at_most(field: &'static str, found: u64, most: u64) -> Result<(), Rejected> {
    if found > most { Err(Rejected::TooMuch { field, found, most }) } else { Ok(()) }
}

fn level_of(field: &'static str, word: u32) -> Result<Level, Rejected> {
    Level::from_word(word).ok_or(Rejected::Level { field, word })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::ProcessKey;
    use crate::level::GroupKey;
    use crate::level::breaker::Death;

    const S: u64 = 1_000_000_000;
    const WORKER: ProcessKey = ProcessKey(1);
    const GROUP: GroupKey = GroupKey(1);

    fn tripped() -> Breaker {
        let mut breaker = Breaker::default();
        breaker.rose(Ns(100 * S), WORKER, GROUP, Level::Stacks);
        assert!(breaker.died(Ns(101 * S), WORKER, Death::Signal(11)).is_some());
        breaker
    }

    fn through_text(saved: &Saved) -> Saved {
        serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let breaker = tripped();
        let saved = breaker.save(Ns(201 * S));
        let text = serde_json::to_string(&saved).unwrap();
        let expected = "{\"version\":1,\"trips\":1,\"forget_in_ns\":3196700000000000,\"cap\":\
                        {\"level\":2,\"cause\":{\"signal\":11},\"retry_in_ns\":604700000000000},\
                        \"rise\":null}";
        assert_eq!(text, expected);
        // The clock begins anew.
        let mut restored = Breaker::restore(&through_text(&saved), Ns(5), Restart::Agent).unwrap();
        assert_eq!(restored.bound(Ns(6)), tripped().bound(Ns(201 * S)));
        assert_eq!(restored.save(Ns(5)), saved);
        assert_eq!(restored.bound(Ns(5 + 604_700 * S)), None);
    }

    #[test]
    fn a_machine_that_went_down_while_a_rise_was_watched_trips() {
        let mut breaker = Breaker::default();
        breaker.rose(Ns(100 * S), WORKER, GROUP, Level::Counting);
        let restore = |saved: &Saved, restart| {
            let mut restored = Breaker::restore(saved, Ns(0), restart).unwrap();
            restored.bound(Ns(0)).map(|bound| bound.level)
        };
        let saved = through_text(&breaker.save(Ns(300 * S)));
        assert_eq!(saved.rise, Some(SavedRise { level: 2, watched_for_ns: 400 * S }));
        assert_eq!(restore(&saved, Restart::Machine), Some(Level::Watching));
        assert_eq!(restore(&saved, Restart::Agent), None);
        assert_eq!(restore(&breaker.leaving(Ns(300 * S)), Restart::Machine), None);
        assert_eq!(restore(&breaker.save(Ns(700 * S)), Restart::Machine), None);
    }

    #[test]
    fn what_no_breaker_wrote_is_rejected() {
        let good = tripped().save(Ns(201 * S));
        let cap = good.cap.clone().unwrap();
        let check = |saved: Saved, expected: Rejected| {
            let found = Breaker::restore(&saved, Ns(0), Restart::Agent).map(|_| ());
            assert_eq!(found, Err(expected), "{saved:?}");
        };
        let with = |cap: SavedCap| Saved { cap: Some(cap), ..good.clone() };
        check(Saved { version: 2, ..good.clone() }, Rejected::Version { found: 2 });
        check(Saved { trips: 0, ..good.clone() }, Rejected::CapWithoutTrip);
        check(
            with(SavedCap { level: 9, ..cap.clone() }),
            Rejected::Level { field: "cap.level", word: 9 },
        );
        check(
            with(SavedCap { level: 3, ..cap.clone() }),
            Rejected::Level { field: "cap.level", word: 3 },
        );
        check(
            with(SavedCap { cause: Cause::Slower(1001), ..cap.clone() }),
            Rejected::Cause { cause: 1001 },
        );
        let most = RETRY_NS << DOUBLINGS;
        check(
            with(SavedCap { retry_in_ns: most + 1, ..cap }),
            Rejected::TooMuch { field: "retry_in_ns", found: most + 1, most },
        );
        check(
            Saved { rise: Some(SavedRise { level: 0, watched_for_ns: 0 }), ..good.clone() },
            Rejected::Level { field: "rise.level", word: 0 },
        );
        let most = most + FORGET_NS;
        check(
            Saved { forget_in_ns: u64::MAX, ..good },
            Rejected::TooMuch { field: "forget_in_ns", found: u64::MAX, most },
        );
    }

    #[test]
    fn text_that_is_no_state_is_an_error() {
        for text in ["", "{}", "[]", "{\"version\":1}", "{\"version\":-1,\"trips\":0}", "null"] {
            assert!(serde_json::from_str::<Saved>(text).is_err(), "{text}");
        }
        let saved = serde_json::to_string(&tripped().save(Ns(0))).unwrap();
        for cut in 0..saved.len() {
            assert!(serde_json::from_str::<Saved>(&saved[..cut]).is_err(), "{cut}");
        }
        let more = saved.replacen('{', "{\"more\":1,", 1);
        assert!(serde_json::from_str::<Saved>(&more).is_err());
    }

    proptest! {
        /// Whatever the numbers: rejected, or a breaker that writes what can be read.
        #[test]
        fn any_numbers_are_rejected_or_hold(
            (version, trips) in (0..3u32, any::<u32>()),
            forget_in_ns: u64,
            cap in prop::option::of((0..6u32, 0..3000u32, any::<u64>())),
            rise in prop::option::of((0..6u32, 0..700 * S)),
            now: u64,
            machine: bool,
        ) {
            let saved = Saved {
                version,
                trips,
                forget_in_ns: forget_in_ns >> (forget_in_ns % 64),
                cap: cap.map(|(level, share, retry)| SavedCap {
                    level,
                    cause: Cause::Slower(share),
                    retry_in_ns: retry >> (retry % 64),
                }),
                rise: rise.map(|(level, watched_for_ns)| SavedRise { level, watched_for_ns }),
            };
            let restart = if machine { Restart::Machine } else { Restart::Agent };
            if let Ok(mut breaker) = Breaker::restore(&saved, Ns(now), restart) {
                let again = breaker.save(Ns(now));
                prop_assert!(Breaker::restore(&again, Ns(now), Restart::Agent).is_ok());
                breaker.bound(Ns(u64::MAX));
                breaker.save(Ns(u64::MAX));
            }
        }
    }
}
