//! Activity kinds and the byte offsets of the fields used. Every record starts with its kind (u32).

/// Offset of the kind in every record.
pub const KIND: usize = 0;

pub const MEMCPY: u32 = 1;
pub const MEMSET: u32 = 2;
pub const CONCURRENT_KERNEL: u32 = 10;
/// Copies between devices.
pub const MEMCPY_PEER: u32 = 22;

/// `CONCURRENT_KERNEL`.
pub mod kernel {
    pub const START: usize = 16;
    pub const END: usize = 24;
    pub const DEVICE: usize = 40;
    pub const CONTEXT: usize = 44;
    pub const STREAM: usize = 48;
    pub const GRID_X: usize = 52;
    pub const CORRELATION: usize = 92;
    /// `const char *`, alive until its module is unloaded.
    pub const NAME: usize = 104;
    pub const GRAPH_NODE: usize = 144;
    pub const GRAPH: usize = 156;
    /// Bytes of a record that hold all of the above.
    pub const NEEDED: usize = 160;
    /// Node the executed graph's node was made from or last updated by. From 13.4.
    pub const SOURCE_NODE: usize = 240;
    pub const NEEDED_WITH_SOURCE: usize = 248;
}

/// `MEMCPY`.
pub mod memcpy {
    pub const COPY_KIND: usize = 4;
    pub const SOURCE_KIND: usize = 5;
    pub const DESTINATION_KIND: usize = 6;
    pub const BYTES: usize = 8;
    pub const START: usize = 16;
    pub const END: usize = 24;
    pub const DEVICE: usize = 32;
    pub const CONTEXT: usize = 36;
    pub const STREAM: usize = 40;
    pub const CORRELATION: usize = 44;
    pub const GRAPH_NODE: usize = 64;
    pub const GRAPH: usize = 72;
    pub const NEEDED: usize = 76;
    /// From 13.4.
    pub const SOURCE_NODE: usize = 104;
    pub const NEEDED_WITH_SOURCE: usize = 112;
}

/// `MEMCPY_PEER`: as `memcpy` up to the stream, then different.
pub mod memcpy_peer {
    pub const CORRELATION: usize = 60;
    pub const GRAPH_NODE: usize = 72;
    pub const GRAPH: usize = 80;
    pub const NEEDED: usize = 84;
}

/// `MEMSET`.
pub mod memset {
    pub const BYTES: usize = 8;
    pub const START: usize = 16;
    pub const END: usize = 24;
    pub const DEVICE: usize = 32;
    pub const CONTEXT: usize = 36;
    pub const STREAM: usize = 40;
    pub const CORRELATION: usize = 44;
    pub const GRAPH_NODE: usize = 64;
    pub const GRAPH: usize = 72;
    pub const NEEDED: usize = 76;
    /// From 13.4.
    pub const SOURCE_NODE: usize = 96;
    pub const NEEDED_WITH_SOURCE: usize = 104;
}
