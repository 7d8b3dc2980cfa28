//! Streams, capture included.

use std::ffi::c_void;
use std::sync::Arc;

use sim_channel::callback::resource;
use sim_channel::lock;
use sim_channel::raw::Out;

use crate::api::Call;
use crate::entry::device::put;
use crate::entry::driver_api;
use crate::error::{Cu, INVALID_VALUE};
use crate::event;
use crate::stream::{self, DefaultStream};
use crate::work::{self, HostFunction, Task};
use crate::{capture, context, graph, resource as callbacks};

driver_api! {
    None fn cuStreamCreate [call, default] (stream: Out<usize>, flags: u32) {
        create(stream, flags, 0)
    }

    None fn cuStreamCreateWithPriority [call, default] (
        stream: Out<usize>, flags: u32, priority: i32
    ) {
        create(stream, flags, priority.clamp(-5, 0))
    }

    None fn cuStreamDestroy_v2 [call, default] (stream: usize) {
        let target = stream::resolve(stream, default)?;
        callbacks::plain(resource::STREAM_DESTROY_STARTING, target.context, stream);
        stream::remove(stream).map(drop)
    }

    Sync fn cuStreamSynchronize | cuStreamSynchronize_ptsz [call, default] (stream: usize) {
        stream::resolve(stream, default)?.synchronize(call)
    }

    None fn cuStreamQuery | cuStreamQuery_ptsz [call, default] (stream: usize) {
        stream::resolve(stream, default)?.query()
    }

    None fn cuStreamWaitEvent | cuStreamWaitEvent_ptsz [call, default] (
        stream: usize, event: usize, flags: u32
    ) {
        let _ = flags;
        event::get(event)?.hold(&stream::resolve(stream, default)?)
    }

    None fn cuStreamGetPriority | cuStreamGetPriority_ptsz [call, default] (
        stream: usize, priority: Out<i32>
    ) {
        put(priority, stream::resolve(stream, default)?.priority)
    }

    None fn cuStreamGetFlags | cuStreamGetFlags_ptsz [call, default] (
        stream: usize, flags: Out<u32>
    ) {
        put(flags, stream::resolve(stream, default)?.flags)
    }

    None fn cuStreamGetId | cuStreamGetId_ptsz [call, default] (stream: usize, id: Out<u64>) {
        put(id, u64::from(stream::resolve(stream, default)?.id))
    }

    None fn cuStreamGetCtx | cuStreamGetCtx_ptsz [call, default] (
        stream: usize, context: Out<usize>
    ) {
        put(context, stream::resolve(stream, default)?.context)
    }

    None fn cuStreamAttachMemAsync | cuStreamAttachMemAsync_ptsz [call, default] (
        stream: usize, address: u64, length: usize, flags: u32
    ) {
        let _ = (address, length, flags);
        stream::resolve(stream, default).map(drop)
    }

    None fn cuStreamBeginCapture_v2 | cuStreamBeginCapture_v2_ptsz [call, default] (
        stream: usize, mode: u32
    ) {
        if mode > 2 {
            return Err(INVALID_VALUE);
        }
        capture::begin(&stream::resolve(stream, default)?)
    }

    None fn cuStreamEndCapture | cuStreamEndCapture_ptsz [call, default] (
        stream: usize, graph: Out<usize>
    ) {
        match capture::end(&stream::resolve(stream, default)?) {
            Ok(captured) => put(graph, captured.handle),
            Err(error) => {
                // The interface promises a null graph beside the error.
                let _stored: bool = graph.put(0);
                Err(error)
            }
        }
    }

    None fn cuStreamIsCapturing | cuStreamIsCapturing_ptsz [call, default] (
        stream: usize, status: Out<u32>
    ) {
        let stream = stream::resolve(stream, default)?;
        let capturing = lock(&stream.state).capturing.is_some();
        put(status, u32::from(capturing))
    }

    None fn cuStreamGetCaptureInfo_v2 | cuStreamGetCaptureInfo_v2_ptsz [call, default] (
        stream: usize, status: Out<u32>, id: Out<u64>, graph: Out<usize>,
        dependencies: Out<*const usize>, count: Out<usize>
    ) {
        capture_info(stream, default, status, id, graph)?;
        no_dependencies(dependencies, count);
        Ok(())
    }

    None fn cuStreamGetCaptureInfo_v3 | cuStreamGetCaptureInfo_v3_ptsz [call, default] (
        stream: usize, status: Out<u32>, id: Out<u64>, graph: Out<usize>,
        dependencies: Out<*const usize>, edges: Out<*const c_void>, count: Out<usize>
    ) {
        let _stored: bool = edges.put(std::ptr::null());
        capture_info(stream, default, status, id, graph)?;
        no_dependencies(dependencies, count);
        Ok(())
    }

    None fn cuThreadExchangeStreamCaptureMode [call, default] (mode: Out<u32>) {
        mode.get().map(drop).ok_or(INVALID_VALUE)
    }

    None fn cuLaunchHostFunc | cuLaunchHostFunc_ptsz [call, default] (
        stream: usize, function: Option<extern "C" fn(*mut c_void)>, data: *mut c_void
    ) {
        host(call, stream, default, function, data)
    }
}

fn create(out: Out<usize>, flags: u32, priority: i32) -> Cu {
    let stream = stream::create(flags, priority)?;
    callbacks::plain(resource::STREAM_CREATED, context::current_numbers().0, stream.handle);
    put(out, stream.handle)
}

fn host(
    call: &Call,
    stream: usize,
    default: DefaultStream,
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> Cu {
    let function = function.ok_or(INVALID_VALUE)?;
    let task = Task::Host(HostFunction { function, data: data.expose_provenance() });
    work::launch(call, &stream::resolve(stream, default)?, &task).map(drop)
}

fn capture_info(
    stream: usize,
    default: DefaultStream,
    status: Out<u32>,
    id: Out<u64>,
    graph: Out<usize>,
) -> Cu {
    let stream = stream::resolve(stream, default)?;
    let capture = lock(&stream.state).capturing.as_ref().map(|place| Arc::clone(&place.capture));
    put(status, u32::from(capture.is_some()))?;
    if let Some(capture) = capture {
        // Null pointers mean that the caller does not want these.
        let _stored: bool = id.put(capture.id);
        let live = graph::get(capture.graph.handle).map_or(0, |graph| graph.handle);
        let _stored: bool = graph.put(live);
    }
    Ok(())
}

/// Dependencies of a capture are not handed out: nothing simulated adds nodes behind its back.
fn no_dependencies(dependencies: Out<*const usize>, count: Out<usize>) {
    let _stored: bool = dependencies.put(std::ptr::null());
    let _stored: bool = count.put(0);
}
