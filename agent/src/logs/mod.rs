//! The last lines of workers' own logs, for a dump: where they are is found while a worker lives, they are read when it is
//! written, and everything that a bundle takes out is taken out.
//!
//! A log is read where standard output or error is a regular file, or where a container runtime keeps it as one. A pipe, a
//! terminal or a socket is never read: what is taken from it is missing to whoever waits at its other end.

mod container;
mod source;
mod tail;

pub use source::{LogSettings, LogSource};
pub use tail::{LastLines, Redacting};
