//! Allocates and frees once through every family the driver API has.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaStream, DriverError, result, sys};
use serde::Serialize;

use crate::client::Client;

/// Bytes of one allocation: the granularity of the virtual-memory API on every GPU so far.
const BYTES: usize = 2 << 20;

/// What one family was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Family {
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
    pub(crate) failed: u64,
    /// The last refusal's text.
    pub(crate) error: Option<String>,
}

/// Counts by family.
pub(crate) type Allocations = BTreeMap<&'static str, Family>;

/// Allocates and frees `BYTES` through every family.
#[inline(never)]
pub(crate) fn round(client: &Client, stream: &Arc<CudaStream>, counts: &mut Allocations) {
    let families: [(&'static str, Result<(), DriverError>); 7] = [
        ("device", device()),
        ("async", asynchronous(stream)),
        ("pitch", pitched()),
        ("managed", managed()),
        ("pinned", pinned()),
        ("registered", registered()),
        ("virtual", virtual_memory(client)),
    ];
    for (name, outcome) in families {
        let family = counts.entry(name).or_default();
        match outcome {
            Ok(()) => {
                family.allocations += 1;
                family.bytes += BYTES as u64;
            }
            Err(error) => {
                family.failed += 1;
                family.error = Some(error.to_string());
            }
        }
    }
}

#[inline(never)]
fn device() -> Result<(), DriverError> {
    // SAFETY: a context is current on this thread.
    let pointer = unsafe { result::malloc_sync(BYTES) }?;
    // SAFETY: allocated above and used by nobody.
    unsafe { result::free_sync(pointer) }
}

#[inline(never)]
fn asynchronous(stream: &Arc<CudaStream>) -> Result<(), DriverError> {
    // SAFETY: the stream is alive and belongs to the current context.
    let pointer = unsafe { result::malloc_async(stream.cu_stream(), BYTES) }?;
    // SAFETY: allocated on this stream above and used by nobody.
    unsafe { result::free_async(pointer, stream.cu_stream()) }
}

#[inline(never)]
fn pitched() -> Result<(), DriverError> {
    let mut pointer = 0;
    let mut pitch = 0;
    // SAFETY: both results point to live locals; 1024 x 2048 bytes of 4-byte elements.
    unsafe { sys::cuMemAllocPitch_v2(&raw mut pointer, &raw mut pitch, 1024, BYTES / 1024, 4) }
        .result()?;
    // SAFETY: allocated above and used by nobody.
    unsafe { result::free_sync(pointer) }
}

#[inline(never)]
fn managed() -> Result<(), DriverError> {
    let flags = sys::CUmemAttach_flags_enum::CU_MEM_ATTACH_GLOBAL;
    // SAFETY: a context is current on this thread.
    let pointer = unsafe { result::malloc_managed(BYTES, flags) }?;
    // SAFETY: allocated above and used by nobody.
    unsafe { result::free_sync(pointer) }
}

#[inline(never)]
fn pinned() -> Result<(), DriverError> {
    // SAFETY: a context is current on this thread.
    let pointer = unsafe { result::malloc_host(BYTES, 0) }?;
    // SAFETY: allocated above and used by nobody.
    unsafe { result::free_host(pointer) }
}

#[inline(never)]
fn registered() -> Result<(), DriverError> {
    let mut memory = vec![0_u8; BYTES];
    let start = memory.as_mut_ptr().cast::<c_void>();
    // SAFETY: `memory` is BYTES long and outlives the registration.
    unsafe { sys::cuMemHostRegister_v2(start, BYTES, 0) }.result()?;
    // SAFETY: registered above.
    unsafe { sys::cuMemHostUnregister(start) }.result()
}

/// Reserve, create, map, allow access; then all of it back.
#[inline(never)]
fn virtual_memory(client: &Client) -> Result<(), DriverError> {
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "device ordinals are tiny"
    )]
    let location = sys::CUmemLocation {
        type_: sys::CUmemLocationType_enum::CU_MEM_LOCATION_TYPE_DEVICE,
        id: client.context().ordinal() as i32,
    };
    // SAFETY: all-zero is a valid value of this C struct of integers and pointers.
    let mut properties: sys::CUmemAllocationProp = unsafe { std::mem::zeroed() };
    properties.type_ = sys::CUmemAllocationType_enum::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = location;

    let mut address = 0;
    // SAFETY: the result points to a live local.
    unsafe { sys::cuMemAddressReserve(&raw mut address, BYTES, 0, 0, 0) }.result()?;
    let mut handle = 0;
    // SAFETY: properties and result are live locals.
    let created = unsafe { sys::cuMemCreate(&raw mut handle, BYTES, &raw const properties, 0) };
    let outcome = created.result().and_then(|()| {
        let outcome = map(address, handle, location);
        // SAFETY: created above; the mapping, if any, was undone by `map`.
        unsafe { sys::cuMemRelease(handle) }.result()?;
        outcome
    });
    // SAFETY: reserved above with this size; nothing is mapped there.
    unsafe { sys::cuMemAddressFree(address, BYTES) }.result()?;
    outcome
}

fn map(
    address: sys::CUdeviceptr,
    handle: sys::CUmemGenericAllocationHandle,
    location: sys::CUmemLocation,
) -> Result<(), DriverError> {
    let access = sys::CUmemAccessDesc {
        location,
        flags: sys::CUmemAccess_flags_enum::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
    };
    // SAFETY: reserved and created by the caller with the same size.
    unsafe { sys::cuMemMap(address, BYTES, 0, handle, 0) }.result()?;
    // SAFETY: the range was mapped on the line above.
    let access = unsafe { sys::cuMemSetAccess(address, BYTES, &raw const access, 1) }.result();
    // SAFETY: the range was mapped above and is used by nobody.
    unsafe { sys::cuMemUnmap(address, BYTES) }.result()?;
    access
}
