//! Callbacks of a subscription that another tool made while the shim listened. They pass through here, so that the shim
//! can use the one subscription a process may have while its owner has nothing to do: torch's profiler never gives its own up.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use super::PRESENCE;
use crate::buffers::Origin;
use crate::calls::on_callback;
use crate::shim::Shim;

/// The owner's function: a C++ one, whose exceptions pass through.
type Callback = unsafe extern "C-unwind" fn(*mut c_void, u32, u32, *const c_void);

/// The owner's functions for buffers.
type Requested = unsafe extern "C-unwind" fn(*mut *mut u8, *mut usize, *mut usize);
type Completed = unsafe extern "C-unwind" fn(*mut c_void, u32, *mut u8, usize, usize);

/// The shim is a guest of the subscription.
static GUEST: AtomicBool = AtomicBool::new(false);

/// Begins or ends the shim's stay.
pub(crate) fn set_guest(guest: bool) {
    GUEST.store(guest, Ordering::SeqCst);
}

#[expect(ffi_unwind_calls, reason = "an exception of the owner's is its own affair")]
/// CUPTI's callback for the relayed subscription; `user_data` is the shim.
pub(crate) extern "C-unwind" fn relay(
    user_data: *mut c_void,
    domain: u32,
    id: u32,
    data: *const c_void,
) {
    if GUEST.load(Ordering::Relaxed) {
        on_callback(user_data, domain, id, data);
    }
    if !PRESENCE.is_wanted(domain, id) {
        return;
    }
    let (callback, argument) = PRESENCE.callback();
    if callback.is_null() {
        return;
    }
    // SAFETY: the owner passed this function to `cuptiSubscribe` with this argument.
    let callback = unsafe { std::mem::transmute::<*mut c_void, Callback>(callback) };
    // SAFETY: what CUPTI would have called, with what CUPTI told.
    unsafe { callback(argument, domain, id, data) };
}

/// CUPTI's completion callback for the owner's buffers. CUPTI may still have empty ones of the shim's from before: what it
/// writes there is the owner's, who gets it in a buffer of its own.
pub(crate) extern "C-unwind" fn take_back(
    context: *mut c_void,
    stream: u32,
    buffer: *mut u8,
    size: usize,
    valid: usize,
) {
    let lent = Shim::get().map(|shim| (shim, shim.pool.origin(buffer)));
    let Some((shim, Origin::Pool(index))) = lent else {
        return give_back(context, stream, buffer, size, valid);
    };
    let valid = valid.min(size);
    if valid > 0
        && let Some((theirs, room)) = request()
    {
        // The owner's buffer goes back to it in any case, empty where the records do not fit.
        let copied = if room >= valid { valid } else { 0 };
        // SAFETY: `valid` bytes that CUPTI wrote, into another buffer with room for them.
        unsafe { std::ptr::copy_nonoverlapping(buffer, theirs, copied) };
        give_back(context, stream, theirs, room, copied);
    }
    shim.pool.put(index, valid);
}

/// Gives a buffer to the function that the owner registered.
#[expect(ffi_unwind_calls, reason = "an exception of the owner's is its own affair")]
pub(crate) fn give_back(
    context: *mut c_void,
    stream: u32,
    buffer: *mut u8,
    size: usize,
    valid: usize,
) {
    let (_, completed) = PRESENCE.buffers();
    if completed.is_null() {
        return;
    }
    // SAFETY: the owner passed this function to `cuptiActivityRegisterCallbacks`.
    let completed = unsafe { std::mem::transmute::<*mut c_void, Completed>(completed) };
    // SAFETY: a buffer of the owner's, as CUPTI would have given it back.
    unsafe { completed(context, stream, buffer, size, valid) };
}

/// A buffer of the owner's and its bytes.
#[expect(ffi_unwind_calls, reason = "an exception of the owner's is its own affair")]
fn request() -> Option<(*mut u8, usize)> {
    let (requested, _) = PRESENCE.buffers();
    if requested.is_null() {
        return None;
    }
    // SAFETY: the owner passed this function to `cuptiActivityRegisterCallbacks`.
    let requested = unsafe { std::mem::transmute::<*mut c_void, Requested>(requested) };
    let (mut buffer, mut size, mut most) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: three live out pointers, as CUPTI passes them.
    unsafe { requested(&raw mut buffer, &raw mut size, &raw mut most) };
    (!buffer.is_null()).then_some((buffer, size))
}
