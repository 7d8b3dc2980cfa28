//! Device, managed and pinned memory.

use std::ffi::c_void;

use sim_channel::clock;
use sim_channel::raw::{In, Out};
use sim_channel::work::{MemoryRecord, kind};

use crate::api::Call;
use crate::entry::device::put;
use crate::entry::{DevicePtr, driver_api};
use crate::error::{Cu, CuError, INVALID_VALUE, NOT_SUPPORTED};
use crate::host::CHANNEL;
use crate::memory::{self, Block, Family};
use crate::stream::{self, DefaultStream};
use crate::{context, device};

/// Row length that pitched allocations are rounded to, as on real devices.
const PITCH: u64 = 512;

/// `CUmemLocation`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Location {
    kind: u32,
    number: i32,
}

/// `CUipcMemHandle`.
#[derive(Clone, Copy)]
#[repr(C)]
struct IpcHandle([u8; 64]);

driver_api! {
    None fn cuMemAlloc_v2 [call, default] (address: Out<DevicePtr>, bytes: usize) {
        put(address, allocate(call, Family::Device, bytes as u64, 0)?)
    }

    None fn cuMemAllocPitch_v2 [call, default] (
        address: Out<DevicePtr>, pitch: Out<usize>, width: usize, height: usize, element: u32
    ) {
        let _ = element;
        let row = (width as u64).next_multiple_of(PITCH);
        let bytes = row.checked_mul(height as u64).ok_or(INVALID_VALUE)?;
        put(pitch, usize::try_from(row).unwrap_or(0))?;
        put(address, allocate(call, Family::Device, bytes, 0)?)
    }

    None fn cuMemFree_v2 [call, default] (address: DevicePtr) {
        if address == 0 {
            return Ok(());
        }
        free(call, address, &[Family::Device, Family::Pool, Family::Managed], 0)
    }

    None fn cuMemAllocManaged [call, default] (address: Out<DevicePtr>, bytes: usize, flags: u32) {
        let _ = flags;
        put(address, allocate(call, Family::Managed, bytes as u64, 0)?)
    }

    None fn cuMemHostAlloc [call, default] (address: Out<u64>, bytes: usize, flags: u32) {
        let _ = flags;
        put(address, allocate(call, Family::Host, bytes as u64, 0)?)
    }

    None fn cuMemAllocHost_v2 [call, default] (address: Out<u64>, bytes: usize) {
        put(address, allocate(call, Family::Host, bytes as u64, 0)?)
    }

    None fn cuMemFreeHost [call, default] (address: u64) {
        if address == 0 {
            return Ok(());
        }
        free(call, address, &[Family::Host], 0)
    }

    None fn cuMemHostRegister_v2 [call, default] (address: u64, bytes: usize, flags: u32) {
        let _ = flags;
        memory::register(address, bytes as u64, context::current()?.handle)
    }

    None fn cuMemHostUnregister [call, default] (address: u64) {
        memory::free(address, &[Family::Registered]).map(drop)
    }

    None fn cuMemHostGetDevicePointer_v2 [call, default] (
        address: Out<DevicePtr>, host: u64, flags: u32
    ) {
        let _ = flags;
        memory::block(host).ok_or(INVALID_VALUE)?;
        put(address, host)
    }

    None fn cuMemHostGetFlags [call, default] (flags: Out<u32>, host: u64) {
        memory::block(host).ok_or(INVALID_VALUE)?;
        put(flags, 0)
    }

    None fn cuMemGetInfo_v2 [call, default] (free: Out<usize>, total: Out<usize>) {
        let (left, all) = memory::info(context::current()?.device);
        put(free, usize::try_from(left).unwrap_or(usize::MAX))?;
        put(total, usize::try_from(all).unwrap_or(usize::MAX))
    }

    None fn cuMemGetAddressRange_v2 [call, default] (
        base: Out<DevicePtr>, size: Out<usize>, address: DevicePtr
    ) {
        let block = memory::block(address).ok_or(INVALID_VALUE)?;
        // Null pointers mean that the caller does not want these.
        let _stored: bool = base.put(block.address);
        let _stored: bool = size.put(usize::try_from(block.size).unwrap_or(0));
        Ok(())
    }

    None fn cuMemAllocAsync | cuMemAllocAsync_ptsz [call, default] (
        address: Out<DevicePtr>, bytes: usize, stream: usize
    ) {
        put(address, allocate_in(call, bytes, stream, default)?)
    }

    None fn cuMemAllocFromPoolAsync | cuMemAllocFromPoolAsync_ptsz [call, default] (
        address: Out<DevicePtr>, bytes: usize, pool: usize, stream: usize
    ) {
        super::pool::check(pool)?;
        put(address, allocate_in(call, bytes, stream, default)?)
    }

    None fn cuMemFreeAsync | cuMemFreeAsync_ptsz [call, default] (
        address: DevicePtr, stream: usize
    ) {
        let stream = stream::resolve(stream, default)?;
        if address == 0 {
            return Ok(());
        }
        free(call, address, &[Family::Pool, Family::Device], stream.id)
    }

    None fn cuMemAdvise_v2 [call, default] (
        address: DevicePtr, bytes: usize, advice: u32, location: Location
    ) {
        let _ = (bytes, advice, location);
        memory::block(address).map(drop).ok_or(INVALID_VALUE)
    }

    None fn cuMemPrefetchAsync_v2 | cuMemPrefetchAsync_v2_ptsz [call, default] (
        address: DevicePtr, bytes: usize, location: Location, flags: u32, stream: usize
    ) {
        let _ = (bytes, location, flags);
        stream::resolve(stream, default)?;
        memory::block(address).map(drop).ok_or(INVALID_VALUE)
    }

    None fn cuPointerGetAttribute [call, default] (
        data: Out<c_void>, attribute: u32, address: DevicePtr
    ) {
        attribute_of(data, attribute, address)
    }

    None fn cuPointerGetAttributes [call, default] (
        count: u32, attributes: In<u32>, data: In<Out<c_void>>, address: DevicePtr
    ) {
        let count = count as usize;
        for (attribute, place) in attributes.list(count).into_iter().zip(data.list(count)) {
            // An address of nobody has no attributes; the interface wants success all the same.
            attribute_of(place, attribute, address).unwrap_or_default();
        }
        Ok(())
    }

    None fn cuIpcGetMemHandle [call, default] (handle: Out<IpcHandle>, address: DevicePtr) {
        // Memory of another process is not simulated.
        let _ = (handle, address);
        Err(NOT_SUPPORTED)
    }

    None fn cuIpcOpenMemHandle_v2 [call, default] (
        address: Out<DevicePtr>, handle: IpcHandle, flags: u32
    ) {
        let _ = (address, handle, flags);
        Err(NOT_SUPPORTED)
    }

    None fn cuIpcCloseMemHandle [call, default] (address: DevicePtr) {
        let _ = address;
        Err(NOT_SUPPORTED)
    }
}

fn allocate(call: &Call, family: Family, bytes: u64, stream: u32) -> Result<u64, CuError> {
    let context = context::current()?;
    let address = memory::allocate(family, context.device, context.handle, bytes, 0)?;
    note(call, ALLOCATION, memory::block(address), stream);
    Ok(address)
}

fn allocate_in(
    call: &Call,
    bytes: usize,
    stream: usize,
    default: DefaultStream,
) -> Result<u64, CuError> {
    let stream = stream::resolve(stream, default)?;
    allocate(call, Family::Pool, bytes as u64, stream.id)
}

fn free(call: &Call, address: u64, families: &[Family], stream: u32) -> Cu {
    let block = memory::free(address, families)?;
    note(call, RELEASE, Some(block), stream);
    Ok(())
}

/// CUPTI's memory operations.
const ALLOCATION: u32 = 1;
const RELEASE: u32 = 2;

/// Tells the profiler, if it keeps memory records.
fn note(call: &Call, operation: u32, block: Option<Block>, stream: u32) {
    let Some(block) = block.filter(|_| CHANNEL.records(kind::MEMORY2)) else {
        return;
    };
    let Some(profiler) = CHANNEL.profiler() else {
        return;
    };
    let record = MemoryRecord {
        operation,
        memory_kind: match block.family {
            Family::Host | Family::Registered => 2,
            Family::Managed => 5,
            Family::Device | Family::Pool | Family::Reserved => 3,
        },
        correlation: call.correlation,
        device: block.device,
        context: context::current_numbers().1,
        stream,
        address: block.address,
        bytes: block.size,
        time: clock::now(),
        is_async: u32::from(block.family == Family::Pool),
        padding: 0,
    };
    (profiler.memory)(&raw const record);
}

/// `CU_POINTER_ATTRIBUTE_*`.
fn attribute_of(data: Out<c_void>, attribute: u32, address: u64) -> Cu {
    let block = memory::block(address).ok_or(INVALID_VALUE)?;
    let on_host = matches!(block.family, Family::Host | Family::Registered);
    match attribute {
        1 => put(data.cast(), block.context),
        2 => put(data.cast(), if on_host { 1u32 } else { 2 }),
        3 | 4 => put(data.cast(), address),
        8 => put(data.cast(), u32::from(block.family == Family::Managed)),
        9 => put(data.cast(), device::get(i32::try_from(block.device).unwrap_or(-1))?.ordinal),
        7 | 11 => put(data.cast(), block.address),
        12 => put(data.cast(), block.size),
        13 => put(data.cast(), 1u32),
        _ => Err(INVALID_VALUE),
    }
}
