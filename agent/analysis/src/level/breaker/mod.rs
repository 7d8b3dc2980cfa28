//! The crash breaker: what follows a rise closely is blamed on it, for the whole node.
//!
//! A worker that dies a [`Verdict::Guilty`] death within ten minutes of a rise, or a server that
//! makes 5 % fewer tokens (`pace`), trips it: no worker of the node may be at that level for a week,
//! doubled with every further trip within a month. Ends that nobody can judge count only when three
//! of them come within an hour.
//!
//! ```text
//! Closed ── trip at level L ──> Open(below L) ── a week, or the operator ──> Closed
//!                                  └── trip at level K < L ──> Open(below K), two weeks
//! ```
//! One incident is one trip: a trip forgets all rises, so the other ranks of the server that died,
//! which are torn down with it, are not blamed on the levels below.
//!
//! What it remembers outlives the agent (`saved`).

mod death;
mod pace;
mod saved;

use std::collections::BTreeMap;
use std::fmt;

pub use death::{Death, OomCount, Verdict};
pub use pace::{Sample, Slower};
pub use saved::{Rejected, Restart, Saved, SavedCap, SavedRise};

use serde::{Deserialize, Serialize};

use crate::decode::Level;
use crate::ids::{Ns, ProcessKey};
use crate::level::bound::{Bound, Reason, below};
use crate::level::breaker::pace::Pace;
use crate::level::{GroupKey, WORKERS, after, left};

/// How long after a rise it is blamed. Long enough for buffers to run full and graphs to be captured
/// anew, short enough that most of a worker's life is its own.
pub const WATCH_NS: u64 = 600_000_000_000;

/// How long a trip holds. A week: a fleet in which one crash in a million rises is ours then sees it
/// rarely, and somebody has looked at it meanwhile.
pub const RETRY_NS: u64 = 7 * 24 * 3_600_000_000_000;

/// Doublings at most: eight weeks, longer than nodes usually run.
pub const DOUBLINGS: u32 = 3;

/// Without a trip for this long after the last one has ended, the next one is a first one.
pub const FORGET_NS: u64 = 30 * 24 * 3_600_000_000_000;

/// Ends nobody can judge that trip it together. One is an orchestrator; three within an hour, each
/// soon after a rise, are a loop.
pub const UNKNOWN_TRIPS: usize = 3;

/// In which they have to come.
pub const UNKNOWN_NS: u64 = 3_600_000_000_000;

/// Ranks of a server die within this of each other, and are one end: the grace period Kubernetes
/// gives by default.
pub const INCIDENT_NS: u64 = 30_000_000_000;

/// Why it is open.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cause {
    /// A worker died by this signal, or exited with 128 + its number.
    Signal(i32),
    /// A worker was killed for its control group's memory.
    OutOfMemory,
    /// A worker's device had an error: the Xid, or the CUDA error.
    GpuError(u32),
    /// A server makes fewer tokens: the share that is missing, per mille.
    Slower(u32),
    /// Ends nobody could judge came in a row.
    UnknownEnds,
    /// The machine went down while a rise was watched.
    MachineLost,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(formatter, "a worker died by signal {signal}"),
            Self::OutOfMemory => formatter.write_str("a worker was killed for lack of memory"),
            Self::GpuError(error) => write!(formatter, "a worker's GPU had error {error}"),
            Self::Slower(share) => {
                write!(formatter, "a server made {}.{} % fewer tokens", share / 10, share % 10)
            }
            Self::UnknownEnds => {
                write!(formatter, "{UNKNOWN_TRIPS} workers ended within an hour, unexplained")
            }
            Self::MachineLost => formatter.write_str("the machine went down"),
        }
    }
}

/// It opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    /// What is blamed; the node stays below.
    pub level: Level,
    pub cause: Cause,
    /// When it is tried again.
    pub until: Ns,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Cap {
    /// At most this.
    level: Level,
    cause: Cause,
    until: Ns,
}

/// When a worker rose to each level last.
type Rises = [Option<Ns>; LEVELS.len()];

const LEVELS: [Level; 4] = [Level::Dormant, Level::Watching, Level::Counting, Level::Stacks];

/// The breaker of a node.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    cap: Option<Cap>,
    /// Within a month of each other.
    trips: u32,
    /// When they are forgotten.
    forget: Ns,
    /// Ends nobody could judge, latest last.
    unknown: Vec<Ns>,
    rises: BTreeMap<ProcessKey, Rises>,
    paces: BTreeMap<GroupKey, Pace>,
    refused: u64,
}

impl Breaker {
    /// A worker is asked for a higher level than before, which is never `Dormant`.
    pub fn rose(&mut self, now: Ns, worker: ProcessKey, group: GroupKey, level: Level) {
        if !self.rises.contains_key(&worker) && self.rises.len() >= WORKERS {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        let rises = self.rises.entry(worker).or_default();
        if let Some(at) = rises.get_mut(level as usize) {
            *at = Some(now);
        }
        if let Some(pace) = self.pace(group) {
            pace.rose(now, level);
        }
    }

    /// A worker is asked for a lower level. Its rises stay: what armed it may kill it later.
    pub fn fell(&mut self, group: GroupKey) {
        if let Some(pace) = self.paces.get_mut(&group) {
            pace.fell();
        }
    }

    /// A worker ended.
    pub fn died(&mut self, now: Ns, worker: ProcessKey, death: Death) -> Option<Trip> {
        let rises = self.rises.remove(&worker)?;
        let level = blamed(now, &rises)?;
        match death.verdict() {
            Verdict::Innocent => None,
            Verdict::Guilty => Some(self.trip(now, level, Cause::of(death))),
            Verdict::Unknown => {
                self.unknown.retain(|at| now < after(*at, UNKNOWN_NS));
                if self.unknown.last().is_none_or(|last| now >= after(*last, INCIDENT_NS)) {
                    self.unknown.push(now);
                }
                (self.unknown.len() >= UNKNOWN_TRIPS)
                    .then(|| self.trip(now, level, Cause::UnknownEnds))
            }
        }
    }

    /// The last worker of a server ended: its pace is of no use.
    pub fn group_ended(&mut self, group: GroupKey) {
        self.paces.remove(&group);
    }

    /// How many tokens a server makes.
    pub fn on_sample(&mut self, group: GroupKey, sample: Sample) -> Option<Trip> {
        let (level, slower) = self.pace(group)?.on_sample(sample)?;
        Some(self.trip(sample.at, level, Cause::Slower(per_mille(slower.share))))
    }

    /// What it allows; `None` while closed.
    pub fn bound(&mut self, now: Ns) -> Option<Bound> {
        if self.cap.is_some_and(|cap| now >= cap.until) {
            self.cap = None;
        }
        if self.cap.is_none() && now >= self.forget {
            self.trips = 0;
        }
        self.cap.map(|cap| Bound { level: cap.level, reason: Reason::Tripped(cap.cause) })
    }

    /// The operator closes it, and it forgets.
    pub fn reset(&mut self) {
        self.cap = None;
        self.trips = 0;
        self.unknown.clear();
    }

    /// Rises and samples there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn pace(&mut self, group: GroupKey) -> Option<&mut Pace> {
        if !self.paces.contains_key(&group) && self.paces.len() >= WORKERS {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        Some(self.paces.entry(group).or_default())
    }

    fn trip(&mut self, now: Ns, level: Level, cause: Cause) -> Trip {
        // Ends what is over, so that an old trip does not lengthen this one.
        self.bound(now);
        let wait = RETRY_NS << self.trips.min(DOUBLINGS);
        let until = after(now, wait);
        self.trips = self.trips.saturating_add(1);
        self.forget = after(until, FORGET_NS);
        let low = below(level);
        let cap = match self.cap {
            Some(cap) if cap.level <= low => Cap { until, ..cap },
            Some(_) | None => Cap { level: low, cause, until },
        };
        self.cap = Some(cap);
        self.unknown.clear();
        for rises in self.rises.values_mut() {
            *rises = Rises::default();
        }
        for pace in self.paces.values_mut() {
            pace.fell();
        }
        Trip { level, cause, until }
    }

    /// The highest rise that is still watched, and for how long.
    fn watched(&self, now: Ns) -> Option<(Level, u64)> {
        let all = self.rises.values().filter_map(|rises| {
            let level = blamed(now, rises)?;
            let at = rises.get(level as usize).copied().flatten()?;
            Some((level, left(now, after(at, WATCH_NS))))
        });
        all.max()
    }
}

/// The highest level risen to within ten minutes.
fn blamed(now: Ns, rises: &Rises) -> Option<Level> {
    let watched = |at: Option<Ns>| at.is_some_and(|at| now < after(at, WATCH_NS));
    LEVELS.into_iter().zip(*rises).filter(|(_, at)| watched(*at)).map(|(level, _)| level).max()
}

impl Cause {
    /// Of a guilty one.
    fn of(death: Death) -> Self {
        match death {
            Death::Signal(signal) => Self::Signal(signal),
            Death::Exit(status) => Self::Signal(status.saturating_sub(128)),
            Death::Killed(OomCount::Grew) => Self::OutOfMemory,
            Death::GpuError(error) => Self::GpuError(error),
            Death::Killed(OomCount::Unchanged | OomCount::Unread) | Death::Unseen => {
                Self::UnknownEnds
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of 0 to 1, clamped"
)]
fn per_mille(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u32
}

#[cfg(test)]
mod tests;
