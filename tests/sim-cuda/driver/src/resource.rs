//! Callbacks of the resource domain.

use std::ffi::c_void;

use sim_channel::callback::{GraphData, ModuleData, RESOURCE, ResourceData};

use crate::context;
use crate::host::CHANNEL;

/// A context, stream or driver event. `handle` is the stream, or 0.
pub(crate) fn plain(cbid: u32, context: usize, handle: usize) {
    deliver(cbid, context, handle, std::ptr::null());
}

/// A module event in the current context.
pub(crate) fn module(cbid: u32, module_id: u32, image: &[u8]) {
    let data = ModuleData { module_id, cubin_size: image.len(), cubin: image.as_ptr().cast() };
    deliver(cbid, context::current_numbers().0, 0, (&raw const data).cast());
}

/// A graph, node or executable graph event.
pub(crate) fn graph(cbid: u32, data: &GraphData) {
    deliver(cbid, context::current_numbers().0, 0, (&raw const *data).cast());
}

/// Whether anybody listens, for callers that would build much for nobody.
pub(crate) fn wanted(cbid: u32) -> bool {
    CHANNEL.wants(RESOURCE, cbid)
}

fn deliver(cbid: u32, context: usize, handle: usize, descriptor: *const c_void) {
    if !wanted(cbid) {
        return;
    }
    let Some(profiler) = CHANNEL.profiler() else {
        return;
    };
    let data = ResourceData { context, handle, descriptor };
    (profiler.callback)(RESOURCE, cbid, (&raw const data).cast());
}
