//! Copies. Synchronous ones wait for the virtual device, as the real ones do.

use sim_channel::raw::In;

use crate::api::Call;
use crate::entry::{DevicePtr, driver_api};
use crate::error::{Cu, INVALID_VALUE, NOT_SUPPORTED};
use crate::stream::{self, DefaultStream};
use crate::work::{self, Copy2d, Task};

/// `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Memcpy2D {
    from: Side,
    to: Side,
    width: usize,
    height: usize,
}

/// One side of a `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Side {
    x: usize,
    y: usize,
    memory_type: u32,
    host: u64,
    device: DevicePtr,
    array: usize,
    pitch: usize,
}

/// `CUDA_MEMCPY3D`, for graph nodes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Memcpy3D {
    from: Side3,
    to: Side3,
    width: usize,
    height: usize,
    depth: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Side3 {
    x: usize,
    y: usize,
    z: usize,
    lod: usize,
    memory_type: u32,
    host: u64,
    device: DevicePtr,
    array: usize,
    reserved: usize,
    pitch: usize,
    height: usize,
}

/// `CU_MEMORYTYPE_*`.
const HOST: u32 = 1;
const ARRAY: u32 = 3;

driver_api! {
    Copy fn cuMemcpy | cuMemcpy_ptds [call, default] (to: DevicePtr, from: DevicePtr, bytes: usize) {
        copy(call, Copy2d::flat(to, from, bytes as u64), 0, default, Wait::Yes)
    }

    Copy fn cuMemcpyAsync | cuMemcpyAsync_ptsz [call, default] (
        to: DevicePtr, from: DevicePtr, bytes: usize, stream: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), stream, default, Wait::No)
    }

    Copy fn cuMemcpyHtoD_v2 | cuMemcpyHtoD_v2_ptds [call, default] (
        to: DevicePtr, from: u64, bytes: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), 0, default, Wait::Yes)
    }

    Copy fn cuMemcpyDtoH_v2 | cuMemcpyDtoH_v2_ptds [call, default] (
        to: u64, from: DevicePtr, bytes: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), 0, default, Wait::Yes)
    }

    Copy fn cuMemcpyDtoD_v2 | cuMemcpyDtoD_v2_ptds [call, default] (
        to: DevicePtr, from: DevicePtr, bytes: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), 0, default, Wait::No)
    }

    Copy fn cuMemcpyHtoDAsync_v2 | cuMemcpyHtoDAsync_v2_ptsz [call, default] (
        to: DevicePtr, from: u64, bytes: usize, stream: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), stream, default, Wait::No)
    }

    Copy fn cuMemcpyDtoHAsync_v2 | cuMemcpyDtoHAsync_v2_ptsz [call, default] (
        to: u64, from: DevicePtr, bytes: usize, stream: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), stream, default, Wait::No)
    }

    Copy fn cuMemcpyDtoDAsync_v2 | cuMemcpyDtoDAsync_v2_ptsz [call, default] (
        to: DevicePtr, from: DevicePtr, bytes: usize, stream: usize
    ) {
        copy(call, Copy2d::flat(to, from, bytes as u64), stream, default, Wait::No)
    }

    Copy fn cuMemcpyPeer | cuMemcpyPeer_ptds [call, default] (
        to: DevicePtr, to_context: usize, from: DevicePtr, from_context: usize, bytes: usize
    ) {
        let _ = (to_context, from_context);
        copy(call, Copy2d::flat(to, from, bytes as u64), 0, default, Wait::Yes)
    }

    Copy fn cuMemcpyPeerAsync | cuMemcpyPeerAsync_ptsz [call, default] (
        to: DevicePtr, to_context: usize, from: DevicePtr, from_context: usize, bytes: usize,
        stream: usize
    ) {
        let _ = (to_context, from_context);
        copy(call, Copy2d::flat(to, from, bytes as u64), stream, default, Wait::No)
    }

    Copy fn cuMemcpy2D_v2 | cuMemcpy2D_v2_ptds [call, default] (copy: In<Memcpy2D>) {
        let plan = plane(&copy.get().ok_or(INVALID_VALUE)?)?;
        self::copy(call, plan, 0, default, Wait::Yes)
    }

    Copy fn cuMemcpy2DAsync_v2 | cuMemcpy2DAsync_v2_ptsz [call, default] (
        copy: In<Memcpy2D>, stream: usize
    ) {
        let plan = plane(&copy.get().ok_or(INVALID_VALUE)?)?;
        self::copy(call, plan, stream, default, Wait::No)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

fn copy(call: &Call, copy: Copy2d, stream: usize, default: DefaultStream, wait: Wait) -> Cu {
    let stream = stream::resolve(stream, default)?;
    if copy.bytes() == 0 {
        return Ok(());
    }
    if wait == Wait::Yes {
        stream.refuse_capture()?;
    }
    let end = work::launch(call, &stream, &Task::Copy(copy))?;
    if wait == Wait::Yes {
        stream::wait(end);
    }
    Ok(())
}

fn plane(copy: &Memcpy2D) -> Result<Copy2d, crate::error::CuError> {
    let start = |side: &Side| {
        if side.memory_type == ARRAY || side.array != 0 {
            return Err(NOT_SUPPORTED);
        }
        let base = if side.memory_type == HOST { side.host } else { side.device };
        Ok(base + (side.y * side.pitch + side.x) as u64)
    };
    Ok(Copy2d {
        to: start(&copy.to)?,
        from: start(&copy.from)?,
        width: copy.width as u64,
        height: copy.height as u64,
        to_pitch: copy.to.pitch as u64,
        from_pitch: copy.from.pitch as u64,
    })
}

/// The copy of a graph node; only one plane is simulated.
pub(super) fn volume(copy: &Memcpy3D) -> Result<Copy2d, crate::error::CuError> {
    let flat = |side: &Side3| Side {
        x: side.x,
        y: side.y,
        memory_type: side.memory_type,
        host: side.host,
        device: side.device,
        array: side.array | side.reserved | side.z | side.lod,
        pitch: side.pitch.max(usize::from(side.height == 0) * copy.width),
    };
    if copy.depth > 1 {
        return Err(NOT_SUPPORTED);
    }
    plane(&Memcpy2D {
        from: flat(&copy.from),
        to: flat(&copy.to),
        width: copy.width,
        height: copy.height.max(1),
    })
}
