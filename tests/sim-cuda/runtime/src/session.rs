//! The runtime's hidden work: loading the driver, initialising it, giving threads a context.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use sim_channel::find::{self, Library};
use sim_channel::raw::Out;
use sim_channel::{Channel, Frame, Site};

use crate::driver;

/// What runtime functions return; numbers agree with the driver's.
pub(crate) type CudaError = i32;

pub(crate) const INVALID_VALUE: CudaError = 1;
pub(crate) const INSUFFICIENT_DRIVER: CudaError = 35;
pub(crate) const INVALID_DEVICE_FUNCTION: CudaError = 98;
pub(crate) const INVALID_DEVICE: CudaError = 101;
/// `CUDA_ERROR_NOT_FOUND`, for a function the driver does not export.
pub(crate) const NOT_FOUND: CudaError = 500;

/// Devices a process can see.
const DEVICES: usize = 64;

static VERSION: AtomicI32 = AtomicI32::new(12_090);
/// Primary context per device, 0 until retained.
static PRIMARY: [AtomicUsize; DEVICES] = [const { AtomicUsize::new(0) }; DEVICES];

thread_local! {
    static DEVICE: Cell<i32> = const { Cell::new(0) };
    /// Device whose primary context this thread has current, or -1.
    static BOUND: Cell<i32> = const { Cell::new(-1) };
    static LAST_ERROR: Cell<CudaError> = const { Cell::new(0) };
}

pub(crate) fn set_version(major: i32) {
    VERSION.store(if major == 12 { 12_090 } else { 13_050 }, Ordering::Relaxed);
}

/// What `cudaRuntimeGetVersion` answers.
pub(crate) fn version() -> i32 {
    VERSION.load(Ordering::Relaxed)
}

/// The driver library, loaded at first use as the real runtime does.
pub(crate) fn library() -> Option<Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    *LIBRARY.get_or_init(|| Library::open(c"libcuda.so.1", libc::RTLD_NOW))
}

/// The channel to the simulated driver; the real one is too little for this runtime.
pub(crate) fn channel() -> Option<&'static Channel> {
    static CHANNEL: OnceLock<Option<&'static Channel>> = OnceLock::new();
    *CHANNEL.get_or_init(|| library().and_then(|_| find::channel()))
}

/// What a call needs before it can be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// An initialised driver.
    Driver,
    /// And a current context.
    Context,
}

/// Runs the body of an exported function as one runtime call.
pub(crate) fn run(
    site: &'static Site,
    params: *const c_void,
    function: usize,
    need: Need,
    body: impl FnOnce() -> CudaError,
) -> CudaError {
    let result = open(need, |channel| {
        let symbol =
            if function == 0 { std::ptr::null() } else { (channel.host.function_name)(function) };
        let mut frame = Frame::new(site, params, symbol);
        let refused = (channel.host.enter)(&raw mut frame);
        if refused != 0 {
            return refused;
        }
        let result = body();
        (channel.host.exit)(&raw mut frame, result);
        result
    });
    if result != 0 {
        LAST_ERROR.set(result);
    }
    result
}

fn open(need: Need, call: impl FnOnce(&'static Channel) -> CudaError) -> CudaError {
    let Some(channel) = channel() else {
        return INSUFFICIENT_DRIVER;
    };
    let error = driver_ready(channel);
    if error != 0 {
        return error;
    }
    if need == Need::Context {
        let error = bind(DEVICE.get());
        if error != 0 {
            return error;
        }
    }
    call(channel)
}

fn driver_ready(channel: &Channel) -> CudaError {
    match (channel.host.state)() {
        sim_channel::State::Ready => 0,
        sim_channel::State::Before
        | sim_channel::State::Injecting
        | sim_channel::State::NoDevice
        | sim_channel::State::Forked => driver::cuInit(0),
    }
}

/// Gives the thread the primary context of a device.
pub(crate) fn bind(device: i32) -> CudaError {
    if BOUND.get() == device {
        return 0;
    }
    let Some(primary) = usize::try_from(device).ok().and_then(|index| PRIMARY.get(index)) else {
        return INVALID_DEVICE;
    };
    let mut context = primary.load(Ordering::Acquire);
    if context == 0 {
        let error = driver::cuDevicePrimaryCtxRetain((&mut context).into(), device);
        if error != 0 {
            return error;
        }
        primary.store(context, Ordering::Release);
    }
    let error = driver::cuCtxSetCurrent(context);
    if error == 0 {
        BOUND.set(device);
    }
    error
}

/// `cudaSetDevice`.
pub(crate) fn set_device(device: i32) -> CudaError {
    let mut count = 0;
    let error = driver::cuDeviceGetCount((&mut count).into());
    if error != 0 {
        return error;
    }
    if !(0..count).contains(&device) {
        return INVALID_DEVICE;
    }
    DEVICE.set(device);
    bind(device)
}

pub(crate) fn device() -> i32 {
    DEVICE.get()
}

/// The last error of this thread; forgets it.
pub(crate) fn take_last_error() -> CudaError {
    LAST_ERROR.take()
}

pub(crate) fn peek_last_error() -> CudaError {
    LAST_ERROR.get()
}

/// Stores an answer.
pub(crate) fn put<T: Copy>(out: Out<T>, value: T) -> CudaError {
    if out.put(value) { 0 } else { INVALID_VALUE }
}
