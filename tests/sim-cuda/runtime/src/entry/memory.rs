//! Memory, copies, sets.

use sim_channel::raw::Out;

use crate::driver::{self, DefaultStream};
use crate::entry::runtime_api;
use crate::session::{CudaError, INVALID_VALUE, put};

runtime_api! {
    None Context fn cudaMalloc [default] (address: Out<u64>, bytes: usize) {
        // The runtime, unlike the driver, accepts a size of 0.
        if bytes == 0 { put(address, 0) } else { driver::cuMemAlloc_v2(address, bytes) }
    }

    None Context fn cudaMallocPitch [default] (
        address: Out<u64>, pitch: Out<usize>, width: usize, height: usize
    ) {
        driver::cuMemAllocPitch_v2(address, pitch, width, height, 4)
    }

    None Context fn cudaFree [default] (address: u64) {
        driver::cuMemFree_v2(address)
    }

    None Context fn cudaMallocManaged [default] (address: Out<u64>, bytes: usize, flags: u32) {
        driver::cuMemAllocManaged(address, bytes, flags)
    }

    None Context fn cudaMallocHost [default] (address: Out<u64>, bytes: usize) {
        driver::cuMemAllocHost_v2(address, bytes)
    }

    None Context fn cudaHostAlloc [default] (address: Out<u64>, bytes: usize, flags: u32) {
        driver::cuMemHostAlloc(address, bytes, flags)
    }

    None Context fn cudaFreeHost [default] (address: u64) {
        driver::cuMemFreeHost(address)
    }

    None Context fn cudaHostRegister [default] (address: u64, bytes: usize, flags: u32) {
        driver::cuMemHostRegister_v2(address, bytes, flags)
    }

    None Context fn cudaHostUnregister [default] (address: u64) {
        driver::cuMemHostUnregister(address)
    }

    None Context fn cudaMallocAsync | cudaMallocAsync_ptsz [default] (
        address: Out<u64>, bytes: usize, stream: usize
    ) {
        driver::cuMemAllocAsync(default, address, bytes, stream)
    }

    None Context fn cudaFreeAsync | cudaFreeAsync_ptsz [default] (address: u64, stream: usize) {
        driver::cuMemFreeAsync(default, address, stream)
    }

    Copy Context fn cudaMemcpy | cudaMemcpy_ptds [default] (to: u64, from: u64, bytes: usize, kind: u32) {
        match kind {
            1 => driver::cuMemcpyHtoD_v2(default, to, from, bytes),
            2 => driver::cuMemcpyDtoH_v2(default, to, from, bytes),
            3 => driver::cuMemcpyDtoD_v2(default, to, from, bytes),
            0 | 4 => driver::cuMemcpy(default, to, from, bytes),
            _ => INVALID_VALUE,
        }
    }

    Copy Context fn cudaMemcpyAsync | cudaMemcpyAsync_ptsz [default] (
        to: u64, from: u64, bytes: usize, kind: u32, stream: usize
    ) {
        copy_async(default, to, from, bytes, kind, stream)
    }

    Set Context fn cudaMemset | cudaMemset_ptds [default] (to: u64, value: i32, count: usize) {
        driver::cuMemsetD8_v2(default, to, low_byte(value), count)
    }

    Set Context fn cudaMemsetAsync | cudaMemsetAsync_ptsz [default] (
        to: u64, value: i32, count: usize, stream: usize
    ) {
        driver::cuMemsetD8Async(default, to, low_byte(value), count, stream)
    }
}

fn copy_async(
    default: DefaultStream,
    to: u64,
    from: u64,
    bytes: usize,
    kind: u32,
    stream: usize,
) -> CudaError {
    match kind {
        1 => driver::cuMemcpyHtoDAsync_v2(default, to, from, bytes, stream),
        2 => driver::cuMemcpyDtoHAsync_v2(default, to, from, bytes, stream),
        3 => driver::cuMemcpyDtoDAsync_v2(default, to, from, bytes, stream),
        0 | 4 => driver::cuMemcpyAsync(default, to, from, bytes, stream),
        _ => INVALID_VALUE,
    }
}

/// `memset` takes an int and uses its lowest byte.
fn low_byte(value: i32) -> u8 {
    value.to_le_bytes()[0]
}
