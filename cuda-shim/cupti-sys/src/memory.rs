//! Driver calls that take memory or give it back, and where their arguments say what. Runtime calls make these.

/// Where memory is taken from, by the family of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `cuMemFree` gives back managed and pooled memory, too.
    Device,
    Pool,
    Managed,
    Pinned,
    /// Memory of the process that is pinned where it lies.
    Registered,
}

/// What a call does with memory. Words are those of its arguments, in prototype order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryCall {
    /// Word 0 points to the address, word 1 is the bytes.
    Allocate(Family),
    /// Word 0 points to the address, word 1 to the bytes of a row; word 3 is the number of rows.
    AllocatePitched,
    /// Word 0 is the address, word 1 the bytes.
    Register,
    /// Word 0 is the address.
    Free(Family),
    /// Word 0 points to the handle, word 1 is the bytes, word 2 points to properties.
    Create,
    /// Word 0 points to the handle.
    Import,
    /// Word 0 points to the handle, word 1 is the address that the memory is mapped at.
    Retain,
    /// Word 0 is the handle.
    Release,
    /// Word 0 is the address, word 1 the bytes, word 3 the handle.
    Map,
    /// Word 0 is the address, word 1 the bytes.
    Unmap,
}

impl MemoryCall {
    /// It gives memory back, or a hold on it.
    pub const fn gives_back(self) -> bool {
        matches!(self, Self::Free(_) | Self::Release | Self::Unmap)
    }
}

/// Where `CUmemAllocationProp` has its `location`: type (32 bits; 1: a device), then number.
pub const PROPERTIES_LOCATION_TYPE: usize = 8;
pub const PROPERTIES_LOCATION: usize = 12;
/// `CU_MEM_LOCATION_TYPE_DEVICE`.
pub const LOCATION_DEVICE: u32 = 1;

/// Driver-domain ids with what they do.
pub const DRIVER_MEMORY_CALLS: &[(u32, MemoryCall)] = {
    use Family::{Device, Managed, Pinned, Pool, Registered};
    use MemoryCall::{
        Allocate, AllocatePitched, Create, Free, Import, Map, Register, Release, Retain, Unmap,
    };
    &[
        (243, Allocate(Device)),  // cuMemAlloc_v2
        (244, AllocatePitched),   // cuMemAllocPitch_v2
        (245, Free(Device)),      // cuMemFree_v2
        (371, Allocate(Managed)), // cuMemAllocManaged
        (39, Allocate(Pinned)),   // cuMemHostAlloc
        (294, Allocate(Pinned)),  // cuMemAllocHost_v2
        (38, Free(Pinned)),       // cuMemFreeHost
        (379, Register),          // cuMemHostRegister_v2
        (302, Free(Registered)),  // cuMemHostUnregister
        (598, Allocate(Pool)),    // cuMemAllocAsync
        (599, Allocate(Pool)),    // cuMemAllocAsync_ptsz
        (611, Allocate(Pool)),    // cuMemAllocFromPoolAsync
        (612, Allocate(Pool)),    // cuMemAllocFromPoolAsync_ptsz
        (600, Free(Pool)),        // cuMemFreeAsync
        (601, Free(Pool)),        // cuMemFreeAsync_ptsz
        (549, Create),            // cuMemCreate
        (555, Import),            // cuMemImportFromShareableHandle
        (565, Retain),            // cuMemRetainAllocationHandle
        (550, Release),           // cuMemRelease
        (551, Map),               // cuMemMap
        (552, Unmap),             // cuMemUnmap
    ]
};
