//! What the simulated CUDA really did, as a file per process: the format, its writer, its reader.
//!
//! A file is `DIR/<pid>.truth`: a 32-byte header, then length-prefixed entries, appended only. It can
//! be read while it grows; a torn last entry is left for the next look. Nothing here is shared with
//! the profiler's own decoding or accounting, so that the two can be compared.
//!
//! Times are `CLOCK_MONOTONIC` nanoseconds. A record's timestamps are `time + clock_offset` of its
//! [`Settled`] entry: 0 where the profiler asked CUPTI for that clock.

mod entry;
mod reader;
mod writer;

pub use entry::{Call, Counters, Device, Effect, Entry, Name, Outcome, Settled, Work, WorkKind};
pub use reader::{Joined, ReadError, Reader, Truth};
pub use writer::Writer;

/// First eight bytes of a file.
pub const MAGIC: [u8; 8] = *b"SIMTRUTH";

/// Version of the format; a reader refuses any other.
pub const VERSION: u32 = 2;

/// Length of the header: magic, version (u32), pid (u32), clock (u32, 1 = `CLOCK_MONOTONIC`), zeros.
pub const HEADER_BYTES: usize = 32;

/// Value of the header's clock field: every time in the file is `CLOCK_MONOTONIC`.
pub const CLOCK_MONOTONIC: u32 = 1;
