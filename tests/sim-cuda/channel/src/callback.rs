//! Callback domains, resource ids and the structures that callbacks receive.

use std::ffi::{c_char, c_void};

pub const DRIVER: u32 = 1;
pub const RUNTIME: u32 = 2;
pub const RESOURCE: u32 = 3;
/// Number of domains, with the unused 0.
pub const DOMAINS: usize = 8;
/// Callback ids per domain: CUDA 13.5 has 877 driver ids.
pub const IDS: usize = 1024;

/// Ids of the resource domain.
pub mod resource {
    pub const CONTEXT_CREATED: u32 = 1;
    pub const CONTEXT_DESTROY_STARTING: u32 = 2;
    pub const STREAM_CREATED: u32 = 3;
    pub const STREAM_DESTROY_STARTING: u32 = 4;
    pub const CU_INIT_FINISHED: u32 = 5;
    pub const MODULE_LOADED: u32 = 6;
    pub const MODULE_UNLOAD_STARTING: u32 = 7;
    pub const GRAPH_CREATED: u32 = 9;
    pub const GRAPH_DESTROY_STARTING: u32 = 10;
    pub const GRAPH_CLONED: u32 = 11;
    pub const GRAPHNODE_CREATE_STARTING: u32 = 12;
    pub const GRAPHNODE_CREATED: u32 = 13;
    pub const GRAPHNODE_DESTROY_STARTING: u32 = 14;
    pub const GRAPHEXEC_CREATE_STARTING: u32 = 17;
    pub const GRAPHEXEC_CREATED: u32 = 18;
    pub const GRAPHEXEC_DESTROY_STARTING: u32 = 19;
    pub const GRAPHNODE_CLONED: u32 = 20;
}

pub const SITE_ENTER: u32 = 0;
pub const SITE_EXIT: u32 = 1;

/// `CUpti_CallbackData`.
#[derive(Debug)]
#[repr(C)]
pub struct CallbackData {
    pub site: u32,
    pub function_name: *const c_char,
    pub function_params: *const c_void,
    pub function_return_value: *mut c_void,
    pub symbol_name: *const c_char,
    pub context: usize,
    pub context_uid: u32,
    pub correlation_data: *mut u64,
    pub correlation_id: u32,
}

/// `CUpti_ResourceData`.
#[derive(Debug)]
#[repr(C)]
pub struct ResourceData {
    pub context: usize,
    pub handle: usize,
    pub descriptor: *const c_void,
}

/// `CUpti_ModuleResourceData`.
#[derive(Debug)]
#[repr(C)]
pub struct ModuleData {
    pub module_id: u32,
    pub cubin_size: usize,
    pub cubin: *const c_char,
}

/// `CUpti_GraphData`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GraphData {
    pub graph: usize,
    pub original_graph: usize,
    pub node: usize,
    pub original_node: usize,
    pub node_type: u32,
    pub dependency: usize,
    pub graph_exec: usize,
}

const _: () = {
    assert!(size_of::<CallbackData>() == 72);
    assert!(std::mem::offset_of!(CallbackData, context_uid) == 48);
    assert!(std::mem::offset_of!(CallbackData, correlation_id) == 64);
    assert!(size_of::<ResourceData>() == 24);
    assert!(size_of::<ModuleData>() == 24);
    assert!(size_of::<GraphData>() == 56);
    assert!(std::mem::offset_of!(GraphData, graph_exec) == 48);
};
