//! Callback domains, ids and the structures CUPTI passes. Sizes are the same in 12.0 to 13.5.

use core::ffi::{c_char, c_void};

pub const DOMAIN_DRIVER: u32 = 1;
pub const DOMAIN_RUNTIME: u32 = 2;
pub const DOMAIN_RESOURCE: u32 = 3;

pub const SITE_ENTER: u32 = 0;
pub const SITE_EXIT: u32 = 1;

/// Data of the driver and runtime domains.
#[derive(Debug)]
#[repr(C)]
pub struct CallbackData {
    pub site: u32,
    pub function_name: *const c_char,
    /// The call's arguments in prototype order, laid out as a C struct.
    pub function_params: *const c_void,
    /// Valid at the exit site.
    pub function_return_value: *const u32,
    pub symbol_name: *const c_char,
    pub context: *mut c_void,
    pub context_uid: u32,
    pub correlation_data: *mut u64,
    pub correlation_id: u32,
}

/// Data of the resource domain.
#[derive(Debug)]
#[repr(C)]
pub struct ResourceData {
    pub context: *mut c_void,
    pub handle: *mut c_void,
    /// [`GraphData`] for graph ids.
    pub descriptor: *const c_void,
}

/// What a graph callback is about. Valid inside the callback only.
#[derive(Debug)]
#[repr(C)]
pub struct GraphData {
    pub graph: *mut c_void,
    pub original_graph: *mut c_void,
    pub node: *mut c_void,
    pub original_node: *mut c_void,
    pub node_type: u32,
    pub dependency: *mut c_void,
    pub graph_exec: *mut c_void,
}

const _: () = {
    assert!(size_of::<CallbackData>() == 72);
    assert!(core::mem::offset_of!(CallbackData, correlation_id) == 64);
    assert!(size_of::<ResourceData>() == 24);
    assert!(size_of::<GraphData>() == 56);
};

/// Ids of the resource domain.
pub mod resource {
    pub const CONTEXT_CREATED: u32 = 1;
    pub const MODULE_LOADED: u32 = 6;
    pub const MODULE_UNLOAD_STARTING: u32 = 7;
    pub const GRAPH_DESTROY_STARTING: u32 = 10;
    pub const GRAPHNODE_CREATED: u32 = 13;
    pub const GRAPHEXEC_CREATED: u32 = 18;
    pub const GRAPHEXEC_DESTROY_STARTING: u32 = 19;
    pub const GRAPHNODE_CLONED: u32 = 20;
}

/// Driver-domain ids of `cuGraphExecUpdate` and its second version; the executable graph and the
/// graph are their first two argument words. A runtime update makes one of these calls.
pub const DRIVER_GRAPH_UPDATES: &[u32] = &[561, 696];

/// What a call does, as far as the shim cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Launches a kernel; the value is the argument word that names the function.
    Kernel {
        function_word: usize,
    },
    /// Launches an executable graph, named by the first argument word.
    Graph,
    /// Copies or sets memory.
    Copy,
    SyncContext,
    /// Waits for the stream in the first argument word.
    SyncStream,
    /// Waits for the event in the first argument word.
    SyncEvent,
}

/// Runtime-domain ids with what they do.
pub const RUNTIME_CALLS: &[(u32, Call)] = {
    use Call::{Copy, Graph, Kernel, SyncContext, SyncEvent, SyncStream};
    const FIRST: Call = Kernel { function_word: 0 };
    const SECOND: Call = Kernel { function_word: 1 };
    &[
        (13, FIRST),        // cudaLaunch
        (213, FIRST),       // cudaLaunch_ptsz
        (211, FIRST),       // cudaLaunchKernel
        (214, FIRST),       // cudaLaunchKernel_ptsz
        (269, FIRST),       // cudaLaunchCooperativeKernel
        (270, FIRST),       // cudaLaunchCooperativeKernel_ptsz
        (272, FIRST),       // cudaLaunchCooperativeKernelMultiDevice: a list; its address stands in
        (430, SECOND),      // cudaLaunchKernelExC: the configuration comes first
        (431, SECOND),      // cudaLaunchKernelExC_ptsz
        (311, Graph),       // cudaGraphLaunch
        (312, Graph),       // cudaGraphLaunch_ptsz
        (31, Copy),         // cudaMemcpy
        (32, Copy),         // cudaMemcpy2D
        (41, Copy),         // cudaMemcpyAsync
        (44, Copy),         // cudaMemcpy2DAsync
        (49, Copy),         // cudaMemset
        (51, Copy),         // cudaMemsetAsync
        (52, Copy),         // cudaMemset2DAsync
        (144, Copy),        // cudaMemcpy3D
        (145, Copy),        // cudaMemcpy3DAsync
        (160, Copy),        // cudaMemcpyPeer
        (161, Copy),        // cudaMemcpyPeerAsync
        (215, Copy),        // cudaMemcpy_ptds
        (225, Copy),        // cudaMemcpyAsync_ptsz
        (228, Copy),        // cudaMemcpy2DAsync_ptsz
        (233, Copy),        // cudaMemset_ptds
        (235, Copy),        // cudaMemsetAsync_ptsz
        (126, SyncContext), // cudaThreadSynchronize
        (165, SyncContext), // cudaDeviceSynchronize
        (131, SyncStream),  // cudaStreamSynchronize
        (239, SyncStream),  // cudaStreamSynchronize_ptsz
        (137, SyncEvent),   // cudaEventSynchronize
    ]
};

/// Driver-domain ids with what they do.
pub const DRIVER_CALLS: &[(u32, Call)] = {
    use Call::{Copy, Graph, Kernel, SyncContext, SyncEvent, SyncStream};
    const FIRST: Call = Kernel { function_word: 0 };
    const SECOND: Call = Kernel { function_word: 1 };
    &[
        (115, FIRST),       // cuLaunch
        (116, FIRST),       // cuLaunchGrid
        (117, FIRST),       // cuLaunchGridAsync
        (307, FIRST),       // cuLaunchKernel
        (442, FIRST),       // cuLaunchKernel_ptsz
        (477, FIRST),       // cuLaunchCooperativeKernel
        (478, FIRST),       // cuLaunchCooperativeKernel_ptsz
        (480, FIRST),       // cuLaunchCooperativeKernelMultiDevice
        (652, SECOND),      // cuLaunchKernelEx: the configuration comes first
        (653, SECOND),      // cuLaunchKernelEx_ptsz
        (514, Graph),       // cuGraphLaunch
        (515, Graph),       // cuGraphLaunch_ptsz
        (216, Copy),        // cuMemsetD8Async
        (218, Copy),        // cuMemsetD16Async
        (220, Copy),        // cuMemsetD32Async
        (249, Copy),        // cuMemsetD8_v2
        (250, Copy),        // cuMemsetD16_v2
        (251, Copy),        // cuMemsetD32_v2
        (276, Copy),        // cuMemcpyHtoD_v2
        (277, Copy),        // cuMemcpyHtoDAsync_v2
        (278, Copy),        // cuMemcpyDtoH_v2
        (279, Copy),        // cuMemcpyDtoHAsync_v2
        (280, Copy),        // cuMemcpyDtoD_v2
        (281, Copy),        // cuMemcpyDtoDAsync_v2
        (305, Copy),        // cuMemcpy
        (306, Copy),        // cuMemcpyAsync
        (318, Copy),        // cuMemcpyPeer
        (319, Copy),        // cuMemcpyPeerAsync
        (397, Copy),        // cuMemcpyHtoD_v2_ptds
        (398, Copy),        // cuMemcpyDtoH_v2_ptds
        (399, Copy),        // cuMemcpyDtoD_v2_ptds
        (418, Copy),        // cuMemcpyAsync_ptsz
        (421, Copy),        // cuMemcpyHtoDAsync_v2_ptsz
        (422, Copy),        // cuMemcpyDtoHAsync_v2_ptsz
        (423, Copy),        // cuMemcpyDtoDAsync_v2_ptsz
        (428, Copy),        // cuMemsetD8Async_ptsz
        (429, Copy),        // cuMemsetD16Async_ptsz
        (430, Copy),        // cuMemsetD32Async_ptsz
        (17, SyncContext),  // cuCtxSynchronize
        (800, SyncContext), // cuCtxSynchronize_v2, from CUDA 13
        (126, SyncStream),  // cuStreamSynchronize
        (440, SyncStream),  // cuStreamSynchronize_ptsz
        (121, SyncEvent),   // cuEventSynchronize
    ]
};
