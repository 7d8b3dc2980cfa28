//! Sets.

use crate::api::Call;
use crate::entry::{DevicePtr, driver_api};
use crate::error::Cu;
use crate::stream::{self, DefaultStream};
use crate::work::{self, Set2d, Task};

driver_api! {
    Set fn cuMemsetD8_v2 | cuMemsetD8_v2_ptds [call, default] (
        to: DevicePtr, value: u8, count: usize
    ) {
        set(call, flat(to, u32::from(value), 1, count), 0, default)
    }

    Set fn cuMemsetD16_v2 | cuMemsetD16_v2_ptds [call, default] (
        to: DevicePtr, value: u16, count: usize
    ) {
        set(call, flat(to, u32::from(value), 2, count), 0, default)
    }

    Set fn cuMemsetD32_v2 | cuMemsetD32_v2_ptds [call, default] (
        to: DevicePtr, value: u32, count: usize
    ) {
        set(call, flat(to, value, 4, count), 0, default)
    }

    Set fn cuMemsetD8Async | cuMemsetD8Async_ptsz [call, default] (
        to: DevicePtr, value: u8, count: usize, stream: usize
    ) {
        set(call, flat(to, u32::from(value), 1, count), stream, default)
    }

    Set fn cuMemsetD16Async | cuMemsetD16Async_ptsz [call, default] (
        to: DevicePtr, value: u16, count: usize, stream: usize
    ) {
        set(call, flat(to, u32::from(value), 2, count), stream, default)
    }

    Set fn cuMemsetD32Async | cuMemsetD32Async_ptsz [call, default] (
        to: DevicePtr, value: u32, count: usize, stream: usize
    ) {
        set(call, flat(to, value, 4, count), stream, default)
    }

    Set fn cuMemsetD2D8_v2 | cuMemsetD2D8_v2_ptds [call, default] (
        to: DevicePtr, pitch: usize, value: u8, width: usize, height: usize
    ) {
        set(call, plane(to, pitch, u32::from(value), width, height), 0, default)
    }

    Set fn cuMemsetD2D8Async | cuMemsetD2D8Async_ptsz [call, default] (
        to: DevicePtr, pitch: usize, value: u8, width: usize, height: usize, stream: usize
    ) {
        set(call, plane(to, pitch, u32::from(value), width, height), stream, default)
    }
}

fn flat(to: u64, value: u32, element: u64, count: usize) -> Set2d {
    let width = count as u64;
    Set2d { to, value, element, width, height: 1, pitch: width * element }
}

fn plane(to: u64, pitch: usize, value: u32, width: usize, height: usize) -> Set2d {
    Set2d { to, value, element: 1, width: width as u64, height: height as u64, pitch: pitch as u64 }
}

fn set(call: &Call, set: Set2d, stream: usize, default: DefaultStream) -> Cu {
    let stream = stream::resolve(stream, default)?;
    if set.bytes() == 0 {
        return Ok(());
    }
    work::launch(call, &stream, &Task::Set(set)).map(drop)
}
