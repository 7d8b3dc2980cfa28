//! Calls that take memory or give it back.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Payload;

/// What a memory call did: `MemoryRecord::operation`.
pub mod memory_operation {
    /// A block begins at `address`.
    pub const ALLOCATED: u8 = 1;
    /// The block at `address` ends.
    pub const FREED: u8 = 2;
    /// Physical memory, held by `handle`.
    pub const CREATED: u8 = 3;
    /// Memory of another process or of a file descriptor, held by `handle`; `bytes` is not known.
    pub const IMPORTED: u8 = 4;
    /// A further reference by `handle` to what is mapped at `address`.
    pub const RETAINED: u8 = 5;
    /// A reference of `handle` less.
    pub const RELEASED: u8 = 6;
    /// Memory of `handle` has addresses.
    pub const MAPPED: u8 = 7;
    /// Addresses have no memory.
    pub const UNMAPPED: u8 = 8;
}

/// Where memory is taken from: `MemoryRecord::place`. A release names the family of its call.
pub mod memory_place {
    /// `cuMemAlloc`, `cuMemAllocPitch`, `cuMemFree`, which frees managed and pooled memory, too.
    pub const DEVICE: u8 = 1;
    /// `cuMemAllocAsync`, `cuMemAllocFromPoolAsync`, `cuMemFreeAsync`: out of a pool that keeps what is freed.
    pub const POOL: u8 = 2;
    /// `cuMemCreate` and what belongs to it.
    pub const VIRTUAL: u8 = 3;
    /// `cuMemAllocManaged`.
    pub const MANAGED: u8 = 4;
    /// `cuMemHostAlloc`, `cuMemAllocHost`, `cuMemFreeHost`.
    pub const PINNED: u8 = 5;
    /// `cuMemHostRegister`, `cuMemHostUnregister`.
    pub const REGISTERED: u8 = 6;
    /// The C library's allocator. Sampled by bytes.
    pub const HEAP: u8 = 7;
}

/// `MemoryRecord::flags`: the call passed the probe point before this record was written, under `serial`.
pub const MEMORY_STACK: u16 = 1;

/// `MemoryRecord::device`: the call does not name one; its context has one.
pub const NO_DEVICE: u32 = u32::MAX;

/// A call that took or gave back memory and succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryRecord {
    pub kind: u16,
    pub producer: u16,
    /// One of [`memory_operation`].
    pub operation: u8,
    /// One of [`memory_place`].
    pub place: u8,
    pub flags: u16,
    /// Of what gives memory back the call's entry, of what takes it its return, `CLOCK_MONOTONIC` ns: what is given back
    /// may be given out again before this record is written.
    pub time_ns: u64,
    pub address: u64,
    pub bytes: u64,
    /// Of the virtual-memory API. Of a block of the heap: bytes between two samples, on average; a block of `bytes` was
    /// chosen with the chance `1 - exp(-bytes / handle)`. Else 0.
    pub handle: u64,
    /// Counts the records of this kind, from 1 on: a gap is lost records.
    pub serial: u32,
    /// As [`LaunchRecord::thread`](super::LaunchRecord::thread).
    pub thread: u32,
    pub context: u32,
    /// As the process numbers devices, or [`NO_DEVICE`].
    pub device: u32,
}

const _: () = assert!(size_of::<MemoryRecord>() == size_of::<Payload>());
