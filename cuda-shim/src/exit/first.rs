//! Whose handler comes first at the process's exit. Handlers are run in reverse, and CUPTI registers its own when it is
//! loaded and in its first calls: they would take apart what the thread that starts the shim is still calling, before
//! the wait for that thread, which was registered earlier. So while it starts, whoever registers a handler has it wait
//! itself.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::wait_for_start;
use crate::slots::{Exchange, Export, lead_back, lead_there};

type Handler = extern "C" fn(*mut c_void);
type Register = unsafe extern "C" fn(Option<Handler>, *mut c_void, *mut c_void) -> c_int;

/// The C library's function, stored before anybody can come to its stand-in.
static REAL: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// As long as it is there, handlers that are registered wait before they do anything.
pub(crate) struct First {
    exports: [(Export, Exchange); 1],
}

impl First {
    /// `None`: the function is not found as a plain symbol of a library. Then an exit in the first milliseconds may
    /// take CUPTI apart while it is called.
    pub(crate) fn hold() -> Option<Self> {
        // SAFETY: a NUL-terminated name.
        let real = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__cxa_atexit".as_ptr()) };
        let stand_in: Register = register;
        // Another start that is under way, or was in the process that forked this one, holds it.
        let real = NonNull::new(real).filter(|real| real.as_ptr().cast_const() != stand_in as _)?;
        REAL.store(real.as_ptr(), Ordering::Release);
        let exchange = Exchange {
            from: real.as_ptr().expose_provenance() as u64,
            to: (stand_in as *const c_void).expose_provenance() as u64,
        };
        let exports = [(Export::find(real)?, exchange)];
        lead_there(&exports);
        Some(Self { exports })
    }
}

impl Drop for First {
    fn drop(&mut self) {
        lead_back(&self.exports);
    }
}

/// A handler as it was registered.
struct Registered {
    handler: Handler,
    argument: *mut c_void,
}

/// Stands in for `__cxa_atexit`.
unsafe extern "C" fn register(
    handler: Option<Handler>,
    argument: *mut c_void,
    object: *mut c_void,
) -> c_int {
    let address = REAL.load(Ordering::Acquire);
    // SAFETY: `hold` stored the function of this name, which has this type, before a slot led here.
    let real = unsafe { std::mem::transmute::<*mut c_void, Register>(address) };
    let Some(handler) = handler else {
        // SAFETY: the caller's call, as it was made.
        return unsafe { real(None, argument, object) };
    };
    // As long as the process, like the C library's own entry.
    let registered = Box::into_raw(Box::new(Registered { handler, argument }));
    // SAFETY: a function of a library that stays, with what it expects; the rest is the caller's call.
    unsafe { real(Some(waits), registered.cast(), object) }
}

/// What is registered in a handler's place.
extern "C" fn waits(registered: *mut c_void) {
    wait_for_start();
    // SAFETY: `register` made it, and nobody frees it.
    let Registered { handler, argument } = unsafe { &*registered.cast::<Registered>() };
    handler(*argument);
}
