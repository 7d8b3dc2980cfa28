//! The exported functions. Whichever is called first makes the library known to the driver, for as long as the
//! process lives: nothing says that it can be unloaded then. Each then asks whether this call of it is to fail.

use std::ffi::{c_char, c_void};
use std::sync::atomic::Ordering;
use std::time::Duration;

use sim_channel::raw::Out;
use sim_channel::{State, clock};

use crate::callback::{self, Callback};
use crate::delivery::{self, Client, Complete, Extent, Request};
use crate::habit::{Habit, drawn, failure, has};
use crate::{channel, record};

const INVALID_PARAMETER: i32 = 1;
const MAX_LIMIT_REACHED: i32 = 12;
const NOT_INITIALIZED: i32 = 15;
const INVALID_KIND: i32 = 21;
const MULTIPLE_SUBSCRIBERS: i32 = 39;

/// The one handle there is.
const SUBSCRIBER: usize = 0x0f0e_1000;

/// Exports functions that answer what `WARPLENS_SIM_FOREIGN` tells them to, else their body's answer.
macro_rules! cupti {
    ($(fn $name:ident($($argument:ident : $type:ty),*) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) -> i32 {
            let _known = channel();
            match failure(stringify!($name)) {
                Some(code) => code,
                None => $body,
            }
        }
    )*};
}

fn put<T: Copy>(place: Out<T>, value: T) -> i32 {
    if place.put(value) { 0 } else { INVALID_PARAMETER }
}

cupti! {
    fn cuptiGetVersion(version: Out<u32>) { put(version, record::version()) }

    // Jumps, as a clock that is set does.
    fn cuptiGetTimestamp(time: Out<u64>) {
        put(time, clock::realtime().wrapping_sub(drawn(u64::MAX)))
    }

    fn cuptiGetResultString(result: i32, text: Out<*const c_char>) {
        put(text, if result == 0 { c"none".as_ptr() } else { c"some".as_ptr() })
    }

    fn cuptiSubscribe(handle: Out<usize>, function: Option<Callback>, user: *mut c_void) {
        if channel().is_none() {
            return NOT_INITIALIZED;
        }
        let Some(function) = function.filter(|_| !handle.is_null()) else {
            return INVALID_PARAMETER;
        };
        // The handle first: callbacks may come before this returns.
        let told = put(handle, SUBSCRIBER);
        if callback::subscribe(function, user) { told } else { MULTIPLE_SUBSCRIBERS }
    }

    fn cuptiUnsubscribe(handle: usize) {
        let done = handle == SUBSCRIBER && callback::unsubscribe();
        if done { 0 } else { INVALID_PARAMETER }
    }

    fn cuptiEnableCallback(on: u32, handle: usize, domain: u32, id: u32) {
        if has(Habit::SlowSwitches) {
            std::thread::sleep(Duration::from_micros(300));
        }
        let done = handle == SUBSCRIBER && callback::enable(domain, id, on != 0);
        if done { 0 } else { INVALID_PARAMETER }
    }

    fn cuptiActivityRegisterCallbacks(request: Option<Request>, complete: Option<Complete>) {
        let (Some(request), Some(complete)) = (request, complete) else {
            return INVALID_PARAMETER;
        };
        delivery::register(Client { request, complete });
        0
    }

    fn cuptiActivityRegisterTimestampCallback(source: Option<extern "C" fn() -> u64>) {
        let Some(source) = source else { return INVALID_PARAMETER };
        delivery::set_clock(source);
        0
    }

    fn cuptiActivityEnable(kind: u32) {
        let Some(channel) = channel() else { return NOT_INITIALIZED };
        if record::stride(kind).is_none() {
            return INVALID_KIND;
        }
        channel.kinds.fetch_or(1 << (kind % 64), Ordering::AcqRel);
        delivery::begin();
        0
    }

    fn cuptiActivityDisable(kind: u32) {
        let Some(channel) = channel() else { return NOT_INITIALIZED };
        channel.kinds.fetch_and(!(1 << (kind % 64)), Ordering::AcqRel);
        0
    }

    fn cuptiActivitySetAttribute(_attribute: u32, size: Out<usize>, value: *mut c_void) {
        if size.is_null() || value.is_null() { INVALID_PARAMETER } else { 0 }
    }

    fn cuptiActivityFlushAll(flag: u32) {
        if has(Habit::SlowFlush) && drawn(3) == 0 {
            std::thread::sleep(Duration::from_millis(500));
        }
        let extent = if flag & 1 == 1 { Extent::Forced } else { Extent::Ended };
        if has(Habit::FlushElsewhere) {
            let flush = std::thread::Builder::new().spawn(move || delivery::deliver(extent));
            return flush.map_or(NOT_INITIALIZED, |thread| {
                thread.join().unwrap_or_default();
                0
            });
        }
        delivery::deliver(extent);
        0
    }

    fn cuptiActivityGetNextRecord(buffer: *const u8, valid: usize, place: Out<usize>) {
        let start = buffer.expose_provenance();
        let Some(current) = place.get() else { return INVALID_PARAMETER };
        if buffer.is_null() || valid == 0 {
            return MAX_LIMIT_REACHED;
        }
        // SAFETY: the profiler's word: a buffer handed back, with `valid` bytes of records.
        let bytes = unsafe { std::slice::from_raw_parts(buffer, valid) };
        match record::next(bytes, (current != 0).then(|| current.wrapping_sub(start))) {
            Ok(Some(offset)) => put(place, start + offset),
            Ok(None) => MAX_LIMIT_REACHED,
            Err(()) => INVALID_KIND,
        }
    }

    fn cuptiActivityGetNumDroppedRecords(_context: usize, _stream: u32, count: Out<usize>) {
        put(count, usize::try_from(delivery::take_dropped()).unwrap_or(usize::MAX))
    }

    fn cuptiGetGraphId(graph: usize, id: Out<u32>) {
        channel().map_or(NOT_INITIALIZED, |channel| put(id, (channel.host.graph_id)(graph)))
    }

    fn cuptiGetGraphNodeId(node: usize, id: Out<u64>) {
        channel().map_or(NOT_INITIALIZED, |channel| put(id, (channel.host.graph_node_id)(node)))
    }

    fn cuptiGetGraphExecId(exec: usize, id: Out<u32>) {
        channel().map_or(NOT_INITIALIZED, |channel| put(id, (channel.host.graph_exec_id)(exec)))
    }
}

/// Run by the dynamic linker after every exit handler.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    // A library that nobody has called has nothing to do; one in a forked child must not.
    let alive = || channel().is_some_and(|channel| (channel.host.state)() == State::Ready);
    if has(Habit::AtExit) && alive() {
        delivery::deliver(Extent::Last);
    }
}
