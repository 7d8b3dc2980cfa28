//! Subscription and callbacks.

use std::ffi::{c_char, c_void};
use std::sync::atomic::Ordering;

use sim_channel::raw::{In, Out};

use crate::result::{Cupti, INVALID_PARAMETER, code, loaded, name, ready};
use crate::subscriber::{self, Callback};
use crate::{buffers, clock, delivery, version};

#[unsafe(no_mangle)]
extern "C" fn cuptiGetVersion(number: Out<u32>) -> i32 {
    code(loaded().and_then(|()| put(number, version::current().api)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetTimestamp(timestamp: Out<u64>) -> i32 {
    code(loaded().and_then(|()| put(timestamp, clock::now())))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetTimestamp_v2(subscriber: usize, timestamp: Out<u64>) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| put(timestamp, clock::now())))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetResultString(result: i32, text: Out<*const c_char>) -> i32 {
    let known = name(result).ok_or(INVALID_PARAMETER);
    code(known.and_then(|known| put(text, known.as_ptr())))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetErrorMessage(result: i32, text: Out<*const c_char>) -> i32 {
    cuptiGetResultString(result, text)
}

#[unsafe(no_mangle)]
extern "C" fn cuptiSubscribe(
    handle: Out<usize>,
    function: Option<Callback>,
    user: *mut c_void,
) -> i32 {
    code(subscribe(handle, function, user))
}

/// `CUpti_SubscriberParams`, as far as it is looked at. Several subscribers are not simulated: a second
/// one is refused even if both would share.
#[derive(Clone, Copy)]
#[repr(C)]
struct SubscriberParams {
    size: usize,
    name: *const c_char,
    old_name: *mut c_char,
    old_name_room: usize,
}

#[unsafe(no_mangle)]
extern "C" fn cuptiSubscribe_v2(
    handle: Out<usize>,
    function: Option<Callback>,
    user: *mut c_void,
    params: In<SubscriberParams>,
) -> i32 {
    // 32 bytes in 13.0 and 13.1, 40 from 13.2 on.
    let least = if version::current().number() >= (13, 2) { 40 } else { 32 };
    let fits = params.get().is_none_or(|params| {
        let _ = (params.name, params.old_name, params.old_name_room);
        params.size >= least
    });
    code(if fits { subscribe(handle, function, user) } else { Err(INVALID_PARAMETER) })
}

fn subscribe(handle: Out<usize>, function: Option<Callback>, user: *mut c_void) -> Cupti {
    if handle.is_null() {
        return Err(INVALID_PARAMETER);
    }
    put(handle, subscriber::subscribe(function, user)?)
}

#[unsafe(no_mangle)]
extern "C" fn cuptiUnsubscribe(subscriber: usize) -> i32 {
    let channel = ready().map_err(|_error| INVALID_PARAMETER);
    code(channel.and_then(|channel| subscriber::unsubscribe(Some(channel), subscriber)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiEnableCallback(enable: u32, subscriber: usize, domain: u32, cbid: u32) -> i32 {
    code(ready().and_then(|channel| {
        subscriber::check(subscriber)?;
        subscriber::enable(channel, enable != 0, domain, cbid)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiEnableDomain(enable: u32, subscriber: usize, domain: u32) -> i32 {
    code(ready().and_then(|channel| {
        subscriber::check(subscriber)?;
        subscriber::enable_domain(channel, enable != 0, domain)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiEnableAllDomains(enable: u32, subscriber: usize) -> i32 {
    code(ready().and_then(|channel| {
        subscriber::check(subscriber)?;
        subscriber::enable_all(channel, enable != 0);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetCallbackState(
    enabled: Out<u32>,
    subscriber: usize,
    domain: u32,
    cbid: u32,
) -> i32 {
    code(ready().and_then(|channel| {
        subscriber::check(subscriber)?;
        put(enabled, u32::from(channel.wants(domain, cbid)))
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetEnabledCallbacks(
    subscriber: usize,
    domain: u32,
    buffer: Out<u32>,
    room: Out<u32>,
    count: Out<u32>,
) -> i32 {
    code(ready().and_then(|channel| {
        subscriber::check(subscriber)?;
        let ids = (1..1024).filter(|&cbid| channel.wants(domain, cbid));
        list(&ids.collect::<Vec<u32>>(), buffer, room, count)
    }))
}

/// Undoes everything: subscription, kinds, buffers. The next call starts anew.
#[unsafe(no_mangle)]
extern "C" fn cuptiFinalize() -> i32 {
    // With no device, or in a forked child, there is nothing to undo; the real one answers 0 as well.
    let Ok(channel) = ready() else { return 0 };
    subscriber::reset(Some(channel));
    channel.kinds.store(0, Ordering::Release);
    let finished = delivery::finish();
    buffers::unregister();
    code(finished)
}

/// Stores an answer, or says that there is no place for it.
pub(super) fn put<T: Copy>(out: Out<T>, value: T) -> Cupti {
    if out.put(value) { Ok(()) } else { Err(INVALID_PARAMETER) }
}

/// Fills a caller's array as far as it goes.
pub(super) fn list(values: &[u32], buffer: Out<u32>, room: Out<u32>, count: Out<u32>) -> Cupti {
    let fits = room.get().ok_or(INVALID_PARAMETER)? as usize;
    if !buffer.is_null() {
        for (index, &value) in values.iter().take(fits).enumerate() {
            buffer.put_at(index, value);
        }
    }
    put(count, u32::try_from(values.len()).unwrap_or(u32::MAX))
}
