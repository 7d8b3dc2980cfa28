//! The functions of the three libraries that the cases call, looked up by name.

use std::ffi::{CStr, c_char, c_void};

use sim_channel::find::Library;

/// A C string for a name of this program's own.
pub(crate) fn c_name(name: &str) -> &CStr {
    CStr::from_bytes_with_nul(name.as_bytes()).expect("names end with NUL")
}

/// Declares a structure of functions of one library; all must be there.
macro_rules! library {
    ($(#[$doc:meta])* $name:ident { $(fn $function:ident($($type:ty),* $(,)?);)* }) => {
        $(#[$doc])*
        #[expect(non_snake_case, reason = "the names are CUDA's")]
        #[derive(Clone, Copy)]
        pub(crate) struct $name { $(pub(crate) $function: extern "C" fn($($type),*) -> i32),* }

        impl $name {
            pub(crate) fn load(file: &CStr) -> Self {
                let library = Library::open(file, libc::RTLD_NOW)
                    .unwrap_or_else(|| panic!("{file:?} does not load"));
                Self { $($function: {
                    let symbol = library
                        .symbol(c_name(concat!(stringify!($function), "\0")))
                        .unwrap_or_else(|| panic!("{file:?} has no {}", stringify!($function)));
                    // SAFETY: the library exports this name with this signature.
                    unsafe {
                        std::mem::transmute::<*mut c_void, extern "C" fn($($type),*) -> i32>(symbol)
                    }
                }),* }
            }
        }
    };
}

/// `dim3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Dim3 {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) z: u32,
}

pub(crate) const ONE: Dim3 = Dim3 { x: 1, y: 1, z: 1 };

library! {
    /// The driver.
    Driver {
        fn cuInit(u32);
        fn cuDeviceGetCount(&mut i32);
        fn cuDeviceGetUuid_v2(&mut [u8; 16], i32);
        fn cuDevicePrimaryCtxRetain(&mut usize, i32);
        fn cuCtxSetCurrent(usize);
        fn cuCtxSynchronize();
        fn cuStreamCreate(&mut usize, u32);
        fn cuStreamDestroy_v2(usize);
        fn cuStreamSynchronize(usize);
        fn cuStreamWaitEvent(usize, usize, u32);
        fn cuStreamBeginCapture_v2(usize, u32);
        fn cuStreamEndCapture(usize, &mut usize);
        fn cuEventCreate(&mut usize, u32);
        fn cuEventRecord(usize, usize);
        fn cuEventQuery(usize);
        fn cuEventSynchronize(usize);
        fn cuEventElapsedTime(&mut f32, usize, usize);
        fn cuModuleLoadData(&mut usize, *const c_char);
        fn cuModuleUnload(usize);
        fn cuModuleGetFunction(&mut usize, usize, *const c_char);
        fn cuLaunchKernel(
            usize, u32, u32, u32, u32, u32, u32, u32, usize, *mut *mut c_void, *mut *mut c_void,
        );
        fn cuLaunchHostFunc(usize, extern "C" fn(*mut c_void), *mut c_void);
        fn cuGraphInstantiateWithFlags(&mut usize, usize, u64);
        fn cuGraphLaunch(usize, usize);
        fn cuGraphClone(&mut usize, usize);
        fn cuGraphAddChildGraphNode(&mut usize, usize, *const usize, usize, usize);
        fn cuGraphExecUpdate_v2(usize, usize, &mut [u64; 3]);
        fn cuGraphDestroy(usize);
        fn cuGraphExecDestroy(usize);
        fn cuMemAlloc_v2(&mut u64, usize);
        fn cuMemFree_v2(u64);
        fn cuMemGetInfo_v2(&mut usize, &mut usize);
        fn cuMemcpyHtoD_v2(u64, *const c_void, usize);
        fn cuMemcpyDtoH_v2(*mut c_void, u64, usize);
        fn cuMemcpyDtoDAsync_v2(u64, u64, usize, usize);
        fn cuMemsetD8Async(u64, u8, usize, usize);
        fn cuMemsetD32_v2(u64, u32, usize);
        fn cuMemAddressReserve(&mut u64, usize, usize, u64, u64);
        fn cuMemAddressFree(u64, usize);
        fn cuMemCreate(&mut u64, usize, *const [u32; 8], u64);
        fn cuMemRelease(u64);
        fn cuMemMap(u64, usize, usize, u64, u64);
        fn cuMemUnmap(u64, usize);
        fn cuMemSetAccess(u64, usize, *const c_void, usize);
        fn cuGetProcAddress_v2(*const c_char, &mut usize, i32, u64, *mut i32);
        fn cuGetExportTable(*mut *const c_void, *const c_void);
        fn warplens_sim_prescribe(u64, u64);
    }
}

library! {
    /// The runtime.
    Runtime {
        fn cudaGetDeviceCount(&mut i32);
        fn cudaSetDevice(i32);
        fn cudaDeviceSynchronize();
        fn cudaStreamCreate(&mut usize);
        fn cudaStreamSynchronize(usize);
        fn cudaLaunchKernel(usize, Dim3, Dim3, *mut *mut c_void, usize, usize);
        fn cudaGraphLaunch(usize, usize);
        fn cudaMalloc(&mut u64, usize);
        fn cudaMemcpyAsync(u64, u64, usize, u32, usize);
        fn cudaMemsetAsync(u64, i32, usize, usize);
    }
}

/// The subscriber's function.
pub(crate) type Callback = extern "C" fn(*mut c_void, u32, u32, *const c_void);
/// Asks for a buffer, takes it back.
pub(crate) type Request = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
pub(crate) type Complete = extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

library! {
    /// CUPTI, as far as every version has it.
    Cupti {
        fn cuptiGetVersion(&mut u32);
        fn cuptiSubscribe(&mut usize, Callback, *mut c_void);
        fn cuptiUnsubscribe(usize);
        fn cuptiEnableCallback(u32, usize, u32, u32);
        fn cuptiEnableDomain(u32, usize, u32);
        fn cuptiActivityRegisterCallbacks(Request, Complete);
        fn cuptiActivityRegisterTimestampCallback(extern "C" fn() -> u64);
        fn cuptiActivityEnable(u32);
        fn cuptiActivityDisable(u32);
        fn cuptiActivityFlushAll(u32);
        fn cuptiActivitySetAttribute(u32, &mut usize, *mut c_void);
        fn cuptiActivityGetAttribute(u32, &mut usize, *mut c_void);
        fn cuptiActivityGetNextRecord(*const u8, usize, &mut *const u8);
        fn cuptiActivityGetNumDroppedRecords(usize, u32, &mut usize);
        fn cuptiActivityPushExternalCorrelationId(u32, u64);
        fn cuptiActivityPopExternalCorrelationId(u32, &mut u64);
        fn cuptiGetContextId(usize, &mut u32);
        fn cuptiGetStreamIdEx(usize, usize, u8, &mut u32);
        fn cuptiGetGraphNodeId(usize, &mut u64);
        fn cuptiGetTimestamp(&mut u64);
        fn cuptiFinalize();
    }
}

/// The CUPTI whose major the case is about.
pub(crate) fn cupti_file() -> &'static CStr {
    let version = std::env::var("WARPLENS_SIM_CUPTI").unwrap_or_default();
    if version.starts_with("13") { c"libcupti.so.13" } else { c"libcupti.so.12" }
}
