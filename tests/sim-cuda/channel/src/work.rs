//! A piece of device work on its way from the virtual device to activity records.

use std::ffi::c_char;

/// Activity kinds that the virtual device knows how to fill.
pub mod kind {
    pub const MEMCPY: u32 = 1;
    pub const MEMSET: u32 = 2;
    pub const KERNEL: u32 = 3;
    pub const DRIVER: u32 = 4;
    pub const RUNTIME: u32 = 5;
    pub const CONCURRENT_KERNEL: u32 = 10;
    pub const SYNCHRONIZATION: u32 = 38;
    pub const EXTERNAL_CORRELATION: u32 = 39;
    pub const MEMORY2: u32 = 49;
    pub const GRAPH_TRACE: u32 = 51;
}

/// Work of one launch: everything a kernel, copy or set record says. Times are `CLOCK_MONOTONIC` ns.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Work {
    /// [`kind::CONCURRENT_KERNEL`], [`kind::MEMCPY`], [`kind::MEMSET`].
    pub kind: u32,
    pub device: u32,
    pub context: u32,
    pub stream: u32,
    pub correlation: u32,
    /// Executed graph, or 0.
    pub graph: u32,
    pub graph_node: u64,
    /// Graph and node it was instantiated from, or 0.
    pub source_graph: u32,
    pub registers: u16,
    pub copy_kind: u8,
    pub source_kind: u8,
    pub source_node: u64,
    pub launched: u64,
    pub start: u64,
    pub end: u64,
    pub bytes: u64,
    /// Kernel name in its module's arena; stays until the module is released.
    pub name: *const c_char,
    /// What to release once the record is gone: a module's number, or 0.
    pub module: usize,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub priority: i32,
    pub value: u32,
    pub destination_kind: u8,
    pub launch_type: u8,
    pub flags: u8,
    pub padding: u8,
    /// Where the program says the graph's node was made, or 0.
    pub site: u32,
    pub reserved: u32,
    /// Number of this work in the truth file.
    pub sequence: u64,
    /// Sequence of the outermost call.
    pub call: u64,
}

// SAFETY: `name` points into an arena that the simulated libcuda keeps until every record that
// names it is released; it is only read.
unsafe impl Send for Work {}

/// An API call, synchronisation or allocation for the activity kinds that are about them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ApiRecord {
    pub kind: u32,
    pub cbid: u32,
    pub start: u64,
    pub end: u64,
    pub thread: u32,
    pub correlation: u32,
    pub result: i32,
    pub padding: u32,
}

/// A `MEMORY2` record.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MemoryRecord {
    /// 1 allocation, 2 release.
    pub operation: u32,
    /// 2 pinned, 3 device, 5 managed.
    pub memory_kind: u32,
    pub correlation: u32,
    pub device: u32,
    pub context: u32,
    pub stream: u32,
    pub address: u64,
    pub bytes: u64,
    pub time: u64,
    pub is_async: u32,
    pub padding: u32,
}

/// A `SYNCHRONIZATION` record.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SyncRecord {
    /// 1 event, 2 stream waits for event, 3 stream, 4 context.
    pub what: u32,
    pub correlation: u32,
    pub start: u64,
    pub end: u64,
    pub context: u32,
    pub stream: u32,
    pub event: u32,
    pub padding: u32,
}

/// What became of a record: the numbers of `sim_truth::Outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    Delivered = 1,
    Zeroed = 2,
    Dropped = 3,
    Incomplete = 5,
}

/// Tells libcuda what became of a record.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Settlement {
    pub work: u64,
    pub clock_offset: i64,
    pub outcome: Outcome,
    pub padding: u32,
}
