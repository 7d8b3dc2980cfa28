//! Calls that take memory of a device, of the virtual-memory API or pinned memory, or give it back: one record each,
//! with a stack for those that take. No lock, no allocation, no system call.
//!
//! Only the driver's calls: the runtime's make these.

mod budget;
mod told;

use std::ffi::c_void;

use cupti_sys::callback::{CallbackData, SITE_ENTER};
use cupti_sys::memory::{
    DRIVER_MEMORY_CALLS, Family, LOCATION_DEVICE, MemoryCall, PROPERTIES_LOCATION,
    PROPERTIES_LOCATION_TYPE,
};
use wire::shim::{NO_DEVICE, memory_operation as operation, memory_place as place};

pub(crate) use told::{Done, tell};

use crate::cost::Timed;
use crate::shim::Shim;
use crate::teller::now_ns;

/// What the call with this id of the driver's domain does with memory.
pub(crate) fn call_of(id: u32) -> Option<MemoryCall> {
    DRIVER_MEMORY_CALLS.iter().find(|(known, _)| *known == id).map(|(_, call)| *call)
}

/// Ids of all these calls.
pub(crate) fn ids() -> impl Iterator<Item = u32> {
    DRIVER_MEMORY_CALLS.iter().map(|(id, _)| *id)
}

/// Entry or exit of a memory call.
pub(crate) fn on_call(shim: &Shim, call: MemoryCall, data: &CallbackData) {
    let thread = shim.thread();
    if data.site == SITE_ENTER {
        thread.memory_enter.set(now_ns());
        return;
    }
    // SAFETY: at the exit site CUPTI points to the call's result.
    let result = unsafe { data.function_return_value.as_ref() }.copied();
    let entered = thread.memory_enter.get();
    thread.memory_enter.set(0);
    if result != Some(0) || data.function_params.is_null() {
        return;
    }
    // These calls are rare, and each may take a stack.
    let timed = Timed::begin(data.correlation_id, true);
    // SAFETY: the arguments of this call, which succeeded.
    let Some(done) = (unsafe { done(call, data.function_params) }) else {
        return;
    };
    let now = now_ns();
    // What is given back may be given out again to another thread before we come here.
    let time_ns = if call.gives_back() && entered != 0 { entered } else { now };
    tell(shim.teller, thread, &done, time_ns, data.context_uid);
    if let Some(timed) = timed {
        timed.end(shim.region.stats());
    }
}

/// What a call that succeeded did, by its arguments. `None`: nothing, as a free of no address does.
///
/// # Safety
/// `arguments` are those of this call, laid out as a struct in prototype order, after it returned success.
unsafe fn done(call: MemoryCall, arguments: *const c_void) -> Option<Done> {
    let arguments = arguments.cast::<u64>();
    // SAFETY: no argument that is asked for below lies beyond its call's last.
    let word = |index: usize| unsafe { arguments.wrapping_add(index).read_unaligned() };
    // SAFETY: a call that succeeded has written there; the pointer is the caller's own and may be unaligned.
    let pointed = |index: usize| unsafe { behind(word(index)) };
    let done = match call {
        MemoryCall::Allocate(family) => Done {
            operation: operation::ALLOCATED,
            place: place_of(family),
            address: pointed(0),
            bytes: word(1),
            ..Done::NOTHING
        },
        MemoryCall::AllocatePitched => Done {
            operation: operation::ALLOCATED,
            place: place::DEVICE,
            address: pointed(0),
            bytes: pointed(1).saturating_mul(word(3)),
            ..Done::NOTHING
        },
        MemoryCall::Register => Done {
            operation: operation::ALLOCATED,
            place: place::REGISTERED,
            address: word(0),
            bytes: word(1),
            ..Done::NOTHING
        },
        MemoryCall::Free(family) => Done {
            operation: operation::FREED,
            place: place_of(family),
            address: word(0),
            ..Done::NOTHING
        },
        MemoryCall::Create => Done {
            operation: operation::CREATED,
            place: place::VIRTUAL,
            handle: pointed(0),
            bytes: word(1),
            // SAFETY: the call read its properties there.
            device: unsafe { device_of(word(2)) },
            ..Done::NOTHING
        },
        MemoryCall::Import => Done {
            operation: operation::IMPORTED,
            place: place::VIRTUAL,
            handle: pointed(0),
            ..Done::NOTHING
        },
        MemoryCall::Retain => Done {
            operation: operation::RETAINED,
            place: place::VIRTUAL,
            handle: pointed(0),
            address: word(1),
            ..Done::NOTHING
        },
        MemoryCall::Release => Done {
            operation: operation::RELEASED,
            place: place::VIRTUAL,
            handle: word(0),
            ..Done::NOTHING
        },
        MemoryCall::Map => Done {
            operation: operation::MAPPED,
            place: place::VIRTUAL,
            address: word(0),
            bytes: word(1),
            handle: word(3),
            ..Done::NOTHING
        },
        MemoryCall::Unmap => Done {
            operation: operation::UNMAPPED,
            place: place::VIRTUAL,
            address: word(0),
            bytes: word(1),
            ..Done::NOTHING
        },
    };
    (done.address != 0 || done.handle != 0).then_some(done)
}

/// # Safety
/// `address` is 0 or that of a readable word.
unsafe fn behind(address: u64) -> u64 {
    let pointer = std::ptr::with_exposed_provenance::<u64>(usize::try_from(address).unwrap_or(0));
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { pointer.read_unaligned() }
}

/// The device that memory is created on.
///
/// # Safety
/// `properties` is 0 or the address of a `CUmemAllocationProp`.
unsafe fn device_of(properties: u64) -> u32 {
    let base = std::ptr::with_exposed_provenance::<u8>(usize::try_from(properties).unwrap_or(0));
    if base.is_null() {
        return NO_DEVICE;
    }
    let at = |offset: usize| {
        // SAFETY: both fields lie in the structure.
        unsafe { base.wrapping_add(offset).cast::<u32>().read_unaligned() }
    };
    if at(PROPERTIES_LOCATION_TYPE) == LOCATION_DEVICE {
        at(PROPERTIES_LOCATION)
    } else {
        NO_DEVICE
    }
}

fn place_of(family: Family) -> u8 {
    match family {
        Family::Device => place::DEVICE,
        Family::Pool => place::POOL,
        Family::Managed => place::MANAGED,
        Family::Pinned => place::PINNED,
        Family::Registered => place::REGISTERED,
    }
}
