//! `trace.pftrace`: the timeline as Perfetto's viewer (<https://ui.perfetto.dev>) opens it: streams
//! of each GPU with why it idled, launches with an arrow to what they launched, engine steps, and
//! CPU samples.
//!
//! Pieces are written as they become final; what stays in memory is what is interned, and the CPU
//! samples, whose names come late.

mod callstacks;
mod directory;
mod draw;
mod file;
mod interned;
mod packets;
mod proto;
mod tracks;

pub use directory::Directory;
pub use draw::{Extent, Trace};
pub use file::{Drawing, TraceError, TraceFile, replay};
