//! Devices and primary contexts.

use std::ffi::c_char;

use sim_channel::callback::resource;
use sim_channel::raw::{In, Out};

use crate::entry::driver_api;
use crate::error::{Cu, INVALID_VALUE};
use crate::{config, context, device, memory, resource as callbacks};

driver_api! {
    None fn cuDeviceGet [call, default] (device: Out<i32>, ordinal: i32) {
        device::get(ordinal)?;
        put(device, ordinal)
    }

    None fn cuDeviceGetCount [call, default] (count: Out<i32>) {
        put(count, i32::try_from(device::all().len()).unwrap_or(0))
    }

    None fn cuDeviceGetName [call, default] (name: Out<c_char>, length: i32, device: i32) {
        device::get(device)?;
        let room = usize::try_from(length).map_err(|_error| INVALID_VALUE)?;
        let text = device::NAME.as_bytes();
        let shown = text.len().min(room.checked_sub(1).ok_or(INVALID_VALUE)?);
        for (index, &byte) in text[..shown].iter().chain(b"\0").enumerate() {
            name.put_at(index, byte.cast_signed());
        }
        Ok(())
    }

    None fn cuDeviceGetUuid [call, default] (uuid: Out<[u8; 16]>, device: i32) {
        put(uuid, config::uuid(device::get(device)?.physical))
    }

    None fn cuDeviceGetUuid_v2 [call, default] (uuid: Out<[u8; 16]>, device: i32) {
        put(uuid, config::uuid(device::get(device)?.physical))
    }

    None fn cuDeviceGetAttribute [call, default] (value: Out<i32>, attribute: i32, device: i32) {
        put(value, device::attribute(attribute, device::get(device)?.physical))
    }

    None fn cuDeviceTotalMem_v2 [call, default] (bytes: Out<usize>, device: i32) {
        let total = memory::info(device::get(device)?.ordinal).1;
        put(bytes, usize::try_from(total).unwrap_or(usize::MAX))
    }

    None fn cuDeviceComputeCapability [call, default] (major: Out<i32>, minor: Out<i32>, device: i32) {
        let ordinal = device::get(device)?.ordinal;
        put(major, device::attribute(75, ordinal))?;
        put(minor, device::attribute(76, ordinal))
    }

    None fn cuDeviceGetPCIBusId [call, default] (text: Out<c_char>, length: i32, device: i32) {
        let bus = format!("0000:{:02x}:00.0\0", device::get(device)?.physical);
        if usize::try_from(length).is_ok_and(|room| room >= bus.len()) {
            for (index, byte) in bus.bytes().enumerate() {
                text.put_at(index, byte.cast_signed());
            }
            return Ok(());
        }
        Err(INVALID_VALUE)
    }

    None fn cuDeviceCanAccessPeer [call, default] (able: Out<i32>, device: i32, peer: i32) {
        let different = device::get(device)?.ordinal != device::get(peer)?.ordinal;
        put(able, i32::from(different))
    }

    None fn cuCtxEnablePeerAccess [call, default] (peer: usize, flags: u32) {
        context::get(peer).map(drop)?;
        if flags == 0 { Ok(()) } else { Err(INVALID_VALUE) }
    }

    None fn cuDevicePrimaryCtxRetain [call, default] (context: Out<usize>, device: i32) {
        let (primary, made) = device::get(device)?.retain_primary();
        if made {
            callbacks::plain(resource::CONTEXT_CREATED, primary.handle, 0);
        }
        put(context, primary.handle)
    }

    None fn cuDevicePrimaryCtxRelease_v2 [call, default] (device: i32) {
        release(device, false)
    }

    None fn cuDevicePrimaryCtxReset_v2 [call, default] (device: i32) {
        release(device, true)
    }

    None fn cuDevicePrimaryCtxSetFlags_v2 [call, default] (device: i32, flags: u32) {
        device::get(device)?.set_primary_flags(flags);
        Ok(())
    }

    None fn cuDevicePrimaryCtxGetState [call, default] (device: i32, flags: Out<u32>, active: Out<i32>) {
        let device = device::get(device)?;
        put(flags, device.primary_flags())?;
        put(active, i32::from(device.primary().is_some()))
    }
}

fn release(device: i32, all: bool) -> Cu {
    if let Some(context) = device::get(device)?.release_primary(all)? {
        callbacks::plain(resource::CONTEXT_DESTROY_STARTING, context.handle, 0);
        context::remove(&context);
    }
    Ok(())
}

/// Stores an answer, or says that there is no place for it.
pub(super) fn put<T: Copy>(out: Out<T>, value: T) -> Cu {
    if out.put(value) { Ok(()) } else { Err(INVALID_VALUE) }
}

/// A string argument.
pub(super) fn text(text: &In<c_char>) -> Result<&str, crate::error::CuError> {
    text.text().and_then(|text| text.to_str().ok()).ok_or(INVALID_VALUE)
}
