//! The virtual device: time, waiting, devices, addresses of functions.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

use sim_channel::clock;
use sim_channel::find::Library;

use crate::api::Driver;
use crate::collect;
use crate::gpu;

pub(crate) fn waiting() {
    let driver = gpu::driver();
    let (busy, free) = (gpu::stream(&driver), gpu::stream(&driver));
    let event = |flags| {
        let mut event = 0;
        assert_eq!((driver.cuEventCreate)(&mut event, flags), 0);
        event
    };
    let (begin, end) = (event(0), event(0));
    let start = clock::now();
    assert_eq!((driver.cuEventRecord)(begin, busy), 0);
    assert_eq!(gpu::launch(&driver, gpu::kernel("long__sim50000000"), busy), 0);
    assert_eq!((driver.cuEventRecord)(end, busy), 0);
    assert_eq!((driver.cuEventQuery)(end), 600);
    assert_eq!((driver.cuStreamSynchronize)(free), 0);
    assert!(clock::now() - start < 50_000_000, "another stream does not wait");
    assert_eq!((driver.cuStreamWaitEvent)(free, end, 0), 0);
    assert_eq!(gpu::launch(&driver, gpu::kernel("after__sim1000"), free), 0);
    assert_eq!((driver.cuStreamSynchronize)(free), 0);
    assert!(clock::now() - start >= 50_001_000, "but it does after the event");
    assert_eq!((driver.cuEventQuery)(end), 0);
    assert_eq!((driver.cuEventSynchronize)(end), 0);
    let mut milliseconds = 0.0;
    assert_eq!((driver.cuEventElapsedTime)(&mut milliseconds, begin, end), 0);
    assert!((50.0..51.0).contains(&milliseconds), "{milliseconds}");
}

/// The runtime on its own: devices, memory, copies, a stream.
pub(crate) fn runtime() {
    let runtime = gpu::runtime();
    let (mut count, mut stream, mut address) = (0, 0, 0);
    assert_eq!((runtime.cudaGetDeviceCount)(&mut count), 0);
    assert_eq!((runtime.cudaSetDevice)(count), 101);
    assert_eq!((runtime.cudaStreamCreate)(&mut stream), 0);
    assert_eq!((runtime.cudaMalloc)(&mut address, 64), 0);
    assert_eq!((runtime.cudaMemsetAsync)(address, 0x105, 64, stream), 0);
    let mut back = [0u8; 64];
    let to = back.as_mut_ptr().expose_provenance() as u64;
    assert_eq!((runtime.cudaMemcpyAsync)(to, address, 64, 2, stream), 0);
    assert_eq!((runtime.cudaStreamSynchronize)(stream), 0);
    assert_eq!(back, [5; 64]);
    assert_eq!((runtime.cudaMemcpyAsync)(to, address, 64, 9, stream), 1);
    assert_eq!(gpu::run(&runtime, 12345, stream), 98, "not a kernel");
    assert_eq!((runtime.cudaGraphLaunch)(12345, stream), 400);
}

/// CUPTI's numbers agree with its records; attributes keep what they are given.
pub(crate) fn numbers() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    let mut context = 0;
    assert_eq!((driver.cuDevicePrimaryCtxRetain)(&mut context, 0), 0);
    let cupti = collect::record(&[10]);
    let (mut context_id, mut stream_id) = (0, 0);
    assert_eq!((cupti.cuptiGetContextId)(context, &mut context_id), 0);
    assert_eq!((cupti.cuptiGetContextId)(7, &mut context_id), 3);
    assert_eq!((cupti.cuptiGetStreamIdEx)(context, stream, 0, &mut stream_id), 0);
    assert_eq!(gpu::launch(&driver, gpu::kernel("k__sim1000"), stream), 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    let mut before = 0;
    assert_eq!((cupti.cuptiGetTimestamp)(&mut before), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let records = collect::take().records;
    assert_eq!((records[0].context, records[0].stream), (context_id, stream_id));
    assert!(before.abs_diff(records[0].end) < 1_000_000_000, "one clock");
    let mut size = 8;
    let mut value = 1u64 << 20;
    assert_eq!((cupti.cuptiActivitySetAttribute)(0, &mut size, (&raw mut value).cast()), 0);
    value = 0;
    assert_eq!((cupti.cuptiActivityGetAttribute)(0, &mut size, (&raw mut value).cast()), 0);
    assert_eq!((size, value), (8, 1 << 20));
    size = 1;
    assert_eq!((cupti.cuptiActivitySetAttribute)(0, &mut size, (&raw mut value).cast()), 10);
    assert_eq!((cupti.cuptiActivitySetAttribute)(99, &mut size, (&raw mut value).cast()), 1);
}

static CALLED_AT: AtomicU64 = AtomicU64::new(0);

extern "C" fn host(_data: *mut c_void) {
    CALLED_AT.store(clock::now(), Ordering::SeqCst);
}

pub(crate) fn host_function() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    let start = clock::now();
    assert_eq!(gpu::launch(&driver, gpu::kernel("k__sim20000000"), stream), 0);
    assert_eq!((driver.cuLaunchHostFunc)(stream, host, std::ptr::null_mut()), 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    let called = CALLED_AT.load(Ordering::SeqCst);
    assert!(called >= start + 20_000_000, "called after the kernel and before the wait ends");
}

/// Needs `WARPLENS_SIM_DEVICES=4` and `CUDA_VISIBLE_DEVICES=2,0`.
pub(crate) fn devices() {
    let driver = gpu::driver();
    let mut count = 0;
    assert_eq!((driver.cuDeviceGetCount)(&mut count), 0);
    assert_eq!(count, 2);
    let uuid = |device| {
        let mut uuid = [0; 16];
        assert_eq!((driver.cuDeviceGetUuid_v2)(&mut uuid, device), 0);
        uuid
    };
    // The last byte is the physical ordinal: the same in every process.
    assert_eq!((uuid(0)[15], uuid(1)[15]), (2, 0));
    assert!(uuid(0).starts_with(b"SIM-"));
    assert_eq!(uuid(0)[..12], uuid(1)[..12]);
}

/// The next launch starts when and runs as long as prescribed; one after it is ordinary.
pub(crate) fn prescribed() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    let cupti = collect::cupti();
    assert_eq!((cupti.cuptiActivityRegisterTimestampCallback)(monotonic), 0);
    collect::record(&[10]);
    let kernel = gpu::kernel("k__sim1000");
    let start = clock::now() + 5_000_000;
    (driver.warplens_sim_prescribe)(start, 77_777);
    assert_eq!(gpu::launch(&driver, kernel, stream), 0);
    assert_eq!(gpu::launch(&driver, kernel, stream), 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let times: Vec<(u64, u64)> = collect::take().records.iter().map(|r| (r.start, r.end)).collect();
    let end = start + 77_777;
    assert_eq!(times, [(start, end), (end, end + 1000)]);
}

extern "C" fn monotonic() -> u64 {
    clock::now()
}

/// `cuGetProcAddress` hands out exported addresses, of the newest and of the per-thread variant.
pub(crate) fn proc_address() {
    let driver = Driver::load(c"libcuda.so.1");
    let library = Library::open(c"libcuda.so.1", libc::RTLD_NOW).expect("loaded");
    let exported = |name| library.symbol(name).expect("exported").addr();
    let find = |name: &std::ffi::CStr, flags| {
        let mut address = 0;
        let mut status = -1;
        let function = driver.cuGetProcAddress_v2;
        let error = function(name.as_ptr(), &mut address, 12_080, flags, &raw mut status);
        (error, address, status)
    };
    assert_eq!(find(c"cuMemAlloc", 0), (0, exported(c"cuMemAlloc_v2"), 0));
    assert_eq!(find(c"cuLaunchKernel", 0), (0, exported(c"cuLaunchKernel"), 0));
    assert_eq!(find(c"cuLaunchKernel", 2), (0, exported(c"cuLaunchKernel_ptsz"), 0));
    assert_eq!(find(c"cuMemcpyHtoDAsync", 2), (0, exported(c"cuMemcpyHtoDAsync_v2_ptsz"), 0));
    assert_eq!(find(c"cuNoSuchThing", 0), (500, 0, 1));
    let mut table = std::ptr::null();
    assert_ne!((driver.cuGetExportTable)(&raw mut table, std::ptr::null()), 0);
}
