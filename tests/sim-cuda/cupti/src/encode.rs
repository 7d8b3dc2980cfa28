//! Writes records, field by field at their offsets. A field beyond the version's stride is left out.

use sim_channel::Work;
use sim_channel::work::{ApiRecord, MemoryRecord, SyncRecord, kind};

use crate::layout::{LONGEST, copy, kernel, set, stride};
use crate::version::Version;

/// A record on its way into a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record {
    Work(Work),
    /// One per graph launch, in place of its nodes' records.
    GraphTrace(Work),
    Api(ApiRecord),
    Memory(MemoryRecord),
    Sync(SyncRecord),
    External {
        kind: u32,
        id: u64,
        correlation: u32,
    },
}

/// The bytes of one record.
pub(crate) struct Bytes {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Bytes {
    /// What goes into the buffer.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn new(version: Version, kind: u32) -> Option<Self> {
        let mut record = Self { bytes: [0; LONGEST], length: stride(version, kind)? };
        record.word(0, kind);
        Some(record)
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        if offset + value.len() <= self.length {
            self.bytes[offset..offset + value.len()].copy_from_slice(value);
        }
    }

    fn byte(&mut self, offset: usize, value: u8) {
        self.put(offset, &[value]);
    }

    fn half(&mut self, offset: usize, value: u16) {
        self.put(offset, &value.to_le_bytes());
    }

    fn word(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }

    fn long(&mut self, offset: usize, value: u64) {
        self.put(offset, &value.to_le_bytes());
    }
}

/// Encodes a record; work with these timestamps in the records' clock. `None` for a kind the version
/// does not have.
pub(crate) fn encode(version: Version, record: &Record, start: u64, end: u64) -> Option<Bytes> {
    match record {
        Record::Work(work) => match work.kind {
            kind::MEMCPY => memcpy(version, work, start, end),
            kind::MEMSET => memset(version, work, start, end),
            _ => kernel_record(version, work, start, end),
        },
        Record::GraphTrace(work) => graph_trace(version, work, start, end),
        Record::Api(api) => api_record(version, api, start, end),
        Record::Memory(memory) => memory_record(version, memory, start),
        Record::Sync(sync) => sync_record(version, sync, start, end),
        Record::External { kind, id, correlation } => {
            let mut bytes = Bytes::new(version, kind::EXTERNAL_CORRELATION)?;
            bytes.word(4, *kind);
            bytes.long(8, *id);
            bytes.word(16, *correlation);
            Some(bytes)
        }
    }
}

fn kernel_record(version: Version, work: &Work, start: u64, end: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, work.kind)?;
    bytes.half(kernel::REGISTERS, work.registers);
    bytes.long(kernel::START, start);
    bytes.long(kernel::END, end);
    bytes.long(kernel::COMPLETED, end);
    bytes.word(kernel::DEVICE, work.device);
    bytes.word(kernel::CONTEXT, work.context);
    bytes.word(kernel::STREAM, work.stream);
    for axis in 0..3 {
        bytes.word(kernel::GRID + 4 * axis, work.grid[axis]);
        bytes.word(kernel::BLOCK + 4 * axis, work.block[axis]);
    }
    bytes.word(kernel::DYNAMIC_SHARED, work.dynamic_shared);
    bytes.word(kernel::CORRELATION, work.correlation);
    bytes.long(kernel::GRID_ID, work.sequence);
    bytes.long(kernel::NAME, work.name.addr() as u64);
    bytes.byte(kernel::LAUNCH_TYPE, work.launch_type);
    bytes.long(kernel::GRAPH_NODE, work.graph_node);
    bytes.word(kernel::GRAPH, work.graph);
    bytes.word(kernel::CHANNEL_TYPE, 1);
    bytes.word(kernel::PRIORITY, work.priority.cast_unsigned());
    bytes.word(kernel::SOURCE_GRAPH, work.source_graph);
    bytes.long(kernel::SOURCE_NODE, work.source_node);
    Some(bytes)
}

fn memcpy(version: Version, work: &Work, start: u64, end: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, work.kind)?;
    bytes.byte(copy::COPY_KIND, work.copy_kind);
    bytes.byte(copy::SOURCE_KIND, work.source_kind);
    bytes.byte(copy::DESTINATION_KIND, work.destination_kind);
    bytes.byte(copy::FLAGS, work.flags);
    bytes.long(copy::BYTES, work.bytes);
    bytes.long(copy::START, start);
    bytes.long(copy::END, end);
    bytes.word(copy::DEVICE, work.device);
    bytes.word(copy::CONTEXT, work.context);
    bytes.word(copy::STREAM, work.stream);
    bytes.word(copy::CORRELATION, work.correlation);
    bytes.long(copy::GRAPH_NODE, work.graph_node);
    bytes.word(copy::GRAPH, work.graph);
    bytes.word(copy::CHANNEL_TYPE, 2);
    bytes.long(copy::COUNT, 1);
    bytes.word(copy::SOURCE_GRAPH, work.source_graph);
    bytes.long(copy::SOURCE_NODE, work.source_node);
    Some(bytes)
}

fn memset(version: Version, work: &Work, start: u64, end: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, work.kind)?;
    bytes.word(set::VALUE, work.value);
    bytes.long(set::BYTES, work.bytes);
    bytes.long(set::START, start);
    bytes.long(set::END, end);
    bytes.word(set::DEVICE, work.device);
    bytes.word(set::CONTEXT, work.context);
    bytes.word(set::STREAM, work.stream);
    bytes.word(set::CORRELATION, work.correlation);
    bytes.half(set::FLAGS, u16::from(work.flags));
    bytes.half(set::MEMORY_KIND, u16::from(work.destination_kind));
    bytes.long(set::GRAPH_NODE, work.graph_node);
    bytes.word(set::GRAPH, work.graph);
    bytes.word(set::CHANNEL_TYPE, 1);
    bytes.word(set::SOURCE_GRAPH, work.source_graph);
    bytes.long(set::SOURCE_NODE, work.source_node);
    Some(bytes)
}

fn graph_trace(version: Version, work: &Work, start: u64, end: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, kind::GRAPH_TRACE)?;
    bytes.word(4, work.correlation);
    bytes.long(8, start);
    bytes.long(16, end);
    bytes.word(24, work.device);
    bytes.word(28, work.graph);
    bytes.word(32, work.context);
    bytes.word(36, work.stream);
    bytes.word(48, work.device);
    bytes.word(52, work.context);
    Some(bytes)
}

fn api_record(version: Version, api: &ApiRecord, start: u64, end: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, api.kind)?;
    bytes.word(4, api.cbid);
    bytes.long(8, start);
    bytes.long(16, end);
    bytes.word(24, std::process::id());
    bytes.word(28, api.thread);
    bytes.word(32, api.correlation);
    bytes.word(36, api.result.cast_unsigned());
    Some(bytes)
}

fn memory_record(version: Version, memory: &MemoryRecord, time: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, kind::MEMORY2)?;
    bytes.word(4, memory.operation);
    bytes.word(8, memory.memory_kind);
    bytes.word(12, memory.correlation);
    bytes.long(16, memory.address);
    bytes.long(24, memory.bytes);
    bytes.long(32, time);
    bytes.word(48, std::process::id());
    bytes.word(52, memory.device);
    bytes.word(56, memory.context);
    bytes.word(60, memory.stream);
    bytes.word(72, memory.is_async);
    Some(bytes)
}

fn sync_record(version: Version, sync: &SyncRecord, start: u64, end: u64) -> Option<Bytes> {
    let mut bytes = Bytes::new(version, kind::SYNCHRONIZATION)?;
    bytes.word(4, sync.what);
    bytes.long(8, start);
    bytes.long(16, end);
    bytes.word(24, sync.correlation);
    bytes.word(28, sync.context);
    bytes.word(32, sync.stream);
    bytes.word(36, sync.event);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::VERSIONS;

    #[test]
    fn fields_beyond_a_version_are_left_out() {
        let mut work = sample();
        work.source_node = u64::MAX;
        work.priority = -1;
        for version in VERSIONS {
            let bytes = encode(version, &Record::Work(work), 5, 9).unwrap();
            let bytes = bytes.as_slice();
            assert_eq!(bytes.len(), stride(version, kind::CONCURRENT_KERNEL).unwrap());
            assert_eq!(bytes[16], 5);
            assert_eq!(bytes.get(216).is_some_and(|&b| b == 0xff), version.number() >= (13, 1));
            assert_eq!(bytes.get(240).is_some_and(|&b| b == 0xff), version.number() >= (13, 4));
        }
    }

    fn sample() -> Work {
        Work {
            kind: kind::CONCURRENT_KERNEL,
            device: 0,
            context: 1,
            stream: 7,
            correlation: 1,
            graph: 0,
            graph_node: 0,
            source_graph: 0,
            registers: 0,
            copy_kind: 0,
            source_kind: 0,
            source_node: 0,
            launched: 0,
            start: 0,
            end: 0,
            bytes: 0,
            name: std::ptr::null(),
            module: 0,
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared: 0,
            priority: 0,
            value: 0,
            destination_kind: 0,
            launch_type: 0,
            flags: 0,
            padding: 0,
            site: 0,
            reserved: 0,
            sequence: 1,
            call: 1,
        }
    }
}
