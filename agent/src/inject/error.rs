//! What can keep the shim out of a running process. Every message says that the process goes on as it was.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a process was not entered.
#[derive(Debug, Error)]
pub enum InjectError {
    #[error("process {pid} is not there, or not ours to look at (root, or CAP_SYS_PTRACE)")]
    Process {
        pid: u32,
        #[source]
        source: io::Error,
    },
    #[error("process {pid} has the shim already: {library}")]
    Present { pid: u32, library: String },
    #[error("process {pid} has no CUDA driver loaded: nothing of it could be seen")]
    NoDriver { pid: u32 },
    #[error(
        "process {pid} cannot be entered: {reason}; start it with `warplens run`, or with CUDA_INJECTION64_PATH set"
    )]
    Unsupported { pid: u32, reason: String },
    #[error("no thread of process {pid} was at a safe place within {} s ({looked} looks); it goes on untouched", within.as_secs())]
    NoSafeThread { pid: u32, within: Duration, looked: u32 },
    #[error("{what} in process {pid}; it goes on as it was")]
    Trace {
        pid: u32,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("process {pid} became another program meanwhile; it goes on untouched: try again")]
    Another { pid: u32 },
    #[error("process {pid} ended meanwhile")]
    Ended { pid: u32 },
    #[error("{what} took longer than {} s in process {pid}; its thread goes on with it by itself, and then with what it was doing", within.as_secs())]
    Late { pid: u32, what: &'static str, within: Duration },
    #[error("process {pid} refused: {what} answered {answer}; it goes on as it was")]
    Refused { pid: u32, what: &'static str, answer: String },
}

impl InjectError {
    /// The cause is missing privilege: exit code 77 is for this.
    pub fn is_privilege(&self) -> bool {
        let (Self::Process { source, .. } | Self::Trace { source, .. }) = self else {
            return false;
        };
        source.kind() == io::ErrorKind::PermissionDenied
    }
}
