//! The per-subscriber interface of 13.2 and later. There is one subscriber, so each function checks the
//! handle and does what its elder does.

use std::ffi::c_void;

use sim_channel::callback::{DRIVER, RUNTIME};
use sim_channel::raw::{In, Out};

use crate::buffers::{self, CompleteV2, Owner, RequestV2};
use crate::entry::activity::{dropped_records, pop, switch};
use crate::result::{Cupti, INVALID_PARAMETER, NOT_SUPPORTED, code, ready};
use crate::{external, settings, subscriber, version};

/// `CUpti_ActivityConfig`, as far as it is looked at.
#[derive(Clone, Copy)]
#[repr(C)]
struct ActivityConfig {
    size: usize,
    selection_size: usize,
    field_count: usize,
    fields: *const i32,
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnable_v2(
    subscriber: usize,
    kind: u32,
    config: In<ActivityConfig>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| {
        check_config(config)?;
        switch(kind, true)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityDisable_v2(
    subscriber: usize,
    kind: u32,
    config: In<ActivityConfig>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| {
        check_config(config)?;
        switch(kind, false)
    }))
}

/// Records of chosen fields only are not simulated.
fn check_config(config: In<ActivityConfig>) -> Cupti {
    let Some(config) = config.get() else {
        return Ok(());
    };
    let least = if version::current().number() >= (13, 4) { 40 } else { 32 };
    let _ = (config.selection_size, config.fields);
    if config.size < least {
        Err(INVALID_PARAMETER)
    } else if config.field_count != 0 {
        Err(NOT_SUPPORTED)
    } else {
        Ok(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityRegisterCallbacks_v2(
    subscriber: usize,
    request: Option<RequestV2>,
    complete: Option<CompleteV2>,
) -> i32 {
    let owner = request.zip(complete).ok_or(INVALID_PARAMETER);
    code(subscriber::check(subscriber).and(owner).map(|(request, complete)| {
        buffers::register(Owner::PerSubscriber { request, complete });
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivitySetAttribute_v2(
    subscriber: usize,
    attribute: u32,
    size: Out<usize>,
    value: Out<c_void>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| settings::set(attribute, size, value)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetAttribute_v2(
    subscriber: usize,
    attribute: u32,
    size: Out<usize>,
    value: Out<c_void>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| settings::get(attribute, size, value)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetNumDroppedRecords_v2(
    subscriber: usize,
    _context: usize,
    _stream: u32,
    dropped: Out<usize>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| dropped_records(dropped)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityPushExternalCorrelationId_v2(
    subscriber: usize,
    kind: u32,
    id: u64,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| external::push(kind, id)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityPopExternalCorrelationId_v2(
    subscriber: usize,
    kind: u32,
    id: Out<u64>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| pop(kind, id)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableDriverApi_v2(subscriber: usize, cbid: u32, enable: u8) -> i32 {
    code(ready().and_then(|_| {
        subscriber::check(subscriber)?;
        settings::enable_api(DRIVER, cbid, enable != 0)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityEnableRuntimeApi_v2(subscriber: usize, cbid: u32, enable: u8) -> i32 {
    code(ready().and_then(|_| {
        subscriber::check(subscriber)?;
        settings::enable_api(RUNTIME, cbid, enable != 0)
    }))
}
