//! Whom the programs look at. The first check of every probe.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use wire::kernel::watched;

use crate::maps::WATCHED;

/// The thread that runs, in the initial PID namespace.
#[derive(Clone, Copy)]
pub struct Task {
    /// What user space calls the PID.
    pub tgid: u32,
    /// What user space calls the thread id.
    pub tid: u32,
}

impl Task {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the thread id")]
    pub fn current() -> Self {
        let both = bpf_get_current_pid_tgid();
        Self { tgid: (both >> 32) as u32, tid: both as u32 }
    }

    /// One word that names the thread.
    #[inline(always)]
    pub fn key(self) -> u64 {
        u64::from(self.tgid) << 32 | u64::from(self.tid)
    }

    #[inline(always)]
    pub fn is_watched(self) -> bool {
        WATCHED.get_ptr(self.tgid).is_some()
    }

    /// What of it is wanted, one of `wire::kernel::watched`.
    #[inline(always)]
    pub fn watched(self) -> Option<u32> {
        // SAFETY: an element of a preallocated map; the agent writes whole words.
        WATCHED.get_ptr(self.tgid).map(|what| unsafe { *what })
    }

    /// Stacks of it are wanted.
    #[inline(always)]
    pub fn is_sampled(self) -> bool {
        self.watched().is_some_and(|what| what != watched::THREADS_ONLY)
    }
}
