//! Who decides on a worker's level, how many stacks it takes, and when it is armed.
//!
//! ```text
//! operator ── quirks ── other owners ── crash breaker ── budget keeper ──> lowest bound
//!                                                                            │
//!     shim's level in force ──> one level up at a time, canary first <───────┤
//!                                                                            v
//!                                         Decision of each worker, Changes with their reasons
//! ```
//! Pure: [`Decider`] takes facts with their time ([`Ns`] of `CLOCK_MONOTONIC`), and is asked about
//! once a second. It neither reads a control page nor writes one: the agent asks the shim for
//! [`Decision::ask`] and tells what came of it. A fall is immediate; everything else waits.
//!
//! [`estimate()`] over [`armed`] windows is for whoever reads figures of workers that are armed in turns.

pub mod armed;
pub mod bound;
pub mod breaker;
pub mod budget;
pub mod coexist;
pub mod decider;
pub mod duty;
pub mod estimate;
pub mod operator;
pub mod quirk;

pub use crate::decode::Level;
pub use bound::{Bound, Reason};
pub use decider::{Change, Decider, Decision, Decisions, Facts, Settings};
pub use estimate::{Confidence, Estimate, estimate};

use crate::ids::Ns;

/// Workers that belong together: one server's tensor-parallel ranks on this node, which wait for each
/// other. Numbered by whoever feeds the decider; a worker alone is a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(pub u32);

/// Workers known at once. Sixteen devices with sixteen processes each; a node has tens.
pub const WORKERS: usize = 256;

/// So much later; the end of time instead of beyond it.
fn after(time: Ns, ns: u64) -> Ns {
    Ns(time.0.saturating_add(ns))
}

/// Time until `end`; none when it has passed.
fn left(now: Ns, end: Ns) -> u64 {
    end.since(now).unwrap_or(0)
}
