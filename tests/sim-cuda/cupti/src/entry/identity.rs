//! CUPTI's numbers for handles.

use sim_channel::raw::Out;

use crate::entry::callback::put;
use crate::result::{
    INVALID_CONTEXT, INVALID_PARAMETER, INVALID_STREAM, NOT_SUPPORTED, code, ready,
};

#[unsafe(no_mangle)]
extern "C" fn cuptiGetContextId(context: usize, id: Out<u32>) -> i32 {
    code(ready().and_then(|channel| match (channel.host.context_id)(context) {
        0 => Err(INVALID_CONTEXT),
        number => put(id, number),
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetDeviceId(context: usize, id: Out<u32>) -> i32 {
    code(ready().and_then(|channel| {
        let device = (channel.host.context_device)(context);
        put(id, u32::try_from(device).ok().ok_or(INVALID_CONTEXT)?)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetStreamIdEx(
    context: usize,
    stream: usize,
    per_thread: u8,
    id: Out<u32>,
) -> i32 {
    code(ready().and_then(|channel| match (channel.host.stream_id)(context, stream, per_thread) {
        0 => Err(INVALID_STREAM),
        number => put(id, number),
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetStreamId(context: usize, stream: usize, id: Out<u32>) -> i32 {
    cuptiGetStreamIdEx(context, stream, 0, id)
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetGraphId(graph: usize, id: Out<u32>) -> i32 {
    code(ready().and_then(|channel| match (channel.host.graph_id)(graph) {
        0 => Err(INVALID_PARAMETER),
        number => put(id, number),
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetGraphNodeId(node: usize, id: Out<u64>) -> i32 {
    code(ready().and_then(|channel| match (channel.host.graph_node_id)(node) {
        0 => Err(INVALID_PARAMETER),
        number => put(id, number),
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetGraphExecId(exec: usize, id: Out<u32>) -> i32 {
    code(ready().and_then(|channel| match (channel.host.graph_exec_id)(exec) {
        0 => Err(INVALID_PARAMETER),
        number => put(id, number),
    }))
}

/// Event records are not simulated, so events have no number.
#[unsafe(no_mangle)]
extern "C" fn cuptiGetCudaEventId(_event: usize, _id: Out<u32>) -> i32 {
    code(Err(NOT_SUPPORTED))
}
