//! `recording.warplens`: what a session was fed, on disk, so that `analyze` runs the same path.
//!
//! ```text
//! magic "WARPREC\n" (8) | format version u32 LE | wire version u32 LE | zstd stream with checksum
//! zstd stream = frames: kind u8 | body length u32 LE | body
//! last frame  = end: how many frames, records and kernel events stand before it
//! ```
//! Records and kernel events are the wire bytes; descriptions are JSON. A file without its end
//! frame is truncated, whatever else it holds.

mod frame;
mod read;
mod write;

pub(crate) use frame::{
    BodyError as FrameError, decode_input as decode_frame, encode_all as encode_frames,
};
pub use read::{ReadError, Reader, looks_like_recording};
pub use write::{WriteError, Writer};

/// First bytes of the file. The line feed shows a transfer that rewrote line ends.
pub const MAGIC: [u8; 8] = *b"WARPREC\n";

/// Version of the frames. A reader refuses a newer one.
pub const FORMAT_VERSION: u32 = 1;

/// File name inside an output folder.
pub const FILE_NAME: &str = "recording.warplens";

/// Bytes in front of the zstd stream.
const HEADER_BYTES: u64 = 16;

/// Longest frame body, bytes. A full ring's backlog is 16 MiB; writers split at 1 MiB, so this
/// only bounds what a hostile length makes a reader allocate.
const BODY_MAX: u32 = 16 << 20;

/// Records a frame holds at most when written (56 bytes each, about 900 KiB): keeps frames far
/// below [`BODY_MAX`] and the reader's buffer small.
const RECORDS_PER_FRAME: usize = 16_384;

/// Counts in the end frame, checked by the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub frames: u64,
    pub records: u64,
    pub kernel_events: u64,
}

#[cfg(test)]
mod tests;
