//! The flight recorder: the latest past is always in memory, and is written when somebody asks or something happens.
//!
//! ```text
//! observer ─ every input ─> Recorder ─ ring of compressed chunks, standing inputs beside it
//!                              │ snapshot: shared, not copied
//! Desk ─ ask ─> Flight ────────v
//! crash ─> Policy ─^        Snapshot ─ writing thread ─> recording, report, pictures, why.json in the Store
//! ```

mod desk;
mod evidence;
mod hang;
mod pack;
mod policy;
mod recorder;
mod ring;
mod snapshot;
mod stacks;
mod standing;
mod store;
#[cfg(test)]
mod tests;
mod threads;
mod why;
mod write;

pub use desk::{Counted, Desk, Flight, FlightSettings};
pub use hang::{HangEvidence, StuckWorker};
pub use pack::UnpackError;
pub use recorder::{Recorder, Stats, limits};
pub use ring::Limits;
pub use snapshot::Snapshot;
pub use store::{Keep, Store, StoreError};
pub use threads::{ProcessThreads, ThreadState};
pub use why::{Ended, LastKernel, LastLaunch, Trigger, WHY_JSON, Why, WorkerEvidence, WorkerLog};
pub use write::Written;
