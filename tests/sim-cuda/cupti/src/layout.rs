//! How long records are in each libcupti, and where their fields are.
//!
//! Strides are measured ones: what the real `cuptiActivityGetNextRecord` of that version steps by.
//! Structures were only ever appended to, so an offset is the same in every version that has the field.

use crate::version::Version;

/// Stride per kind, one column per entry of [`crate::version::VERSIONS`]; 0 = no such kind.
#[rustfmt::skip]
const STRIDES: &[(u32, [u16; 15])] = &[
    // kind  12.0 12.1 12.2 12.3 12.4 12.5 12.6 12.8 12.9 13.0 13.1 13.2 13.3 13.4 13.5
    (1,  [88, 88, 88, 88, 88, 88, 88, 96, 96, 96, 96, 96, 96, 112, 112]),
    (2,  [88, 88, 88, 88, 88, 88, 88, 88, 88, 88, 88, 88, 88, 104, 104]),
    (3,  [208, 208, 208, 208, 208, 208, 208, 208, 208, 216, 224, 224, 232, 248, 248]),
    (4,  [40; 15]),
    (5,  [40; 15]),
    (8,  [176, 176, 184, 184, 184, 184, 184, 184, 184, 184, 184, 192, 192, 192, 192]),
    (9,  [16, 16, 16, 16, 24, 32, 32, 32, 32, 32, 40, 40, 40, 40, 40]),
    (10, [208, 208, 208, 208, 208, 208, 208, 208, 208, 216, 224, 224, 232, 248, 248]),
    (11, [32; 15]),
    (12, [56; 15]),
    (13, [32, 32, 32, 32, 32, 32, 32, 32, 32, 40, 40, 40, 40, 40, 40]),
    (17, [40, 40, 40, 48, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56]),
    (20, [40; 15]),
    (22, [96; 15]),
    (25, [64, 64, 64, 64, 64, 64, 64, 104, 104, 104, 104, 104, 104, 104, 104]),
    (26, [32; 15]),
    (27, [24; 15]),
    (36, [24, 24, 24, 24, 24, 24, 24, 56, 56, 56, 56, 56, 56, 56, 80]),
    (37, [24; 15]),
    (38, [40, 40, 40, 40, 40, 40, 40, 56, 56, 56, 56, 56, 56, 56, 56]),
    (39, [24; 15]),
    (45, [80; 15]),
    (48, [40; 15]),
    (49, [120, 120, 120, 120, 120, 120, 128, 128, 128, 128, 128, 128, 128, 128, 128]),
    (50, [72, 72, 72, 72, 72, 72, 72, 72, 72, 80, 80, 80, 80, 80, 80]),
    (51, [48, 48, 48, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56]),
    (52, [64, 64, 64, 64, 72, 72, 72, 72, 72, 72, 72, 72, 72, 72, 72]),
    (53, [0, 0, 0, 0, 0, 0, 0, 56, 56, 56, 56, 56, 56, 56, 56]),
    (54, [0, 0, 0, 0, 0, 0, 0, 64, 64, 64, 64, 64, 64, 64, 64]),
    (55, [0, 0, 0, 0, 0, 0, 0, 0, 32, 32, 32, 32, 32, 32, 32]),
    (56, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 56, 56, 56, 56, 56]),
    (57, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 24, 24, 24, 24]),
    (58, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 48, 48, 48, 48, 48]),
    (59, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 168, 168, 304, 304]),
];

/// Longest record that is ever written.
pub(crate) const LONGEST: usize = 248;

/// Bytes of a record of a kind; `None` where the version has no such kind.
pub(crate) fn stride(version: Version, kind: u32) -> Option<usize> {
    let (_, row) = STRIDES.iter().find(|(own, _)| *own == kind)?;
    Some(usize::from(row[version.column])).filter(|&stride| stride > 0)
}

/// Offsets in kernel records.
pub(crate) mod kernel {
    pub(crate) const REGISTERS: usize = 6;
    pub(crate) const START: usize = 16;
    pub(crate) const END: usize = 24;
    pub(crate) const COMPLETED: usize = 32;
    pub(crate) const DEVICE: usize = 40;
    pub(crate) const CONTEXT: usize = 44;
    pub(crate) const STREAM: usize = 48;
    pub(crate) const GRID: usize = 52;
    pub(crate) const BLOCK: usize = 64;
    pub(crate) const DYNAMIC_SHARED: usize = 80;
    pub(crate) const CORRELATION: usize = 92;
    pub(crate) const GRID_ID: usize = 96;
    pub(crate) const NAME: usize = 104;
    pub(crate) const LAUNCH_TYPE: usize = 136;
    pub(crate) const GRAPH_NODE: usize = 144;
    pub(crate) const GRAPH: usize = 156;
    pub(crate) const CHANNEL_TYPE: usize = 172;
    pub(crate) const PRIORITY: usize = 216;
    pub(crate) const SOURCE_GRAPH: usize = 232;
    pub(crate) const SOURCE_NODE: usize = 240;
}

/// Offsets in copy records.
pub(crate) mod copy {
    pub(crate) const COPY_KIND: usize = 4;
    pub(crate) const SOURCE_KIND: usize = 5;
    pub(crate) const DESTINATION_KIND: usize = 6;
    pub(crate) const FLAGS: usize = 7;
    pub(crate) const BYTES: usize = 8;
    pub(crate) const START: usize = 16;
    pub(crate) const END: usize = 24;
    pub(crate) const DEVICE: usize = 32;
    pub(crate) const CONTEXT: usize = 36;
    pub(crate) const STREAM: usize = 40;
    pub(crate) const CORRELATION: usize = 44;
    pub(crate) const GRAPH_NODE: usize = 64;
    pub(crate) const GRAPH: usize = 72;
    pub(crate) const CHANNEL_TYPE: usize = 80;
    pub(crate) const COUNT: usize = 88;
    pub(crate) const SOURCE_GRAPH: usize = 96;
    pub(crate) const SOURCE_NODE: usize = 104;
}

/// Offsets in set records.
pub(crate) mod set {
    pub(crate) const VALUE: usize = 4;
    pub(crate) const BYTES: usize = 8;
    pub(crate) const START: usize = 16;
    pub(crate) const END: usize = 24;
    pub(crate) const DEVICE: usize = 32;
    pub(crate) const CONTEXT: usize = 36;
    pub(crate) const STREAM: usize = 40;
    pub(crate) const CORRELATION: usize = 44;
    pub(crate) const FLAGS: usize = 48;
    pub(crate) const MEMORY_KIND: usize = 50;
    pub(crate) const GRAPH_NODE: usize = 64;
    pub(crate) const GRAPH: usize = 72;
    pub(crate) const CHANNEL_TYPE: usize = 80;
    pub(crate) const SOURCE_GRAPH: usize = 88;
    pub(crate) const SOURCE_NODE: usize = 96;
}
