//! What goes into an issue report: recordings and what surrounds them in one file, without what identifies a machine or
//! its people, and the way back.
//!
//! Nothing is cleaned in place: a recording is read, each text in it replaced, and written anew; reports are made from
//! the result. So what nobody thought of is left out, not left in.

mod archive;
mod inputs;
mod known;
mod manifest;
mod redact;
mod unpack;

pub use archive::{Archive, ArchiveError};
pub use inputs::redacted;
pub use manifest::{Entry, MANIFEST_JSON, Manifest, SCHEMA};
pub use redact::{Kind, Known, Redactor};
pub use unpack::{Limits, UnpackError, unpack};

/// Folder that every entry of a bundle lies in.
pub const ROOT: &str = "warplens-bundle";

/// First bytes of zstd data, which a bundle is.
pub const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
