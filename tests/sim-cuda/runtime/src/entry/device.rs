//! Devices, versions, errors.

use std::ffi::c_char;

use sim_channel::raw::Out;

use crate::driver;
use crate::entry::runtime_api;
use crate::session::{self, CudaError, INVALID_VALUE, put};

#[unsafe(no_mangle)]
extern "C" fn warplens_simulated_cuda() -> i32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn cudaRuntimeGetVersion(version: Out<i32>) -> CudaError {
    put(version, session::version())
}

#[unsafe(no_mangle)]
extern "C" fn cudaDriverGetVersion(version: Out<i32>) -> CudaError {
    driver::cuDriverGetVersion(version)
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetLastError() -> CudaError {
    session::take_last_error()
}

#[unsafe(no_mangle)]
extern "C" fn cudaPeekAtLastError() -> CudaError {
    session::peek_last_error()
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetErrorName(error: CudaError) -> *const c_char {
    let mut text: *const c_char = std::ptr::null();
    match error {
        35 => c"cudaErrorInsufficientDriver".as_ptr(),
        98 => c"cudaErrorInvalidDeviceFunction".as_ptr(),
        _ if driver::cuGetErrorName(error, (&mut text).into()) == 0 => text,
        _ => c"unrecognized error code".as_ptr(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetErrorString(error: CudaError) -> *const c_char {
    let mut text: *const c_char = std::ptr::null();
    match error {
        35 => c"CUDA driver version is insufficient for CUDA runtime version".as_ptr(),
        98 => c"invalid device function".as_ptr(),
        _ if driver::cuGetErrorString(error, (&mut text).into()) == 0 => text,
        _ => c"unrecognized error code".as_ptr(),
    }
}

runtime_api! {
    None Driver fn cudaGetDeviceCount [default] (count: Out<i32>) {
        driver::cuDeviceGetCount(count)
    }

    None Driver fn cudaGetDevice [default] (device: Out<i32>) {
        put(device, session::device())
    }

    None Driver fn cudaSetDevice [default] (device: i32) {
        session::set_device(device)
    }

    None Driver fn cudaDeviceGetAttribute [default] (value: Out<i32>, attribute: i32, device: i32) {
        driver::cuDeviceGetAttribute(value, attribute, device)
    }

    None Driver fn cudaDeviceGetPCIBusId [default] (text: Out<c_char>, length: i32, device: i32) {
        driver::cuDeviceGetPCIBusId(text, length, device)
    }

    None Context fn cudaDeviceGetStreamPriorityRange [default] (least: Out<i32>, greatest: Out<i32>) {
        driver::cuCtxGetStreamPriorityRange(least, greatest)
    }

    Sync Context fn cudaDeviceSynchronize [default] () {
        driver::cuCtxSynchronize()
    }

    None Context fn cudaMemGetInfo [default] (free: Out<usize>, total: Out<usize>) {
        if free.is_null() || total.is_null() {
            return INVALID_VALUE;
        }
        driver::cuMemGetInfo_v2(free, total)
    }
}
