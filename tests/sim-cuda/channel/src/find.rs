//! Finds the simulated libcuda in this process.

use std::ffi::CStr;

use crate::{ABI, CHANNEL_SYMBOL, Channel};

/// The channel of the `libcuda.so.1` that is loaded, if that one is the simulator.
pub fn channel() -> Option<&'static Channel> {
    let library = Library::open(c"libcuda.so.1", libc::RTLD_NOW | libc::RTLD_NOLOAD)?;
    let symbol = library.symbol(CHANNEL_SYMBOL)?;
    // SAFETY: only the simulator exports this name, with this signature.
    let get = unsafe {
        std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> *const Channel>(symbol)
    };
    // SAFETY: the simulator returns the address of its static, which is never unloaded.
    let channel = unsafe { get().as_ref() }?;
    (channel.abi == ABI).then_some(channel)
}

/// A loaded library, never closed.
#[derive(Clone, Copy, Debug)]
pub struct Library(*mut libc::c_void);

// SAFETY: a handle of dlopen may be used from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// `dlopen`; `None` when it fails.
    pub fn open(name: &CStr, flags: i32) -> Option<Self> {
        // SAFETY: `name` is a C string; what the library's constructors do is its own affair.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
        (!handle.is_null()).then_some(Self(handle))
    }

    /// `dlsym`.
    pub fn symbol(self, name: &CStr) -> Option<*mut libc::c_void> {
        // SAFETY: the handle comes from `open` and is never closed; `name` is a C string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }
}
