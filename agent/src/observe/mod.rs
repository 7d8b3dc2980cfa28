//! A live observation: targets are found, armed and drained; what comes out is fed to the pipeline
//! and, for a recording, written. One thread, driven by [`Observer::turn`], and one that stands in for it.

mod clock;
mod devices;
pub mod guard;
mod keeper;
mod observer;
mod priority;
mod select;
mod target;
mod verify;

pub use clock::now;
pub(crate) use devices::uuid_text;
pub use observer::{Drops, Guarded, ObserveError, Observer, Refused, Settings, reason_text};
pub use priority::ordinary_because;
pub use select::Selection;
pub use verify::Verification;
