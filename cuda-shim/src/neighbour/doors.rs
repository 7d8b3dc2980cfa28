//! Stand-ins for the functions by which another tool takes CUPTI. Each lets the shim leave first, passes the call on as it
//! is, and keeps what came of it. They run on the other's threads, inside its own call, not in a callback of CUPTI's.

use std::ffi::{CStr, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use cupti_sys::function as f;
use cupti_sys::result::{CuptiResult, SUCCESS, UNKNOWN};

use super::PRESENCE;
use super::relay::{relay, take_back};
use crate::bell;
use crate::boundary::at_boundary;
use crate::gate::ALIVE;
use crate::loader::Library;
use crate::shim::Shim;
use crate::slots::{Exchange, Export, lead_back, lead_there};
use crate::teller::now_ns;

/// So long does the other wait for the shim to leave, at most; a flush takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// One of the functions.
struct Door {
    symbol: &'static CStr,
    stand_in: *const c_void,
    real: &'static AtomicPtr<c_void>,
}

// SAFETY: addresses of functions.
unsafe impl Sync for Door {}

/// Declares stand-ins: name, symbol, arguments, and what a success means.
macro_rules! doors {
    ($($name:ident, $symbol:literal, ($($argument:ident: $kind:ty),*) $after:block)*) => {
        $(
            mod $name {
                pub(super) static REAL: super::AtomicPtr<super::c_void> =
                    super::AtomicPtr::new(super::null_mut());
            }

            extern "C" fn $name($($argument: $kind),*) -> CuptiResult {
                knock();
                // SAFETY: `find` stored the function of this name, which has this type.
                let Some(real) = (unsafe {
                    function::<unsafe extern "C" fn($($kind),*) -> CuptiResult>(&$name::REAL)
                }) else {
                    return UNKNOWN;
                };
                // SAFETY: the caller's call, as it was made.
                let result = unsafe { real($($argument),*) };
                if result == SUCCESS {
                    $after
                }
                result
            }
        )*

        /// Those whose call is passed on with the arguments it was made with.
        static PLAIN: &[Door] = &[$(Door {
            symbol: $symbol,
            stand_in: $name as *const c_void,
            real: &$name::REAL,
        }),*];
    };
}

doors! {
    unsubscribe, c"cuptiUnsubscribe", (subscriber: f::Subscriber) {
        PRESENCE.unsubscribed(subscriber);
    }
    finalize, c"cuptiFinalize", () {
        PRESENCE.finalized();
    }
    enable_callback, c"cuptiEnableCallback",
        (enable: u32, subscriber: f::Subscriber, domain: u32, id: u32) {
        PRESENCE.wants(domain, id, enable != 0);
    }
    enable_domain, c"cuptiEnableDomain", (enable: u32, subscriber: f::Subscriber, domain: u32) {
        PRESENCE.wants_domain(Some(domain), enable != 0);
    }
    enable_all_domains, c"cuptiEnableAllDomains", (enable: u32, subscriber: f::Subscriber) {
        PRESENCE.wants_domain(None, enable != 0);
    }
    register_buffers_2, c"cuptiActivityRegisterCallbacks_v2",
        (subscriber: f::Subscriber, requested: *mut c_void, completed: *mut c_void) {}
    register_clock, c"cuptiActivityRegisterTimestampCallback", (clock: *mut c_void) {
        PRESENCE.set_clock(clock);
    }
    activity_enable, c"cuptiActivityEnable", (kind: u32) {
        PRESENCE.kind(kind, true);
    }
    activity_enable_2, c"cuptiActivityEnable_v2",
        (subscriber: f::Subscriber, kind: u32, config: *mut c_void) {
        PRESENCE.kind(kind, true);
    }
    activity_enable_context, c"cuptiActivityEnableContext", (context: *mut c_void, kind: u32) {
        PRESENCE.kind(kind, true);
    }
    activity_enable_and_dump, c"cuptiActivityEnableAndDump", (kind: u32) {
        PRESENCE.kind(kind, true);
    }
    activity_enable_and_dump_2, c"cuptiActivityEnableAndDump_v2",
        (subscriber: f::Subscriber, kind: u32, config: *mut c_void) {
        PRESENCE.kind(kind, true);
    }
    activity_disable, c"cuptiActivityDisable", (kind: u32) {
        PRESENCE.kind(kind, false);
    }
    activity_disable_2, c"cuptiActivityDisable_v2",
        (subscriber: f::Subscriber, kind: u32, config: *mut c_void) {
        PRESENCE.kind(kind, false);
    }
    activity_disable_context, c"cuptiActivityDisableContext", (context: *mut c_void, kind: u32) {
        PRESENCE.kind(kind, false);
    }
    subscribe_2, c"cuptiSubscribe_v2",
        (subscriber: *mut f::Subscriber, callback: *mut c_void, argument: *mut c_void,
            params: *mut c_void) {
        // A subscription of several: never used by the shim, which would have to know what it was made with.
        // SAFETY: it succeeded, so the handle was written.
        PRESENCE.subscribed(unsafe { *subscriber }, None);
    }
}

static SUBSCRIBE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static REGISTER_BUFFERS: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Those whose call is changed: what CUPTI tells the other passes through the relay.
static RELAYED: [Door; 2] = [
    Door { symbol: c"cuptiSubscribe", stand_in: subscribe as *const c_void, real: &SUBSCRIBE },
    Door {
        symbol: c"cuptiActivityRegisterCallbacks",
        stand_in: register_buffers as *const c_void,
        real: &REGISTER_BUFFERS,
    },
];

extern "C" fn register_buffers(requested: *mut c_void, completed: *mut c_void) -> CuptiResult {
    type Real = unsafe extern "C" fn(*mut c_void, *mut c_void) -> CuptiResult;
    knock();
    // SAFETY: `find` stored the function of this name, which has this type.
    let Some(real) = (unsafe { function::<Real>(&REGISTER_BUFFERS) }) else { return UNKNOWN };
    let relayed = !requested.is_null() && !completed.is_null() && is_alive();
    if relayed {
        // Known before CUPTI is: the first buffer may come back within the call.
        PRESENCE.set_buffers(requested, completed);
    }
    let taker = if relayed { take_back as *mut c_void } else { completed };
    // SAFETY: the caller's functions, or one of the same type in place of its own.
    unsafe { real(requested, taker) }
}

extern "C" fn subscribe(
    subscriber: *mut f::Subscriber,
    callback: *mut c_void,
    argument: *mut c_void,
) -> CuptiResult {
    type Real = unsafe extern "C" fn(*mut f::Subscriber, *mut c_void, *mut c_void) -> CuptiResult;
    knock();
    // SAFETY: `find` stored the function of this name, which has this type.
    let Some(real) = (unsafe { function::<Real>(&SUBSCRIBE) }) else { return UNKNOWN };
    let shim = Shim::get().filter(|shim| shim.gate.has(ALIVE) && !callback.is_null());
    let Some(shim) = shim else {
        // SAFETY: the caller's call, as it was made.
        return unsafe { real(subscriber, callback, argument) };
    };
    let user_data = std::ptr::from_ref(shim).cast_mut().cast();
    // SAFETY: the caller's handle; the relay has a callback's type, and the shim lives for ever.
    let result = unsafe { real(subscriber, relay as *mut c_void, user_data) };
    if result == SUCCESS {
        // Nothing is enabled yet: no callback comes before this is known.
        // SAFETY: it succeeded, so the handle was written.
        PRESENCE.subscribed(unsafe { *subscriber }, Some((callback, argument)));
    }
    result
}

/// The other is about to call: the shim leaves first. In a forked child, and where the shim is off, nothing happens.
fn knock() {
    at_boundary((), || {
        if is_alive() {
            PRESENCE.called(now_ns());
            // Out of patience, the call is made all the same: refused at worst, as it would be with any other tool.
            let _in_time = bell::ring(PATIENCE);
        }
    });
}

/// The shim is on in this process.
fn is_alive() -> bool {
    Shim::get().is_some_and(|shim| shim.gate.has(ALIVE))
}

/// The function stored in `slot`.
///
/// # Safety
/// `F` is a function pointer type that fits what was stored.
unsafe fn function<F: Copy>(slot: &AtomicPtr<c_void>) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let address = NonNull::new(slot.load(Ordering::Acquire))?.as_ptr();
    // SAFETY: same size, and the caller vouches for the type.
    Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
}

/// The doors of one libcupti.
#[derive(Debug)]
pub(crate) struct Doors {
    exports: Vec<(Export, Exchange)>,
    are_set: bool,
}

impl Doors {
    /// Those of the functions that `library` has, none where that is not `wanted`. To be called before any of them is set.
    pub(crate) fn find(library: Library, wanted: bool) -> Self {
        if !wanted {
            return Self { exports: Vec::new(), are_set: false };
        }
        let export = |door: &Door| {
            let real = library.symbol(door.symbol)?;
            door.real.store(real.as_ptr(), Ordering::Release);
            let exchange = Exchange {
                from: real.addr().get() as u64,
                to: door.stand_in.expose_provenance() as u64,
            };
            Some((Export::find(real)?, exchange))
        };
        Self { exports: PLAIN.iter().chain(&RELAYED).filter_map(export).collect(), are_set: false }
    }

    /// Lets who looks for CUPTI's functions find the stand-ins.
    pub(crate) fn set(&mut self) {
        if self.exports.is_empty() || std::mem::replace(&mut self.are_set, true) {
            return;
        }
        // The symbol table first: who is loaded meanwhile finds the stand-ins there.
        lead_there(&self.exports);
    }

    /// Lets everybody find CUPTI itself again. Who keeps a stand-in's address goes on calling that.
    pub(crate) fn lift(&mut self) {
        if !std::mem::take(&mut self.are_set) {
            return;
        }
        lead_back(&self.exports);
    }
}
