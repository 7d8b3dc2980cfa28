//! Graphs by hand, and executable graphs.

use std::ffi::{c_char, c_void};

use sim_channel::lock;
use sim_channel::raw::{In, Out};

use crate::entry::copy::{Memcpy3D, volume};
use crate::entry::device::put;
use crate::entry::{DevicePtr, driver_api};
use crate::error::{Cu, CuError, INVALID_VALUE};
use crate::work::{HostFunction, Kernel, Set2d, Task};
use crate::{exec, graph, module, stream};

/// `CUDA_KERNEL_NODE_PARAMS` and, with the last two fields, its second version.
#[derive(Clone, Copy)]
#[repr(C)]
struct KernelNode {
    function: usize,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct KernelNodeV2 {
    base: KernelNode,
    kernel: usize,
    context: usize,
}

/// `CUDA_MEMSET_NODE_PARAMS`.
#[derive(Clone, Copy)]
#[repr(C)]
struct SetNode {
    to: DevicePtr,
    pitch: usize,
    value: u32,
    element: u32,
    width: usize,
    height: usize,
}

/// `CUDA_HOST_NODE_PARAMS`.
#[derive(Clone, Copy)]
#[repr(C)]
struct HostNode {
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[derive(Clone, Copy)]
#[repr(C)]
struct InstantiateParams {
    flags: u64,
    upload_stream: usize,
    error_node: usize,
    result: u32,
}

/// `CUgraphExecUpdateResultInfo`.
#[derive(Clone, Copy)]
#[repr(C)]
struct UpdateInfo {
    result: u32,
    error_node: usize,
    error_from: usize,
}

/// `CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED`.
const TOPOLOGY_CHANGED: u32 = 2;

driver_api! {
    None fn cuGraphCreate [call, default] (graph: Out<usize>, flags: u32) {
        if flags != 0 {
            return Err(INVALID_VALUE);
        }
        put(graph, graph::create().handle)
    }

    None fn cuGraphDestroy [call, default] (graph: usize) {
        graph::destroy(graph)
    }

    None fn cuGraphClone [call, default] (clone: Out<usize>, original: usize) {
        put(clone, graph::duplicate(&*graph::get(original)?).handle)
    }

    None fn cuGraphAddKernelNode [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize, params: In<KernelNode>
    ) {
        let task = kernel(&params.get().ok_or(INVALID_VALUE)?, 0)?;
        add(node, graph, &after.list(count), task)
    }

    None fn cuGraphAddKernelNode_v2 [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize, params: In<KernelNodeV2>
    ) {
        let params = params.get().ok_or(INVALID_VALUE)?;
        let _ = params.context;
        add(node, graph, &after.list(count), kernel(&params.base, params.kernel)?)
    }

    None fn cuGraphAddMemcpyNode [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize, params: In<Memcpy3D>,
        context: usize
    ) {
        let _ = context;
        let task = Task::Copy(volume(&params.get().ok_or(INVALID_VALUE)?)?);
        add(node, graph, &after.list(count), task)
    }

    None fn cuGraphAddMemsetNode [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize, params: In<SetNode>,
        context: usize
    ) {
        let _ = context;
        let set = params.get().ok_or(INVALID_VALUE)?;
        let task = Task::Set(Set2d {
            to: set.to,
            value: set.value,
            element: u64::from(set.element),
            width: set.width as u64,
            height: set.height.max(1) as u64,
            pitch: set.pitch as u64,
        });
        add(node, graph, &after.list(count), task)
    }

    None fn cuGraphAddHostNode [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize, params: In<HostNode>
    ) {
        let host = params.get().ok_or(INVALID_VALUE)?;
        let function = host.function.ok_or(INVALID_VALUE)?;
        let task = Task::Host(HostFunction { function, data: host.data.expose_provenance() });
        add(node, graph, &after.list(count), task)
    }

    None fn cuGraphAddEmptyNode [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize
    ) {
        add(node, graph, &after.list(count), Task::Empty)
    }

    None fn cuGraphAddChildGraphNode [call, default] (
        node: Out<usize>, graph: usize, after: In<usize>, count: usize, child: usize
    ) {
        if graph == child {
            return Err(INVALID_VALUE);
        }
        let child = graph::duplicate(&*graph::get(child)?);
        add(node, graph, &after.list(count), Task::Child(child))
    }

    None fn cuGraphKernelNodeSetParams_v2 [call, default] (node: usize, params: In<KernelNodeV2>) {
        let params = params.get().ok_or(INVALID_VALUE)?;
        let task = kernel(&params.base, params.kernel)?;
        *lock(&graph::node(node)?.task) = task;
        Ok(())
    }

    None fn cuGraphDestroyNode [call, default] (node: usize) {
        graph::destroy_node(node)
    }

    None fn cuGraphNodeGetType [call, default] (node: usize, kind: Out<u32>) {
        put(kind, graph::node(node)?.kind)
    }

    None fn cuGraphGetNodes [call, default] (graph: usize, nodes: Out<usize>, count: Out<usize>) {
        list(&graph::get(graph)?.node_handles(false), nodes, count)
    }

    None fn cuGraphGetRootNodes [call, default] (graph: usize, nodes: Out<usize>, count: Out<usize>) {
        list(&graph::get(graph)?.node_handles(true), nodes, count)
    }

    None fn cuGraphInstantiate_v2 [call, default] (
        exec: Out<usize>, graph: usize, error_node: Out<usize>, log: Out<c_char>, room: usize
    ) {
        let _ = (error_node, log, room);
        put(exec, exec::instantiate(&*graph::get(graph)?).handle)
    }

    None fn cuGraphInstantiateWithFlags [call, default] (
        exec: Out<usize>, graph: usize, flags: u64
    ) {
        instantiate(exec, graph, flags)
    }

    None fn cuGraphInstantiateWithParams | cuGraphInstantiateWithParams_ptsz [call, default] (
        exec: Out<usize>, graph: usize, params: Out<InstantiateParams>
    ) {
        let mut answer = params.get().ok_or(INVALID_VALUE)?;
        let _ = answer.upload_stream;
        instantiate(exec, graph, answer.flags)?;
        answer.error_node = 0;
        answer.result = 0;
        put(params, answer)
    }

    None fn cuGraphUpload | cuGraphUpload_ptsz [call, default] (exec: usize, stream: usize) {
        exec::get(exec)?;
        stream::resolve(stream, default).map(drop)
    }

    None fn cuGraphExecDestroy [call, default] (exec: usize) {
        exec::destroy(exec)
    }

    None fn cuGraphExecUpdate [call, default] (
        exec: usize, graph: usize, error_node: Out<usize>, result: Out<u32>
    ) {
        let updated = exec::update(&*exec::get(exec)?, &*graph::get(graph)?);
        if !error_node.is_null() {
            put(error_node, 0)?;
        }
        put(result, if updated.is_ok() { 0 } else { TOPOLOGY_CHANGED })?;
        updated
    }

    None fn cuGraphExecUpdate_v2 [call, default] (
        exec: usize, graph: usize, info: Out<UpdateInfo>
    ) {
        let updated = exec::update(&*exec::get(exec)?, &*graph::get(graph)?);
        let result = if updated.is_ok() { 0 } else { TOPOLOGY_CHANGED };
        put(info, UpdateInfo { result, error_node: 0, error_from: 0 })?;
        updated
    }
}

/// `CUDA_GRAPH_INSTANTIATE_FLAG_*`: auto-free, upload, device launch, node priority.
const DEVICE_LAUNCH: u64 = 4;
const AUTO_FREE: u64 = 1;
const ALL_FLAGS: u64 = 15;

fn instantiate(exec: Out<usize>, graph: usize, flags: u64) -> Cu {
    if flags > ALL_FLAGS || (flags & DEVICE_LAUNCH != 0 && flags & AUTO_FREE != 0) {
        return Err(INVALID_VALUE);
    }
    put(exec, exec::instantiate(&*graph::get(graph)?).handle)
}

fn kernel(params: &KernelNode, kernel: usize) -> Result<Task, CuError> {
    let _ = (params.params, params.extra);
    let function = if params.function == 0 { kernel } else { params.function };
    Ok(Task::Kernel(Kernel {
        function: module::function(function)?,
        grid: params.grid,
        block: params.block,
        dynamic_shared: params.shared,
        launch_type: 0,
    }))
}

fn add(out: Out<usize>, graph: usize, after: &[usize], task: Task) -> Cu {
    let graph = graph::get(graph)?;
    let dependencies = graph.indices(after)?;
    put(out, graph.add(task, &dependencies)?.handle)
}

/// Fills a caller's array as far as it goes, or only says how many there are.
fn list(handles: &[usize], out: Out<usize>, count: Out<usize>) -> Cu {
    let room = count.get().ok_or(INVALID_VALUE)?;
    if out.is_null() {
        return put(count, handles.len());
    }
    for (index, &handle) in handles.iter().take(room).enumerate() {
        out.put_at(index, handle);
    }
    put(count, handles.len().min(room))
}
