//! The one subscriber, and which callbacks it wants.

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use sim_channel::callback::{DOMAINS, IDS};
use sim_channel::{Channel, lock};

use crate::config;
use crate::result::{Cupti, CuptiError, INVALID_PARAMETER, MULTIPLE_SUBSCRIBERS, ready};

/// The subscriber's function.
pub(crate) type Callback =
    extern "C" fn(user: *mut c_void, domain: u32, cbid: u32, data: *const c_void);

/// Function (as an address) and word of the subscriber; 0 while there is none.
static FUNCTION: AtomicUsize = AtomicUsize::new(0);
static USER: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
/// Held while somebody subscribes or leaves.
static TURN: Mutex<()> = Mutex::new(());
/// Counts subscriptions; the handle that is handed out is this number.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Subscribes; the handle.
pub(crate) fn subscribe(function: Option<Callback>, user: *mut c_void) -> Cupti<usize> {
    ready()?;
    let forced = config::get().subscribe_error;
    if forced != 0 {
        return Err(CuptiError(forced));
    }
    let function = function.ok_or(INVALID_PARAMETER)?;
    let _turn = lock(&TURN);
    if FUNCTION.load(Ordering::Acquire) != 0 {
        return Err(MULTIPLE_SUBSCRIBERS);
    }
    USER.store(user, Ordering::Release);
    FUNCTION.store(function as usize, Ordering::Release);
    Ok(handle(NUMBER.fetch_add(1, Ordering::AcqRel) + 1))
}

/// Ends the subscription: every callback is off.
pub(crate) fn unsubscribe(channel: Option<&Channel>, subscriber: usize) -> Cupti {
    let _turn = lock(&TURN);
    check(subscriber)?;
    clear(channel);
    Ok(())
}

/// Ends whatever subscription there is.
pub(crate) fn reset(channel: Option<&Channel>) {
    let _turn = lock(&TURN);
    clear(channel);
}

fn clear(channel: Option<&Channel>) {
    for word in channel.iter().flat_map(|channel| channel.enabled.iter().flatten()) {
        word.store(0, Ordering::Release);
    }
    FUNCTION.store(0, Ordering::Release);
}

/// Fails for what is not the handle of the present subscriber.
pub(crate) fn check(subscriber: usize) -> Cupti {
    let present = FUNCTION.load(Ordering::Acquire) != 0
        && subscriber == handle(NUMBER.load(Ordering::Acquire));
    if present { Ok(()) } else { Err(INVALID_PARAMETER) }
}

fn handle(number: usize) -> usize {
    0x5100_0000 + (number << 4)
}

/// Turns one callback on or off.
pub(crate) fn enable(channel: &Channel, on: bool, domain: u32, cbid: u32) -> Cupti {
    let word = word(channel, domain, cbid)?;
    let bit = 1 << (cbid % 64);
    if on {
        word.fetch_or(bit, Ordering::AcqRel);
    } else {
        word.fetch_and(!bit, Ordering::AcqRel);
    }
    Ok(())
}

/// Turns a whole domain on or off.
pub(crate) fn enable_domain(channel: &Channel, on: bool, domain: u32) -> Cupti {
    word(channel, domain, 1)?;
    for word in &channel.enabled[domain as usize] {
        word.store(if on { u64::MAX } else { 0 }, Ordering::Release);
    }
    Ok(())
}

/// Turns everything on or off.
pub(crate) fn enable_all(channel: &Channel, on: bool) {
    for word in channel.enabled.iter().skip(1).flatten() {
        word.store(if on { u64::MAX } else { 0 }, Ordering::Release);
    }
}

fn word(channel: &Channel, domain: u32, cbid: u32) -> Cupti<&AtomicU64> {
    let valid = (1..DOMAINS).contains(&(domain as usize)) && (1..IDS).contains(&(cbid as usize));
    if valid {
        Ok(&channel.enabled[domain as usize][cbid as usize / 64])
    } else {
        Err(INVALID_PARAMETER)
    }
}

/// Calls the subscriber.
pub(crate) extern "C" fn deliver(domain: u32, cbid: u32, data: *const c_void) {
    let address = FUNCTION.load(Ordering::Acquire);
    if address == 0 {
        return;
    }
    // SAFETY: `subscribe` stored this address from a `Callback`, and is the only one that stores any.
    let function = unsafe {
        std::mem::transmute::<*const (), Callback>(std::ptr::with_exposed_provenance(address))
    };
    function(USER.load(Ordering::Acquire), domain, cbid, data);
}
