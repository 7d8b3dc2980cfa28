//! Memory of a process that has pages, as the kernel counts it.

/// What a process has of each kind, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// `RssAnon`: heaps, stacks, private maps.
    pub anonymous: u64,
    /// `RssFile`: programs, libraries and mapped files, which can be read again.
    pub file: u64,
    /// `RssShmem`: `/dev/shm`, memfds.
    pub shared: u64,
    /// Of the anonymous memory what lies in the C library's heaps; `None` where it was not looked for.
    pub heap: Option<u64>,
    /// What its control groups have left until the kernel ends somebody; `None`: there is no limit, or it is not known.
    pub headroom: Option<u64>,
}

impl Resident {
    /// At so much anonymous memory the limit is reached, if nobody else takes any.
    pub(super) fn limit(&self) -> Option<u64> {
        self.headroom.map(|left| self.anonymous.saturating_add(left))
    }
}
