//! The driver functions the runtime calls, looked up in libcuda by name: the exported addresses, so that
//! whoever probes them sees every call.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use sim_channel::raw::{In, Out};

use crate::entry::launch::DriverLaunchConfig;
use crate::session::{self, CudaError, NOT_FOUND};

/// Which default stream a null handle means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultStream {
    Legacy,
    PerThread,
}

fn look_up(name: &str) -> Option<*mut c_void> {
    session::library()?.symbol(CStr::from_bytes_with_nul(name.as_bytes()).ok()?)
}

/// Declares driver functions: `fn NAME(arguments)`, or `stream SUFFIX fn NAME(arguments)` for those with
/// a per-thread variant, which take a [`DefaultStream`] first.
macro_rules! driver {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?);)*) => {$(
        #[expect(non_snake_case, reason = "the name is CUDA's")]
        pub(crate) fn $name($($arg: $type),*) -> CudaError {
            type Function = extern "C" fn($($type),*) -> CudaError;
            static FOUND: OnceLock<Option<Function>> = OnceLock::new();
            let found = FOUND.get_or_init(|| {
                let symbol = look_up(concat!(stringify!($name), "\0"))?;
                // SAFETY: the simulated libcuda exports this name with this signature.
                Some(unsafe { std::mem::transmute::<*mut c_void, Function>(symbol) })
            });
            found.map_or(NOT_FOUND, |function| function($($arg),*))
        }
    )*};
}

/// The same for functions with a per-thread variant.
macro_rules! stream_driver {
    ($($(#[$meta:meta])* $suffix:literal fn $name:ident($($arg:ident: $type:ty),* $(,)?);)*) => {$(
        $(#[$meta])*
        #[expect(non_snake_case, reason = "the name is CUDA's")]
        pub(crate) fn $name(default: DefaultStream, $($arg: $type),*) -> CudaError {
            type Function = extern "C" fn($($type),*) -> CudaError;
            static LEGACY: OnceLock<Option<Function>> = OnceLock::new();
            static PER_THREAD: OnceLock<Option<Function>> = OnceLock::new();
            let (cell, name) = match default {
                DefaultStream::Legacy => (&LEGACY, concat!(stringify!($name), "\0")),
                DefaultStream::PerThread => {
                    (&PER_THREAD, concat!(stringify!($name), $suffix, "\0"))
                }
            };
            let found = cell.get_or_init(|| {
                let symbol = look_up(name)?;
                // SAFETY: the simulated libcuda exports both names with this signature.
                Some(unsafe { std::mem::transmute::<*mut c_void, Function>(symbol) })
            });
            found.map_or(NOT_FOUND, |function| function($($arg),*))
        }
    )*};
}

driver! {
    fn cuInit(flags: u32);
    fn cuDriverGetVersion(version: Out<i32>);
    fn cuGetErrorName(error: i32, text: Out<*const c_char>);
    fn cuGetErrorString(error: i32, text: Out<*const c_char>);
    fn cuDeviceGetCount(count: Out<i32>);
    fn cuDeviceGetAttribute(value: Out<i32>, attribute: i32, device: i32);
    fn cuDeviceGetPCIBusId(text: Out<c_char>, length: i32, device: i32);
    fn cuDevicePrimaryCtxRetain(context: Out<usize>, device: i32);
    fn cuCtxSetCurrent(context: usize);
    fn cuCtxSynchronize();
    fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>);
    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize);
    fn cuMemAllocPitch_v2(
        address: Out<u64>, pitch: Out<usize>, width: usize, height: usize, element: u32,
    );
    fn cuMemFree_v2(address: u64);
    fn cuMemAllocManaged(address: Out<u64>, bytes: usize, flags: u32);
    fn cuMemHostAlloc(address: Out<u64>, bytes: usize, flags: u32);
    fn cuMemAllocHost_v2(address: Out<u64>, bytes: usize);
    fn cuMemFreeHost(address: u64);
    fn cuMemHostRegister_v2(address: u64, bytes: usize, flags: u32);
    fn cuMemHostUnregister(address: u64);
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>);
    fn cuStreamCreate(stream: Out<usize>, flags: u32);
    fn cuStreamCreateWithPriority(stream: Out<usize>, flags: u32, priority: i32);
    fn cuStreamDestroy_v2(stream: usize);
    fn cuEventCreate(event: Out<usize>, flags: u32);
    fn cuEventDestroy_v2(event: usize);
    fn cuEventQuery(event: usize);
    fn cuEventSynchronize(event: usize);
    fn cuEventElapsedTime(milliseconds: Out<f32>, start: usize, end: usize);
    fn cuGraphCreate(graph: Out<usize>, flags: u32);
    fn cuGraphDestroy(graph: usize);
    fn cuGraphInstantiateWithFlags(exec: Out<usize>, graph: usize, flags: u64);
    fn cuGraphExecDestroy(exec: usize);
    fn cuGraphGetNodes(graph: usize, nodes: Out<usize>, count: Out<usize>);
}

stream_driver! {
    "_ptsz" fn cuStreamSynchronize(stream: usize);
    "_ptsz" fn cuStreamQuery(stream: usize);
    "_ptsz" fn cuStreamWaitEvent(stream: usize, event: usize, flags: u32);
    "_ptsz" fn cuStreamBeginCapture_v2(stream: usize, mode: u32);
    "_ptsz" fn cuStreamEndCapture(stream: usize, graph: Out<usize>);
    "_ptsz" fn cuStreamIsCapturing(stream: usize, status: Out<u32>);
    "_ptsz" fn cuEventRecord(event: usize, stream: usize);
    "_ptsz" fn cuLaunchHostFunc(
        stream: usize, function: Option<extern "C" fn(*mut c_void)>, data: *mut c_void,
    );
    #[expect(clippy::too_many_arguments, reason = "as many as CUDA's")]
    "_ptsz" fn cuLaunchKernel(
        f: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: usize, params: *mut *mut c_void, extra: *mut *mut c_void,
    );
    "_ptsz" fn cuLaunchKernelEx(
        config: In<DriverLaunchConfig>, f: usize, params: *mut *mut c_void,
        extra: *mut *mut c_void,
    );
    #[expect(clippy::too_many_arguments, reason = "as many as CUDA's")]
    "_ptsz" fn cuLaunchCooperativeKernel(
        f: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: usize, params: *mut *mut c_void,
    );
    "_ptsz" fn cuGraphLaunch(exec: usize, stream: usize);
    "_ptsz" fn cuGraphUpload(exec: usize, stream: usize);
    "_ptsz" fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: usize);
    "_ptsz" fn cuMemFreeAsync(address: u64, stream: usize);
    "_ptds" fn cuMemcpy(to: u64, from: u64, bytes: usize);
    "_ptds" fn cuMemcpyHtoD_v2(to: u64, from: u64, bytes: usize);
    "_ptds" fn cuMemcpyDtoH_v2(to: u64, from: u64, bytes: usize);
    "_ptds" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize);
    "_ptsz" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: usize);
    "_ptsz" fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize);
    "_ptsz" fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: usize, stream: usize);
    "_ptsz" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize);
    "_ptds" fn cuMemsetD8_v2(to: u64, value: u8, count: usize);
    "_ptsz" fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: usize);
}
