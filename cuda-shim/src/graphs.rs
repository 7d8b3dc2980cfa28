//! Graph, module and context callbacks. Graph nodes go into the append-only table, so that an agent
//! that comes later still knows which node was cloned from which; whoever watches the probe point gets
//! the stack under which a node was made.
//!
//! A node made inside a launch call that went into a capture passes the probe point when that call
//! returns: the driver's own frames between the call and the node's creation, compiled without frame
//! pointers, are gone by then. Any other node, and every node while calls are not watched, passes it
//! where CUPTI tells of it.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use cupti_sys::callback::{CallbackData, GraphData, ResourceData, SITE_ENTER, resource};
use wire::kernel::WEIGHT_CAPTURE;
use wire::limits::{GRAPH_ENTRIES, GRAPH_NODE_ENTRIES};
use wire::shim::graph_kind;

use crate::probe::warplens_probe_launch;
use crate::region::reserve;
use crate::shim::Shim;
use crate::teller::now_ns;
use crate::thread_local::{self, ThreadLocal};

/// Resource ids the shim subscribes to. Not the end of single nodes: it would take up as much of the
/// table as their beginning, and nobody asks for it, because CUPTI gives no id twice.
pub(crate) const RESOURCES: &[u32] = &[
    resource::CONTEXT_CREATED,
    resource::MODULE_LOADED,
    resource::MODULE_UNLOAD_STARTING,
    resource::GRAPH_DESTROY_STARTING,
    resource::GRAPHNODE_CREATED,
    resource::GRAPHNODE_CLONED,
    resource::GRAPHEXEC_CREATED,
    resource::GRAPHEXEC_DESTROY_STARTING,
];

/// Handles one resource callback.
///
/// # Safety
/// `data` is null or what CUPTI passes with this id.
pub(crate) unsafe fn on_resource(shim: &Shim, id: u32, data: *const c_void) {
    if matches!(id, resource::MODULE_LOADED | resource::MODULE_UNLOAD_STARTING) {
        if let Some(names) = &shim.names {
            names.forget_pointers();
        }
        return;
    }
    let Some(kind) = kind_of(id) else { return };
    // SAFETY: the caller's promise.
    let data = unsafe { data.cast::<ResourceData>().as_ref() };
    // SAFETY: for graph ids CUPTI puts a GraphData there, valid during the callback.
    let graph = data.and_then(|data| unsafe { data.descriptor.cast::<GraphData>().as_ref() });
    let index =
        graph.and_then(|graph| append(shim, &entry_of(shim, kind, graph), GRAPH_NODE_ENTRIES));
    if id == resource::GRAPHNODE_CREATED {
        created(shim, index);
    }
}

/// A node was made; its entry is at `index`, if the table had room.
fn created(shim: &Shim, index: Option<u64>) {
    let thread = thread_local::current();
    if thread.open.get() == 0 {
        captured(shim, thread, index);
        return;
    }
    // Between entry and exit of a launch: the launch went into a graph under capture.
    thread.open_captured.set(1);
    // One stack serves the first node of the call; more are rare, and pass at once.
    let deferred = index.and_then(|index| u32::try_from(index + 1).ok());
    match deferred.filter(|_| thread.open_node.get() == 0) {
        Some(deferred) => thread.open_node.set(deferred),
        None => captured(shim, thread, index),
    }
}

/// The launch call that is open on this thread returns: the node it made passes the probe point.
pub(crate) fn call_returned(shim: &Shim, thread: &ThreadLocal) {
    let index = u64::from(thread.open_node.get()).checked_sub(1);
    thread.open_node.set(0);
    captured(shim, thread, index);
}

/// Passes the probe point, when an agent asked for stacks.
fn captured(shim: &Shim, thread: &ThreadLocal, index: Option<u64>) {
    let Some(index) = index else { return };
    if shim.region.control().stack_rate.load(Ordering::Relaxed) == 0 {
        return;
    }
    warplens_probe_launch(0, WEIGHT_CAPTURE.into(), thread.number.get().into(), index);
}

/// Handles `cuGraphExecUpdate`, at its entry and its return.
pub(crate) fn on_update(shim: &Shim, data: &CallbackData) {
    // SAFETY: at the exit site CUPTI points to the call's result, a CUresult.
    let result = unsafe { data.function_return_value.as_ref() }.copied().unwrap_or(0);
    let params = data.function_params.cast::<*mut c_void>();
    if data.site == SITE_ENTER || result != 0 || params.is_null() {
        return;
    }
    // SAFETY: the call's arguments, in prototype order, begin with two handles.
    let exec = unsafe { params.read() };
    // SAFETY: as above.
    let graph = unsafe { params.wrapping_add(1).read() };
    let entry = Entry {
        kind_and_type: graph_kind::EXEC_UPDATED.into(),
        node: shim.cupti.graph_exec_id(exec).into(),
        original_node: 0,
        graphs: shim.cupti.graph_id(graph).into(),
    };
    append(shim, &entry, GRAPH_ENTRIES);
}

fn kind_of(id: u32) -> Option<u32> {
    Some(match id {
        resource::GRAPHNODE_CREATED => graph_kind::NODE_CREATED,
        resource::GRAPHNODE_CLONED => graph_kind::NODE_CLONED,
        resource::GRAPH_DESTROY_STARTING => graph_kind::GRAPH_DESTROYED,
        resource::GRAPHEXEC_CREATED => graph_kind::EXEC_CREATED,
        resource::GRAPHEXEC_DESTROY_STARTING => graph_kind::EXEC_DESTROYED,
        _ => return None,
    })
}

/// What an entry says beside its time.
struct Entry {
    kind_and_type: u64,
    node: u64,
    original_node: u64,
    graphs: u64,
}

fn entry_of(shim: &Shim, kind: u32, graph: &GraphData) -> Entry {
    let node = if kind == graph_kind::EXEC_CREATED || kind == graph_kind::EXEC_DESTROYED {
        u64::from(shim.cupti.graph_exec_id(graph.graph_exec))
    } else {
        shim.cupti.graph_node_id(graph.node)
    };
    Entry {
        kind_and_type: u64::from(kind) | u64::from(graph.node_type) << 32,
        node,
        original_node: shim.cupti.graph_node_id(graph.original_node),
        graphs: u64::from(shim.cupti.graph_id(graph.graph))
            | u64::from(shim.cupti.graph_id(graph.original_graph)) << 32,
    }
}

/// Returns the position of the entry; `None` when it would be beyond `capacity`, which is counted.
fn append(shim: &Shim, entry: &Entry, capacity: usize) -> Option<u64> {
    let (cursors, slots) = shim.region.cursors().zip(shim.region.graph_slots())?;
    let index = reserve(&cursors.graphs, 1, capacity as u64);
    let Some(slot) = index.and_then(|index| slots.get(usize::try_from(index).ok()?)) else {
        shim.region.stats().graphs_full.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    slot.node.store(entry.node, Ordering::Relaxed);
    slot.original_node.store(entry.original_node, Ordering::Relaxed);
    slot.graphs.store(entry.graphs, Ordering::Relaxed);
    slot.time_ns.store(now_ns(), Ordering::Relaxed);
    slot.kind_and_type.store(entry.kind_and_type, Ordering::Release);
    index
}
