//! Subscribes to the calls the shim subscribes to and does nothing when they come.

use std::ffi::c_void;
use std::ptr::null_mut;

use cupti_sys::callback::{DOMAIN_DRIVER, DOMAIN_RUNTIME, DRIVER_CALLS, RUNTIME_CALLS};
use cupti_sys::function::{EnableCallback, Subscribe};

extern "C" fn on_callback(_user: *mut c_void, _domain: u32, _id: u32, _data: *const c_void) {}

/// Called by the driver. Always answers 1; whether it subscribed shows in what a launch costs.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjection() -> i32 {
    // SAFETY: the name is a C string.
    let cupti = unsafe { libc::dlopen(c"libcupti.so.12".as_ptr(), libc::RTLD_NOW) };
    if cupti.is_null() {
        return 1;
    }
    // SAFETY: an open library and a C string.
    let subscribe = unsafe { libc::dlsym(cupti, c"cuptiSubscribe".as_ptr()) };
    // SAFETY: as above.
    let enable = unsafe { libc::dlsym(cupti, c"cuptiEnableCallback".as_ptr()) };
    if subscribe.is_null() || enable.is_null() {
        return 1;
    }
    // SAFETY: CUPTI documents this type for the symbol.
    let subscribe: Subscribe = unsafe { std::mem::transmute(subscribe) };
    // SAFETY: as above.
    let enable: EnableCallback = unsafe { std::mem::transmute(enable) };
    let mut subscriber = null_mut();
    // SAFETY: a live out pointer and a callback that lives for ever.
    if unsafe { subscribe(&raw mut subscriber, on_callback, null_mut()) } != 0 {
        return 1;
    }
    for (domain, calls) in [(DOMAIN_RUNTIME, RUNTIME_CALLS), (DOMAIN_DRIVER, DRIVER_CALLS)] {
        for &(id, _) in calls {
            // SAFETY: a live subscriber; unknown ids are refused.
            unsafe { enable(1, subscriber, domain, id) };
        }
    }
    1
}
