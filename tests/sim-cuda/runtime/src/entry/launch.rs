//! Kernel and graph launches, and how programs name kernels.

use std::ffi::{c_char, c_void};

use sim_channel::raw::In;

use crate::driver::{self, DefaultStream};
use crate::entry::runtime_api;
use crate::session::{self, CudaError, INVALID_DEVICE_FUNCTION, INVALID_VALUE};

/// `dim3`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

/// `cudaLaunchConfig_t`.
#[derive(Clone, Copy)]
#[repr(C)]
struct LaunchConfig {
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: usize,
    attributes: *const c_void,
    attribute_count: u32,
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct DriverLaunchConfig {
    grid: Dim3,
    block: Dim3,
    shared: u32,
    stream: usize,
    attributes: *const c_void,
    attribute_count: u32,
}

/// A kernel by name: what to pass as `func`. Stands for the registration that nvcc generates. Null for a
/// name that is not UTF-8, or without the simulated driver.
#[unsafe(no_mangle)]
extern "C" fn warplens_sim_register_function(name: *const c_char) -> usize {
    session::channel().map_or(0, |channel| (channel.host.function)(name))
}

runtime_api! {
    (Kernel, func) Context fn cudaLaunchKernel | cudaLaunchKernel_ptsz [default] (
        func: usize, grid: Dim3, block: Dim3, args: *mut *mut c_void, shared: usize, stream: usize
    ) {
        if !known(func) {
            return INVALID_DEVICE_FUNCTION;
        }
        let Ok(shared) = u32::try_from(shared) else { return INVALID_VALUE };
        driver::cuLaunchKernel(
            default, func, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, stream, args,
            std::ptr::null_mut(),
        )
    }

    (Kernel, func) Context fn cudaLaunchKernelExC | cudaLaunchKernelExC_ptsz [default] (
        config: In<LaunchConfig>, func: usize, args: *mut *mut c_void
    ) {
        let Some(config) = config.get() else { return INVALID_VALUE };
        launch_ex(default, config, func, args)
    }

    (Kernel, func) Context fn cudaLaunchCooperativeKernel | cudaLaunchCooperativeKernel_ptsz [default] (
        func: usize, grid: Dim3, block: Dim3, args: *mut *mut c_void, shared: usize, stream: usize
    ) {
        if !known(func) {
            return INVALID_DEVICE_FUNCTION;
        }
        let Ok(shared) = u32::try_from(shared) else { return INVALID_VALUE };
        driver::cuLaunchCooperativeKernel(
            default, func, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, stream, args,
        )
    }

    None Context fn cudaLaunchHostFunc | cudaLaunchHostFunc_ptsz [default] (
        stream: usize, function: Option<extern "C" fn(*mut c_void)>, data: *mut c_void
    ) {
        driver::cuLaunchHostFunc(default, stream, function, data)
    }

    Graph Context fn cudaGraphLaunch | cudaGraphLaunch_ptsz [default] (exec: usize, stream: usize) {
        driver::cuGraphLaunch(default, exec, stream)
    }
}

fn launch_ex(
    default: DefaultStream,
    config: LaunchConfig,
    func: usize,
    args: *mut *mut c_void,
) -> CudaError {
    if !known(func) {
        return INVALID_DEVICE_FUNCTION;
    }
    let Ok(shared) = u32::try_from(config.shared) else {
        return INVALID_VALUE;
    };
    let mut driver_config = DriverLaunchConfig {
        grid: config.grid,
        block: config.block,
        shared,
        stream: config.stream,
        attributes: config.attributes,
        attribute_count: config.attribute_count,
    };
    let config = (&mut driver_config).into();
    driver::cuLaunchKernelEx(default, config, func, args, std::ptr::null_mut())
}

/// Whether a handle is a kernel's.
fn known(func: usize) -> bool {
    session::channel().is_some_and(|channel| !(channel.host.function_name)(func).is_null())
}
