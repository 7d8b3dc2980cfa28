//! Why the Python of a process cannot be read.

use std::io;

use thiserror::Error;

use crate::elf::ElfError;

/// Ask again, or not.
#[derive(Debug, Error)]
pub enum PythonError {
    #[error("read {what} of process {pid}: it has ended, or the agent lacks CAP_SYS_PTRACE")]
    Read {
        pid: u32,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("open the interpreter of process {pid}")]
    Object {
        pid: u32,
        #[source]
        source: ElfError,
    },
    /// The interpreter is not set up: ask again.
    #[error("the Python of process {pid} is not set up yet: {what}")]
    NotReady { pid: u32, what: &'static str },
    #[error(
        "the Python of process {pid} cannot be read: {reason}; its stacks show native frames only"
    )]
    Unsupported { pid: u32, reason: String },
}

impl PythonError {
    /// The answer may be another one in a moment.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::NotReady { .. })
    }
}
