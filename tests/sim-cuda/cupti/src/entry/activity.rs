//! Activity kinds, attributes, flushes.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use sim_channel::callback::{DRIVER, RUNTIME};
use sim_channel::raw::Out;
use sim_channel::work::kind::CONCURRENT_KERNEL;

use crate::buffers::{self, Complete, Owner, Request};
use crate::clock::{self, TimestampCallback};
use crate::delivery::{self, Extent};
use crate::entry::callback::put;
use crate::layout;
use crate::result::{
    Cupti, CuptiError, INVALID_CONTEXT, INVALID_KIND, INVALID_PARAMETER, NOT_SUPPORTED, code,
    loaded, ready,
};
use crate::{config, external, pending, profiler, settings, subscriber, version, worker};

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityRegisterCallbacks(
    request: Option<Request>,
    complete: Option<Complete>,
) -> i32 {
    let owner = request.zip(complete).ok_or(INVALID_PARAMETER);
    code(ready().and(owner).map(|(request, complete)| {
        buffers::register(Owner::First { request, complete });
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityRegisterTimestampCallback(callback: Option<TimestampCallback>) -> i32 {
    code(ready().map(|_| clock::register(callback)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnable(kind: u32) -> i32 {
    code(switch(kind, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityDisable(kind: u32) -> i32 {
    code(switch(kind, false))
}

/// Records of devices, contexts and streams that exist already are not simulated: dumping adds nothing.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableAndDump(kind: u32) -> i32 {
    code(switch(kind, true))
}

/// Kinds are on or off for the whole process.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableContext(context: usize, kind: u32) -> i32 {
    code(in_context(context).and_then(|()| switch(kind, true)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityDisableContext(context: usize, kind: u32) -> i32 {
    code(in_context(context).and_then(|()| switch(kind, false)))
}

fn in_context(context: usize) -> Cupti {
    let channel = ready()?;
    if (channel.host.context_id)(context) == 0 { Err(INVALID_CONTEXT) } else { Ok(()) }
}

/// Turns a kind on or off.
pub(super) fn switch(kind: u32, on: bool) -> Cupti {
    let channel = ready()?;
    let forced = config::get().enable_error;
    if on && forced != 0 {
        return Err(CuptiError(forced));
    }
    layout::stride(version::current(), kind).ok_or(INVALID_KIND)?;
    if on {
        worker::start();
        let before = channel.kinds.fetch_or(1 << kind, Ordering::AcqRel);
        if kind == CONCURRENT_KERNEL && before & 1 << kind == 0 {
            pending::make_room();
        }
    } else {
        channel.kinds.fetch_and(!(1 << kind), Ordering::AcqRel);
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivitySetAttribute(
    attribute: u32,
    size: Out<usize>,
    value: Out<c_void>,
) -> i32 {
    code(ready().and_then(|_| settings::set(attribute, size, value)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetAttribute(
    attribute: u32,
    size: Out<usize>,
    value: Out<c_void>,
) -> i32 {
    code(ready().and_then(|_| settings::get(attribute, size, value)))
}

/// Bit 0 is `CUPTI_ACTIVITY_FLAG_FLUSH_FORCED`.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityFlushAll(flags: u32) -> i32 {
    let extent = if flags & 1 == 0 { Extent::Ended } else { Extent::Forced };
    code(ready().and_then(|_| delivery::run(extent)))
}

/// The old per-stream flush; the real library flushes everything, too.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityFlush(_context: usize, _stream: u32, flags: u32) -> i32 {
    cuptiActivityFlushAll(flags)
}

/// Full buffers come back by themselves, so a period changes nothing here.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityFlushPeriod(_milliseconds: u32) -> i32 {
    code(ready().map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetNumDroppedRecords(
    _context: usize,
    _stream: u32,
    dropped: Out<usize>,
) -> i32 {
    code(dropped_records(dropped))
}

pub(super) fn dropped_records(dropped: Out<usize>) -> Cupti {
    ready()?;
    if dropped.is_null() {
        return Err(INVALID_PARAMETER);
    }
    put(dropped, usize::try_from(buffers::take_dropped()).unwrap_or(usize::MAX))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityPushExternalCorrelationId(kind: u32, id: u64) -> i32 {
    code(ready().and_then(|_| external::push(kind, id)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityPopExternalCorrelationId(kind: u32, id: Out<u64>) -> i32 {
    code(ready().and_then(|_| pop(kind, id)))
}

pub(super) fn pop(kind: u32, id: Out<u64>) -> Cupti {
    let popped = external::pop(kind)?;
    // A null pointer means that the caller does not want it.
    let _stored: bool = id.put(popped);
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableDriverApi(cbid: u32, enable: u8) -> i32 {
    code(ready().and_then(|_| settings::enable_api(DRIVER, cbid, enable != 0)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableRuntimeApi(cbid: u32, enable: u8) -> i32 {
    code(ready().and_then(|_| settings::enable_api(RUNTIME, cbid, enable != 0)))
}

/// `queued` and `submitted` stay 0 in the simulator, as when this is off.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableLatencyTimestamps(_enable: u8) -> i32 {
    code(ready().map(|_| ()))
}

/// Launch attributes stay 0 in the simulator, as when this is off.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableLaunchAttributes(_enable: u8) -> i32 {
    code(ready().map(|_| ()))
}

/// Graphs launched from the device do not occur.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableDeviceGraph(_enable: u8) -> i32 {
    code(ready().map(|_| ()))
}

/// `source` of memory records stays null in the simulator, as when this is off.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableAllocationSource(_enable: u8) -> i32 {
    code(ready().map(|_| ()))
}

/// Needs a newer device than the simulated H100.
#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableHWTrace(enable: u8) -> i32 {
    let answer = if enable == 0 { Ok(()) } else { Err(NOT_SUPPORTED) };
    code(ready().and(answer))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableAllSyncRecords(_enable: u8) -> i32 {
    code(ready().map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableCudaEventDeviceTimestamps(_enable: u8) -> i32 {
    code(ready().map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiIsTracingSessionRunning(running: Out<u8>) -> i32 {
    code(loaded().and_then(|()| {
        let kinds = profiler::channel().map_or(0, |channel| channel.kinds.load(Ordering::Acquire));
        put(running, u8::from(kinds != 0))
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetEnabledKinds(
    subscriber: usize,
    buffer: Out<u32>,
    room: Out<u32>,
    count: Out<u32>,
) -> i32 {
    code(ready().and_then(|channel| {
        subscriber::check(subscriber)?;
        let kinds: Vec<u32> = (0..64).filter(|&kind| channel.records(kind)).collect();
        super::callback::list(&kinds, buffer, room, count)
    }))
}
