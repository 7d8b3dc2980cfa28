//! The virtual-memory API: reserved ranges, memory handles, mappings.
//!
//! A handle has no contents of its own: what is mapped is zero after every new mapping.

use std::ffi::c_void;
use std::sync::Mutex;

use sim_channel::lock;
use sim_channel::raw::{In, Out};

use crate::entry::device::put;
use crate::entry::{DevicePtr, driver_api};
use crate::error::{Cu, INVALID_VALUE};
use crate::memory::{self, Family, Mapping};
use crate::pool::{Pool, Tag};
use crate::{context, device};

/// The granularity real devices have.
const GRANULARITY: u64 = 2 << 20;

/// `CUmemAllocationProp`, as far as it is looked at.
#[derive(Clone, Copy)]
#[repr(C)]
struct AllocationProperties {
    kind: u32,
    handle_types: u32,
    location_type: u32,
    location: i32,
}

/// Memory made by `cuMemCreate`: freed once released as often as retained, and unmapped everywhere.
struct Handle {
    size: u64,
    device: u32,
    uses: Mutex<Uses>,
}

struct Uses {
    references: u64,
    mappings: u64,
}

static HANDLES: Pool<Handle> = Pool::new(Tag::Memory);

driver_api! {
    None fn cuMemGetAllocationGranularity [call, default] (
        granularity: Out<usize>, properties: In<AllocationProperties>, option: u32
    ) {
        let _ = (properties, option);
        put(granularity, usize::try_from(GRANULARITY).unwrap_or(0))
    }

    None fn cuMemAddressReserve [call, default] (
        address: Out<DevicePtr>, size: usize, alignment: usize, wanted: DevicePtr, flags: u64
    ) {
        let _ = (wanted, flags);
        let size = aligned(size)?;
        let align = (alignment as u64).max(GRANULARITY);
        if !align.is_power_of_two() {
            return Err(INVALID_VALUE);
        }
        put(address, memory::allocate(Family::Reserved, 0, 0, size, align)?)
    }

    None fn cuMemAddressFree [call, default] (address: DevicePtr, size: usize) {
        let _ = size;
        memory::free(address, &[Family::Reserved]).map(drop)
    }

    None fn cuMemCreate [call, default] (
        handle: Out<u64>, size: usize, properties: In<AllocationProperties>, flags: u64
    ) {
        let _ = flags;
        let size = aligned(size)?;
        let properties = properties.get().ok_or(INVALID_VALUE)?;
        // CU_MEM_LOCATION_TYPE_DEVICE
        if properties.location_type != 1 || properties.kind != 1 {
            return Err(INVALID_VALUE);
        }
        let _ = properties.handle_types;
        let device = device::get(properties.location)?.ordinal;
        memory::charge(device, size)?;
        let uses = Mutex::new(Uses { references: 1, mappings: 0 });
        let (number, _) = HANDLES.insert(|_| Handle { size, device, uses });
        put(handle, number as u64)
    }

    None fn cuMemRelease [call, default] (handle: u64) {
        change(number(handle)?, |uses| {
            uses.references = uses.references.checked_sub(1).ok_or(INVALID_VALUE)?;
            Ok(())
        })
    }

    None fn cuMemMap [call, default] (
        address: DevicePtr, size: usize, offset: usize, handle: u64, flags: u64
    ) {
        let _ = flags;
        let size = aligned(size)?;
        let handle = number(handle)?;
        let memory = HANDLES.get(handle)?;
        if offset as u64 + size > memory.size {
            return Err(INVALID_VALUE);
        }
        memory::map(address, Mapping { size, handle })?;
        lock(&memory.uses).mappings += 1;
        Ok(())
    }

    None fn cuMemUnmap [call, default] (address: DevicePtr, size: usize) {
        for handle in memory::unmap(address, size as u64)? {
            change(handle, |uses| {
                uses.mappings = uses.mappings.saturating_sub(1);
                Ok(())
            })?;
        }
        Ok(())
    }

    None fn cuMemSetAccess [call, default] (
        address: DevicePtr, size: usize, access: In<c_void>, count: usize
    ) {
        let _ = (size, access, count);
        memory::mapping(address).map(drop).ok_or(INVALID_VALUE)
    }

    None fn cuMemGetAccess [call, default] (flags: Out<u64>, location: In<c_void>, address: DevicePtr) {
        let _ = location;
        memory::mapping(address).ok_or(INVALID_VALUE)?;
        put(flags, 3)
    }

    None fn cuMemRetainAllocationHandle [call, default] (handle: Out<u64>, address: u64) {
        let mapping = memory::mapping(address).ok_or(INVALID_VALUE)?;
        change(mapping.handle, |uses| {
            uses.references += 1;
            Ok(())
        })?;
        put(handle, mapping.handle as u64)
    }

    None fn cuMemGetAllocationPropertiesFromHandle [call, default] (
        properties: Out<AllocationProperties>, handle: u64
    ) {
        let memory = HANDLES.get(number(handle)?)?;
        context::current()?;
        let location = i32::try_from(memory.device).unwrap_or(0);
        put(properties, AllocationProperties { kind: 1, handle_types: 0, location_type: 1, location })
    }
}

fn number(handle: u64) -> Result<usize, crate::error::CuError> {
    usize::try_from(handle).map_err(|_error| INVALID_VALUE)
}

fn aligned(size: usize) -> Result<u64, crate::error::CuError> {
    let size = size as u64;
    if size == 0 || !size.is_multiple_of(GRANULARITY) { Err(INVALID_VALUE) } else { Ok(size) }
}

/// Changes how often a handle is used; frees it with its last use.
fn change(handle: usize, change: impl FnOnce(&mut Uses) -> Cu) -> Cu {
    let target = HANDLES.get(handle)?;
    let mut uses = lock(&target.uses);
    change(&mut uses)?;
    if uses.references == 0 && uses.mappings == 0 {
        drop(uses);
        HANDLES.remove(handle)?;
        memory::refund(target.device, target.size);
    }
    Ok(())
}
