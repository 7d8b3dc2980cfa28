//! What a process did with memory, one call at a time.

use crate::ids::{Ns, StackId, Thread};

/// Where memory is taken from: each is bounded by something else, and freed by calls of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `cuMemAlloc*`, `cuMemAllocAsync` and pools.
    Device,
    /// The virtual-memory API: `cuMemCreate`. Its bytes are physical memory, whatever address it has.
    Virtual,
    /// `cuMemAllocManaged`.
    Managed,
    /// `cuMemHostAlloc`, `cuMemAllocHost`.
    Pinned,
    /// `cuMemHostRegister`: memory of the host heap or of a map that is pinned as well.
    Registered,
    /// The C library's allocator, and others that are mapped, and Python's.
    HostHeap,
    /// Anonymous memory that has pages, whoever asked for it: what counts towards limits and cannot be dropped.
    Resident,
}

impl Place {
    pub const ALL: [Self; 7] = [
        Self::Device,
        Self::Virtual,
        Self::Managed,
        Self::Pinned,
        Self::Registered,
        Self::HostHeap,
        Self::Resident,
    ];

    /// For JSON and labels of metrics. What is registered is pinned.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Virtual => "vmm",
            Self::Managed => "managed",
            Self::Pinned | Self::Registered => "pinned",
            Self::HostHeap => "host_heap",
            Self::Resident => "rss",
        }
    }
}

/// A call that succeeded. Calls that failed change nothing and are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of what gives memory back the call's entry, of what takes it its return: a block that is younger than the call
    /// that frees its address is another one.
    pub time: Ns,
    pub thread: Thread,
    /// Of the call; `None` where it was not taken.
    pub stack: Option<StackId>,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A block begins at `address`. Not for [`Place::Virtual`], which has no address.
    Allocated {
        place: Place,
        address: u64,
        bytes: u64,
        /// Bytes it stands for: `bytes`, and more where blocks are sampled.
        stands_for: u64,
    },
    /// The block at `address` ends. `cuMemFree` does not say what it frees: [`Place::Device`] and
    /// [`Place::Managed`] are the same here.
    Freed { place: Place, address: u64 },
    /// Physical memory, held by a handle.
    Created { handle: u64, bytes: u64 },
    /// A further reference to the memory that is mapped at `address`, by this handle.
    Retained { handle: u64, address: u64 },
    /// A reference less.
    Released { handle: u64 },
    /// Memory of this handle has addresses, and is held by them too.
    Mapped { address: u64, bytes: u64, handle: u64 },
    /// These addresses have none; whole mappings, one or more.
    Unmapped { address: u64, bytes: u64 },
}
