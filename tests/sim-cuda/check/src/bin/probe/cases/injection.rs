//! `CUDA_INJECTION64_PATH`, as the real driver was measured to treat it.

use std::ffi::CString;

use sim_channel::find::Library;

use crate::api::Driver;

fn calls() -> i32 {
    let path = CString::new(std::env::var("CUDA_INJECTION64_PATH").unwrap()).unwrap();
    let Some(library) = Library::open(&path, libc::RTLD_NOW | libc::RTLD_NOLOAD) else {
        return 0;
    };
    let symbol = library.symbol(c"sim_injected_calls").expect("exported");
    // SAFETY: the library exports this name with this signature.
    let calls = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(symbol) };
    calls()
}

/// Not before `cuInit`; again at the next one after an answer of 0, never again after 1; also without a
/// device.
pub(crate) fn injection() {
    let driver = Driver::load(c"libcuda.so.1");
    assert_eq!(calls(), 0);
    let mut count = 0;
    assert_eq!((driver.cuDeviceGetCount)(&mut count), 3);
    assert_eq!(calls(), 0);
    let devices = std::env::var("WARPLENS_SIM_DEVICES").unwrap_or_default();
    let expected = if devices == "0" { 100 } else { 0 };
    let again = std::env::var("SIM_INJECTED_ANSWER").unwrap() == "0";
    for round in 1..=3 {
        assert_eq!((driver.cuInit)(0), expected);
        assert_eq!(calls(), if again { round } else { 1 });
    }
}

/// A library that is not there, or has no entry point, is ignored.
pub(crate) fn missing() {
    let driver = Driver::load(c"libcuda.so.1");
    assert_eq!((driver.cuInit)(0), 0);
}
