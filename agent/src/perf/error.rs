//! What can go wrong with perf events, and what the reader can do about it.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum PerfError {
    #[error("list the CPUs from {path}; is /sys mounted?")]
    Cpus {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "sample the CPU {hz} times a second: this kernel takes at most {most}; ask for less, or raise {SAMPLE_RATE}"
    )]
    Rate { hz: u32, most: u32 },
    #[error("sample CPU {cpu}: {}", hint(source))]
    Clock {
        cpu: u32,
        #[source]
        source: io::Error,
    },
    #[error("hang the kernel program on the clock of CPU {cpu}: {}", hint(source))]
    Program {
        cpu: u32,
        #[source]
        source: io::Error,
    },
    #[error("list the threads of process {pid}: it has ended, or /proc hides it")]
    Threads {
        pid: u32,
        #[source]
        source: io::Error,
    },
    #[error("count what process {pid} does: {}", hint(source))]
    Count {
        pid: u32,
        #[source]
        source: io::Error,
    },
}

/// The setting behind [`PerfError::Rate`].
pub(super) const SAMPLE_RATE: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

impl PerfError {
    /// The cause is missing privilege.
    pub fn is_privilege(&self) -> bool {
        match self {
            Self::Clock { source, .. }
            | Self::Program { source, .. }
            | Self::Threads { source, .. }
            | Self::Count { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES))
            }
            Self::Cpus { .. } | Self::Rate { .. } => false,
        }
    }
}

/// What to do about a refused perf event.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "not permitted; run as root or grant CAP_PERFMON, and see kernel.perf_event_paranoid"
        }
        Some(libc::EMFILE) => {
            "too many open files; raise the agent's limit (`ulimit -n`, `LimitNOFILE=`)"
        }
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => "this machine has no such event",
        Some(libc::ESRCH) => "it has ended",
        _ => "please report this with the kernel's version",
    }
}
