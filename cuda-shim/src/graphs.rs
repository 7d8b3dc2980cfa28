//! Graph, module and context callbacks. Graph nodes go into the append-only table, so that an agent
//! that comes later still knows which node was cloned from which.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use cupti_sys::callback::{GraphData, ResourceData, resource};
use wire::limits::GRAPH_ENTRIES;
use wire::shim::graph_kind;

use crate::region::reserve;
use crate::shim::{Shim, now_ns};
use crate::thread_local;

/// Resource ids the shim subscribes to.
pub(crate) const RESOURCES: &[u32] = &[
    resource::CONTEXT_CREATED,
    resource::MODULE_LOADED,
    resource::MODULE_UNLOAD_STARTING,
    resource::GRAPH_DESTROY_STARTING,
    resource::GRAPHNODE_CREATED,
    resource::GRAPHNODE_CLONED,
    resource::GRAPHNODE_DESTROY_STARTING,
    resource::GRAPHEXEC_CREATED,
    resource::GRAPHEXEC_DESTROY_STARTING,
];

/// Handles one resource callback.
///
/// # Safety
/// `data` is null or what CUPTI passes with this id.
pub(crate) unsafe fn on_resource(shim: &Shim, id: u32, data: *const c_void) {
    match id {
        resource::MODULE_LOADED | resource::MODULE_UNLOAD_STARTING => {
            if let Some(names) = &shim.names {
                names.forget_pointers();
            }
            return;
        }
        resource::GRAPHNODE_CREATED => {
            // Between entry and exit of a launch: the launch went into a graph under capture.
            let thread = thread_local::current();
            if thread.open.get() != 0 {
                thread.open_captured.set(1);
            }
        }
        _ => {}
    }
    let Some(kind) = kind_of(id) else { return };
    // SAFETY: the caller's promise.
    let Some(data) = (unsafe { data.cast::<ResourceData>().as_ref() }) else {
        return;
    };
    // SAFETY: for graph ids CUPTI puts a GraphData there, valid during the callback.
    let Some(graph) = (unsafe { data.descriptor.cast::<GraphData>().as_ref() }) else {
        return;
    };
    append(shim, kind, graph);
}

fn kind_of(id: u32) -> Option<u32> {
    Some(match id {
        resource::GRAPHNODE_CREATED => graph_kind::NODE_CREATED,
        resource::GRAPHNODE_CLONED => graph_kind::NODE_CLONED,
        resource::GRAPHNODE_DESTROY_STARTING => graph_kind::NODE_DESTROYED,
        resource::GRAPH_DESTROY_STARTING => graph_kind::GRAPH_DESTROYED,
        resource::GRAPHEXEC_CREATED => graph_kind::EXEC_CREATED,
        resource::GRAPHEXEC_DESTROY_STARTING => graph_kind::EXEC_DESTROYED,
        _ => return None,
    })
}

fn append(shim: &Shim, kind: u32, graph: &GraphData) {
    let (Some(cursors), Some(slots)) = (shim.region.cursors(), shim.region.graph_slots()) else {
        return;
    };
    let reserved = reserve(&cursors.graphs, 1, GRAPH_ENTRIES as u64);
    let slot = reserved.and_then(|count| slots.get(usize::try_from(count).ok()?));
    let Some(slot) = slot else {
        shim.region.stats().graphs_full.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let node = if kind == graph_kind::EXEC_CREATED || kind == graph_kind::EXEC_DESTROYED {
        u64::from(shim.cupti.graph_exec_id(graph.graph_exec))
    } else {
        shim.cupti.graph_node_id(graph.node)
    };
    let graphs = u64::from(shim.cupti.graph_id(graph.graph))
        | u64::from(shim.cupti.graph_id(graph.original_graph)) << 32;
    slot.node.store(node, Ordering::Relaxed);
    slot.original_node.store(shim.cupti.graph_node_id(graph.original_node), Ordering::Relaxed);
    slot.graphs.store(graphs, Ordering::Relaxed);
    slot.time_ns.store(now_ns(), Ordering::Relaxed);
    let kind_and_type = u64::from(kind) | u64::from(graph.node_type) << 32;
    slot.kind_and_type.store(kind_and_type, Ordering::Release);
}
