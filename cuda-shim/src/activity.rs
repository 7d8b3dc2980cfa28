//! One CUPTI activity record -> one ring record. Pure over bytes.

use std::ffi::c_char;

use cupti_sys::record::{
    CONCURRENT_KERNEL, KIND, MEMCPY, MEMCPY_PEER, MEMSET, kernel, memcpy, memcpy_peer, memset,
};
use wire::shim::{CopyRecord, KernelRecord, Payload, WORK_SOURCE_NODE, record_kind};

/// Which fields this CUPTI's records have. No field that is read ever moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    /// All versions.
    Common,
    /// And the source node of work in graphs.
    WithSource,
}

/// `cuptiGetVersion`'s answer from which on records have a source node: 13.4.
const VERSION_WITH_SOURCE: u32 = 130_400;

impl Fields {
    /// By `cuptiGetVersion`'s answer.
    pub(crate) fn of_version(version: u32) -> Self {
        if version >= VERSION_WITH_SOURCE { Self::WithSource } else { Self::Common }
    }

    /// `common`, or with the source node, `with_source`.
    fn choose(self, common: usize, with_source: usize) -> usize {
        match self {
            Self::Common => common,
            Self::WithSource => with_source,
        }
    }
}

/// Bytes of a record of this kind that every version has; `None` for kinds nobody asked for.
pub(crate) fn needed(kind: u32) -> Option<usize> {
    needed_for(kind, Fields::Common)
}

fn needed_for(kind: u32, fields: Fields) -> Option<usize> {
    match kind {
        CONCURRENT_KERNEL => Some(fields.choose(kernel::NEEDED, kernel::NEEDED_WITH_SOURCE)),
        MEMCPY => Some(fields.choose(memcpy::NEEDED, memcpy::NEEDED_WITH_SOURCE)),
        MEMCPY_PEER => Some(memcpy_peer::NEEDED),
        MEMSET => Some(fields.choose(memset::NEEDED, memset::NEEDED_WITH_SOURCE)),
        _ => None,
    }
}

/// The kind of a record.
pub(crate) fn kind(record: &[u8]) -> Option<u32> {
    record.get(KIND..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The node to tell, and the flag that says which: the source's, which leads to the capture at once,
/// or the executed one.
fn node(record: &[u8], fields: Fields, source: Option<usize>, executed: usize) -> (u64, u8) {
    let source = match (fields, source) {
        (Fields::WithSource, Some(offset)) => word(record, offset),
        _ => 0,
    };
    if source == 0 { (word(record, executed), 0) } else { (source, WORK_SOURCE_NODE) }
}

/// Translates a record, which may be longer than what is known of it. `None` when it is shorter than
/// [`needed`]. `intern` turns a name pointer into an id.
pub(crate) fn translate(
    kind: u32,
    fields: Fields,
    record: &[u8],
    producer: u16,
    intern: impl FnOnce(*const c_char) -> u32,
) -> Option<Payload> {
    // A version number does not make a field: the record must be as long.
    let whole = record.len() >= needed_for(kind, fields)?;
    let fields = if whole { fields } else { Fields::Common };
    if record.len() < needed(kind)? {
        return None;
    }
    match kind {
        CONCURRENT_KERNEL => {
            let (graph_node, flags) =
                node(record, fields, Some(kernel::SOURCE_NODE), kernel::GRAPH_NODE);
            Some(zerocopy::transmute!(KernelRecord {
                kind: record_kind::KERNEL,
                producer,
                flags: flags.into(),
                start_ns: word(record, kernel::START),
                end_ns: word(record, kernel::END),
                graph_node,
                correlation: half(record, kernel::CORRELATION),
                name: intern(std::ptr::with_exposed_provenance(address(record, kernel::NAME))),
                stream: half(record, kernel::STREAM),
                graph: half(record, kernel::GRAPH),
                device: saturated(record, kernel::DEVICE),
                grid_x: saturated(record, kernel::GRID_X),
                context: half(record, kernel::CONTEXT),
            }))
        }
        MEMCPY | MEMCPY_PEER => {
            let peer = kind == MEMCPY_PEER;
            let at =
                |plain: usize, between_devices: usize| if peer { between_devices } else { plain };
            let kinds = [memcpy::COPY_KIND, memcpy::SOURCE_KIND, memcpy::DESTINATION_KIND];
            let [copy_kind, source_kind, destination_kind] = kinds.map(|offset| record[offset]);
            Some(copy(
                record,
                record_kind::MEMCPY,
                producer,
                [copy_kind, source_kind, destination_kind],
                word(record, memcpy::BYTES),
                at(memcpy::CORRELATION, memcpy_peer::CORRELATION),
                node(
                    record,
                    fields,
                    (!peer).then_some(memcpy::SOURCE_NODE),
                    at(memcpy::GRAPH_NODE, memcpy_peer::GRAPH_NODE),
                ),
                at(memcpy::GRAPH, memcpy_peer::GRAPH),
            ))
        }
        MEMSET => Some(copy(
            record,
            record_kind::MEMSET,
            producer,
            [0; 3],
            word(record, memset::BYTES),
            memset::CORRELATION,
            node(record, fields, Some(memset::SOURCE_NODE), memset::GRAPH_NODE),
            memset::GRAPH,
        )),
        _ => None,
    }
}

/// Copies and sets share the offsets of times, device, context and stream.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a 48-bit count")]
#[expect(clippy::too_many_arguments, reason = "two offsets and the node differ, all are needed")]
fn copy(
    record: &[u8],
    kind: u16,
    producer: u16,
    [copy_kind, source_kind, destination_kind]: [u8; 3],
    bytes: u64,
    correlation: usize,
    (graph_node, flags): (u64, u8),
    graph: usize,
) -> Payload {
    zerocopy::transmute!(CopyRecord {
        kind,
        producer,
        copy_kind,
        source_kind,
        destination_kind,
        flags,
        start_ns: word(record, memcpy::START),
        end_ns: word(record, memcpy::END),
        graph_node,
        correlation: half(record, correlation),
        bytes_low: (bytes & u64::from(u32::MAX)) as u32,
        stream: half(record, memcpy::STREAM),
        graph: half(record, graph),
        device: saturated(record, memcpy::DEVICE),
        bytes_high: (bytes >> 32) as u16,
        context: half(record, memcpy::CONTEXT),
    })
}

fn address(record: &[u8], offset: usize) -> usize {
    usize::try_from(word(record, offset)).unwrap_or(0)
}

fn saturated(record: &[u8], offset: usize) -> u16 {
    u16::try_from(half(record, offset)).unwrap_or(u16::MAX)
}

fn half(record: &[u8], offset: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&record[offset..offset + 4]);
    u32::from_ne_bytes(bytes)
}

fn word(record: &[u8], offset: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[offset..offset + 8]);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (offset, value) in fields {
            bytes[*offset..offset + value.len()].copy_from_slice(value);
        }
        bytes
    }

    #[test]
    fn kernel_fields_come_from_their_offsets() {
        let bytes = record(
            208,
            &[
                (0, &10_u32.to_ne_bytes()),
                (16, &1000_u64.to_ne_bytes()),
                (24, &1500_u64.to_ne_bytes()),
                (40, &3_u32.to_ne_bytes()),
                (44, &4_u32.to_ne_bytes()),
                (48, &5_u32.to_ne_bytes()),
                (52, &70_000_u32.to_ne_bytes()),
                (92, &6_u32.to_ne_bytes()),
                (104, &0x7000_u64.to_ne_bytes()),
                (144, &8_u64.to_ne_bytes()),
                (156, &9_u32.to_ne_bytes()),
            ],
        );
        let payload = translate(10, Fields::Common, &bytes, 2, |pointer| {
            assert_eq!(pointer as usize, 0x7000);
            77
        });
        let expected = KernelRecord {
            kind: record_kind::KERNEL,
            producer: 2,
            flags: 0,
            start_ns: 1000,
            end_ns: 1500,
            graph_node: 8,
            correlation: 6,
            name: 77,
            stream: 5,
            graph: 9,
            device: 3,
            grid_x: u16::MAX,
            context: 4,
        };
        assert_eq!(payload.map(|words| zerocopy::transmute!(words)), Some(expected));
    }

    #[test]
    fn peer_copies_differ_from_the_stream_on() {
        let bytes = record(
            96,
            &[
                (0, &22_u32.to_ne_bytes()),
                (4, &[10, 3, 3]),
                (8, &0x0012_3456_789a_u64.to_ne_bytes()),
                (16, &1_u64.to_ne_bytes()),
                (24, &2_u64.to_ne_bytes()),
                (32, &1_u32.to_ne_bytes()),
                (40, &7_u32.to_ne_bytes()),
                (60, &8_u32.to_ne_bytes()),
                (72, &9_u64.to_ne_bytes()),
                (80, &11_u32.to_ne_bytes()),
            ],
        );
        let Some(words) = translate(22, Fields::WithSource, &bytes, 0, |_| 0) else {
            panic!("not translated")
        };
        let copy: CopyRecord = zerocopy::transmute!(words);
        assert_eq!((copy.copy_kind, copy.bytes_low, copy.bytes_high), (10, 0x3456_789a, 0x12));
        assert_eq!((copy.correlation, copy.graph_node, copy.graph), (8, 9, 11));
        assert_eq!((copy.device, copy.stream), (1, 7));
    }

    #[test]
    fn short_records_and_unknown_kinds_are_refused() {
        for (kind, fields) in
            (0..64).flat_map(|kind| [(kind, Fields::Common), (kind, Fields::WithSource)])
        {
            let enough = needed(kind).unwrap_or(256);
            assert_eq!(
                translate(kind, fields, &vec![1; enough], 0, |_| 1).is_some(),
                needed(kind).is_some()
            );
            if enough > 0 {
                assert!(translate(kind, fields, &vec![1; enough - 1], 0, |_| 1).is_none());
            }
        }
    }

    #[test]
    fn the_source_node_stands_in_where_the_version_has_one_and_the_record_too() {
        // Kind, offset of the executed node, offset of the source node, length.
        for (kind, executed, source, length) in
            [(10_u32, 144, 240, 248), (1, 64, 104, 112), (2, 64, 96, 104)]
        {
            let told_by = |length: usize, fields, source_node: u64| {
                let mut bytes = record(
                    source + 8,
                    &[
                        (0, &kind.to_ne_bytes()),
                        (executed, &8_u64.to_ne_bytes()),
                        (source, &source_node.to_ne_bytes()),
                    ],
                );
                bytes.truncate(length);
                let words = translate(kind, fields, &bytes, 0, |_| 0).unwrap();
                if kind == 10 {
                    let kernel: KernelRecord = zerocopy::transmute!(words);
                    (kernel.graph_node, kernel.flags)
                } else {
                    let copy: CopyRecord = zerocopy::transmute!(words);
                    (copy.graph_node, copy.flags.into())
                }
            };
            let told = |fields, source_node| told_by(length, fields, source_node);
            assert_eq!(told(Fields::WithSource, 5), (5, u32::from(WORK_SOURCE_NODE)), "{kind}");
            assert_eq!(told(Fields::WithSource, 0), (8, 0), "{kind}");
            assert_eq!(told(Fields::Common, 5), (8, 0), "{kind}");
            assert_eq!(
                told_by(length - 8, Fields::WithSource, 0),
                (8, 0),
                "{kind}: too short for it"
            );
        }
        assert_eq!(Fields::of_version(28), Fields::Common);
        assert_eq!(Fields::of_version(130_301), Fields::Common);
        assert_eq!(Fields::of_version(130_401), Fields::WithSource);
    }
}
