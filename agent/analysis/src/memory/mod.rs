//! What becomes of memory: how live bytes go over time, and whether that is a leak.
//!
//! [`Live`] keeps what a process's calls leave allocated, by place and by site. Live bytes go into a [`Series`]; [`judge`] says of it, and of what else is known, what it is. Pure, and
//! bounded: a series has [`series::POINTS`] points, a verdict a few sentences. docs/memory.md has how often
//! which verdict is given for what.

mod assess;
mod cohorts;
mod event;
mod evidence;
pub mod finding;
mod levels;
pub mod live;
mod load;
mod number;
mod resident;
pub mod series;
mod survivors;
mod trend;
pub mod verdict;

pub use event::{Event, Place, What};
pub use finding::{Finding, findings};
pub use live::Live;
pub use number::bytes as bytes_text;
pub use resident::Resident;
pub use series::Series;
pub use survivors::Age;
pub use verdict::{Interval, Kind, Missing, Question, Verdict, judge};
