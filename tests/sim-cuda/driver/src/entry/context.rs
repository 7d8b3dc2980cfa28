//! Contexts.

use std::ffi::c_void;

use sim_channel::callback::resource;
use sim_channel::raw::{In, Out};

use crate::api::Call;
use crate::context::Context;
use crate::entry::device::put;
use crate::entry::driver_api;
use crate::error::Cu;
use crate::stream::{self, Awaited};
use crate::{context, device, resource as callbacks};

driver_api! {
    None fn cuCtxCreate_v2 [call, default] (context: Out<usize>, flags: u32, device: i32) {
        create(context, flags, device)
    }

    None fn cuCtxCreate_v3 [call, default] (
        context: Out<usize>, params: In<c_void>, count: i32, flags: u32, device: i32
    ) {
        let _ = (params, count);
        create(context, flags, device)
    }

    None fn cuCtxCreate_v4 [call, default] (
        context: Out<usize>, params: In<c_void>, flags: u32, device: i32
    ) {
        let _ = params;
        create(context, flags, device)
    }

    None fn cuCtxDestroy_v2 [call, default] (context: usize) {
        let context = context::get(context)?;
        callbacks::plain(resource::CONTEXT_DESTROY_STARTING, context.handle, 0);
        context::remove(&context);
        Ok(())
    }

    None fn cuCtxSetCurrent [call, default] (context: usize) {
        context::set_current(context)
    }

    None fn cuCtxGetCurrent [call, default] (context: Out<usize>) {
        put(context, context::current_numbers().0)
    }

    None fn cuCtxPushCurrent_v2 [call, default] (context: usize) {
        context::push(context::get(context)?)
    }

    None fn cuCtxPopCurrent_v2 [call, default] (context: Out<usize>) {
        let handle = context::pop()?;
        // A null pointer means that the caller does not want it.
        let _stored: bool = context.put(handle);
        Ok(())
    }

    None fn cuCtxGetDevice [call, default] (device: Out<i32>) {
        put(device, i32::try_from(context::current()?.device).unwrap_or(0))
    }

    None fn cuCtxGetFlags [call, default] (flags: Out<u32>) {
        put(flags, context::current()?.flags)
    }

    None fn cuCtxSetFlags [call, default] (flags: u32) {
        let _ = flags;
        context::current().map(drop)
    }

    None fn cuCtxGetApiVersion [call, default] (context: usize, version: Out<u32>) {
        if context != 0 {
            context::get(context)?;
        }
        put(version, 3020)
    }

    None fn cuCtxGetStreamPriorityRange [call, default] (least: Out<i32>, greatest: Out<i32>) {
        context::current()?;
        put(least, 0)?;
        put(greatest, -5)
    }

    None fn cuCtxGetLimit [call, default] (value: Out<usize>, limit: u32) {
        context::current()?;
        put(value, if limit == 0 { 1024 } else { 0 })
    }

    None fn cuCtxSetLimit [call, default] (limit: u32, value: usize) {
        let _ = (limit, value);
        context::current().map(drop)
    }

    None fn cuCtxGetCacheConfig [call, default] (config: Out<u32>) {
        context::current()?;
        put(config, 0)
    }

    None fn cuCtxSetCacheConfig [call, default] (config: u32) {
        let _ = config;
        context::current().map(drop)
    }

    Sync fn cuCtxSynchronize [call, default] () {
        synchronize(call, &*context::current()?);
        Ok(())
    }

    Sync fn cuCtxSynchronize_v2 [call, default] (context: usize) {
        synchronize(call, &*context::get(context)?);
        Ok(())
    }
}

fn synchronize(call: &Call, context: &Context) {
    let tail = context.timeline.tail();
    stream::wait_recorded(call, Awaited::Context, context.id, 0, tail);
}

fn create(out: Out<usize>, flags: u32, device: i32) -> Cu {
    let context = context::create(device::get(device)?.ordinal, flags);
    let handle = context.handle;
    context::push(context)?;
    callbacks::plain(resource::CONTEXT_CREATED, handle, 0);
    put(out, handle)
}
