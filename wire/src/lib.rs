//! What crosses a trust boundary: the shared memory a shim fills and the records the kernel
//! programs emit. Layouts, capacities and encodings only: no IO, no policy, no allocation.
//!
//! Every type here is read by a process that does not trust its writer. Layout types derive
//! zerocopy's `FromBytes`/`IntoBytes`, so implicit padding is a compile error; shared memory is
//! only ever touched through atomics.
#![no_std]
#![forbid(unsafe_code)]

pub mod kernel;
pub mod limits;
// The kernel programs never touch the ring, and their target has no compare-and-swap.
#[cfg(not(target_arch = "bpf"))]
pub mod ring;
#[cfg(not(target_arch = "bpf"))]
pub mod shim;

/// Version of every layout in this crate. A change needs an entry in `docs/wire.md`.
pub const WIRE_VERSION: u32 = 5;

/// Versions that can be read: a shim lives as long as its worker, so an agent meets older ones than its own. What a version
/// added reads as 0 there.
pub const READABLE_VERSIONS: core::ops::RangeInclusive<u32> = 3..=WIRE_VERSION;
