//! What changed between two observations, and whether the change is more than their own unrest.
//!
//! Everything is compared as time a second of *observed* GPU time, so that neither the length of an
//! observation nor the part of it that went unseen looks like a change. Each observation is cut
//! into windows ([`Cuts`]); a rank test over the windows ([`rank`]) says whether a difference could
//! be chance, and [`discovery`] corrects for the hundreds of kernels that are looked at together.
//! Too few windows: no verdict, with the reason. What is tested is the unrest *within* the two
//! observations: that another run on another day would differ as much is not known to it.

mod change;
mod cuts;
pub mod discovery;
mod figures;
pub mod rank;

pub use change::{Change, Comparison, Measure, NotTested, Presence, Side, Verdict, compare};
pub use cuts::Cuts;
pub use figures::{Amount, Figures, Level, Subject};
pub use rank::RankTest;

/// Share of false alarms among what is called significant.
pub const FALSE_DISCOVERIES: f64 = 0.05;
