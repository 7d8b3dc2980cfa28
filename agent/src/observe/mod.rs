//! A live observation: targets are found, armed and drained; what comes out is fed to the pipeline
//! and, for a recording, written. One thread, driven by [`Observer::turn`], one that
//! stands in for it, and one that sees to it that they are asked first.

mod clock;
mod devices;
pub mod guard;
mod keeper;
mod observer;
mod priority;
mod select;
mod standing;
mod target;
mod touched;
mod verify;

pub use clock::now;
pub(crate) use devices::uuid_text;
pub use observer::{
    Drops, Ending, Evidence, Guarded, Hanging, HowEnded, ObserveError, Observer, Refused, Settings,
    Shimless, Watched, WorkerLogs, reason_text,
};
pub use priority::{Priority, ordinary_because};
pub use select::Selection;
pub use verify::Verification;
