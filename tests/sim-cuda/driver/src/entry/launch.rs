//! Kernel and graph launches.

use std::ffi::c_void;

use sim_channel::raw::In;

use crate::api::{self, Call};
use crate::entry::driver_api;
use crate::error::{Cu, INVALID_VALUE};
use crate::stream::{self, DefaultStream};
use crate::work::{self, Kernel, Task};
use crate::{exec, module, replay};

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    stream: usize,
    attributes: In<c_void>,
    attribute_count: u32,
}

/// CUPTI's launch types.
const REGULAR: u8 = 0;
const COOPERATIVE: u8 = 1;

driver_api! {
    (Kernel, module::symbol(f)) fn cuLaunchKernel | cuLaunchKernel_ptsz [call, default] (
        f: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: usize, params: *mut *mut c_void, extra: *mut *mut c_void
    ) {
        let _ = (params, extra);
        let shape = Shape {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            shared,
            launch_type: REGULAR,
        };
        launch(call, f, stream, default, shape)
    }

    (Kernel, module::symbol(f)) fn cuLaunchKernelEx | cuLaunchKernelEx_ptsz [call, default] (
        config: In<LaunchConfig>, f: usize, params: *mut *mut c_void, extra: *mut *mut c_void
    ) {
        let _ = (params, extra);
        let config = config.get().ok_or(INVALID_VALUE)?;
        let _ = (config.attributes, config.attribute_count);
        let shape = Shape {
            grid: config.grid,
            block: config.block,
            shared: config.dynamic_shared,
            launch_type: REGULAR,
        };
        launch(call, f, config.stream, default, shape)
    }

    (Kernel, module::symbol(f)) fn cuLaunchCooperativeKernel | cuLaunchCooperativeKernel_ptsz [call, default] (
        f: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: usize, params: *mut *mut c_void
    ) {
        let _ = params;
        let shape = Shape {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            shared,
            launch_type: COOPERATIVE,
        };
        launch(call, f, stream, default, shape)
    }

    Graph fn cuGraphLaunch | cuGraphLaunch_ptsz [call, default] (exec: usize, stream: usize) {
        let exec = exec::get(exec)?;
        let stream = stream::resolve(stream, default)?;
        api::launch_may_fail()?;
        replay::launch(call, &stream, &exec)
    }
}

#[derive(Clone, Copy)]
struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    launch_type: u8,
}

fn launch(call: &Call, f: usize, stream: usize, default: DefaultStream, shape: Shape) -> Cu {
    let function = module::function(f)?;
    let stream = stream::resolve(stream, default)?;
    let threads: u64 = shape.block.iter().map(|&n| u64::from(n)).product();
    if shape.grid.contains(&0) || threads == 0 || threads > 1024 {
        return Err(INVALID_VALUE);
    }
    api::launch_may_fail()?;
    let kernel = Kernel {
        function,
        grid: shape.grid,
        block: shape.block,
        dynamic_shared: shape.shared,
        launch_type: shape.launch_type,
    };
    work::launch(call, &stream, &Task::Kernel(kernel)).map(drop)
}
