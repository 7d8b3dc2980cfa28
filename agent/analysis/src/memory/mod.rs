//! What becomes of memory: how live bytes go over time, and whether that is a leak.
//!
//! Live bytes go into a [`Series`]; [`judge`] says of it, and of what else is known, what it is. Pure, and
//! bounded: a series has [`series::POINTS`] points, a verdict a few sentences. docs/memory.md has how often
//! which verdict is given for what.

mod assess;
mod evidence;
mod levels;
mod load;
mod number;
pub mod series;
mod survivors;
mod trend;
pub mod verdict;

pub use series::Series;
pub use survivors::Age;
pub use verdict::{Interval, Kind, Missing, Question, Verdict, judge};
