//! Subscribes to the calls the shim subscribes to and does nothing when they come. With
//! `EMPTY_SUBSCRIBER_RECORDS=1` also asks for kernel records and throws the buffers away: what
//! is left of the shim's cost above that is the shim's own.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use cupti_sys::callback::{DOMAIN_DRIVER, DOMAIN_RUNTIME, DRIVER_CALLS, RUNTIME_CALLS};
use cupti_sys::function::{ActivityKind, ActivityRegisterCallbacks, EnableCallback, Subscribe};
use cupti_sys::record::CONCURRENT_KERNEL;

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
    if std::env::var_os("EMPTY_SUBSCRIBER_RECORDS").is_some() {
        ask_for_records(cupti);
    }
    for (domain, calls) in [(DOMAIN_RUNTIME, RUNTIME_CALLS), (DOMAIN_DRIVER, DRIVER_CALLS)] {
        for &(id, _) in calls {
            // SAFETY: a live subscriber; unknown ids are refused.
            unsafe { enable(1, subscriber, domain, id) };
        }
    }
    1
}

/// Buffers are taken from a small ring; nobody reads them, so it does not matter that they are
/// handed out again.
const BUFFER_BYTES: usize = 128 << 10;
static NEXT: AtomicUsize = AtomicUsize::new(0);
static BUFFERS: AtomicPtr<u8> = AtomicPtr::new(null_mut());

extern "C" fn on_requested(buffer: *mut *mut u8, size: *mut usize, limit: *mut usize) {
    let index = NEXT.fetch_add(1, Ordering::Relaxed) % 64;
    let start = BUFFERS.load(Ordering::Relaxed).wrapping_add(index * BUFFER_BYTES);
    // SAFETY: CUPTI passes three live out pointers.
    unsafe { buffer.write(start) };
    // SAFETY: as above.
    unsafe { size.write(BUFFER_BYTES) };
    // SAFETY: as above.
    unsafe { limit.write(0) };
}

extern "C" fn on_completed(_: *mut c_void, _: u32, _: *mut u8, _: usize, _: usize) {}

fn ask_for_records(cupti: *mut c_void) {
    let buffers = vec![0_u64; 64 * BUFFER_BYTES / 8].leak();
    BUFFERS.store(buffers.as_mut_ptr().cast(), Ordering::Relaxed);
    // SAFETY: an open library and a C string.
    let register = unsafe { libc::dlsym(cupti, c"cuptiActivityRegisterCallbacks".as_ptr()) };
    // SAFETY: as above.
    let enable = unsafe { libc::dlsym(cupti, c"cuptiActivityEnable".as_ptr()) };
    if register.is_null() || enable.is_null() {
        return;
    }
    // SAFETY: CUPTI documents this type for the symbol.
    let register: ActivityRegisterCallbacks = unsafe { std::mem::transmute(register) };
    // SAFETY: as above.
    let enable: ActivityKind = unsafe { std::mem::transmute(enable) };
    // SAFETY: both functions live for ever.
    unsafe { register(on_requested, on_completed) };
    // SAFETY: a plain call.
    unsafe { enable(CONCURRENT_KERNEL) };
}
