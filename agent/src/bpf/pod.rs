//! The one door between our layout types and aya's maps.

use wire::kernel::VerifyCounts;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A map value that is plain bytes.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct MapValue<T>(pub(super) T);

// SAFETY: zerocopy's derives prove that every bit pattern is a `T` and that a `T` has no padding;
// `repr(transparent)` gives the wrapper the same layout.
unsafe impl<T: Copy + FromBytes + IntoBytes + Immutable + 'static> aya::Pod for MapValue<T> {}

/// Value of the verification map.
pub(super) type Counts = MapValue<VerifyCounts>;
