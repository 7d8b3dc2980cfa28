//! Work for the cases to do.

use std::ffi::CString;

use sim_channel::find::Library;

use crate::api::{Driver, ONE, Runtime};

/// The driver, initialised, with the primary context of device 0 current.
pub(crate) fn driver() -> Driver {
    let driver = Driver::load(c"libcuda.so.1");
    assert_eq!((driver.cuInit)(0), 0);
    let mut context = 0;
    assert_eq!((driver.cuDevicePrimaryCtxRetain)(&mut context, 0), 0);
    assert_eq!((driver.cuCtxSetCurrent)(context), 0);
    driver
}

/// Initialises the driver for cases that only look on.
pub(crate) fn start() {
    let _: Driver = driver();
}

/// The runtime of CUDA 12, with device 0 current.
pub(crate) fn runtime() -> Runtime {
    let runtime = Runtime::load(c"libcudart.so.12");
    assert_eq!((runtime.cudaSetDevice)(0), 0);
    runtime
}

/// A kernel by name.
pub(crate) fn kernel(name: &str) -> usize {
    let library = Library::open(c"libcuda.so.1", libc::RTLD_NOW).expect("loaded");
    let symbol = library.symbol(c"warplens_sim_function").expect("exported");
    // SAFETY: the simulator exports this name with this signature.
    let function = unsafe {
        std::mem::transmute::<*mut libc::c_void, extern "C" fn(*const libc::c_char) -> usize>(
            symbol,
        )
    };
    let name = CString::new(name).expect("names have no NUL");
    function(name.as_ptr())
}

pub(crate) fn stream(driver: &Driver) -> usize {
    let mut stream = 0;
    assert_eq!((driver.cuStreamCreate)(&mut stream, 1), 0);
    stream
}

/// Launches with the driver.
pub(crate) fn launch(driver: &Driver, kernel: usize, stream: usize) -> i32 {
    let null = std::ptr::null_mut();
    (driver.cuLaunchKernel)(kernel, 1, 2, 3, 32, 1, 1, 0, stream, null, null)
}

/// Launches with the runtime.
pub(crate) fn run(runtime: &Runtime, kernel: usize, stream: usize) -> i32 {
    (runtime.cudaLaunchKernel)(kernel, ONE, ONE, std::ptr::null_mut(), 0, stream)
}

/// Loads PTX with one kernel; module and function.
pub(crate) fn module(driver: &Driver, name: &str) -> (usize, usize) {
    let ptx =
        CString::new(format!(".version 8.0\n.target sm_90\n.visible .entry {name}() {{ ret; }}"))
            .expect("no NUL");
    let (mut module, mut function) = (0, 0);
    assert_eq!((driver.cuModuleLoadData)(&mut module, ptx.as_ptr()), 0);
    let name = CString::new(name).expect("no NUL");
    assert_eq!((driver.cuModuleGetFunction)(&mut function, module, name.as_ptr()), 0);
    (module, function)
}
