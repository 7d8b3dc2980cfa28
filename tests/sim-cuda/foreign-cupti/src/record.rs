//! Records: how long they are, what they hold, and how to step over them.

use sim_channel::Work;
use sim_channel::work::kind;

use crate::habit::{Habit, character, chosen, drawn, has};

/// `cuptiGetVersion`'s answer and bytes of a copy, set, kernel and peer copy record, as measured.
const VERSIONS: [(u32, [usize; 4]); 15] = [
    (18, [88, 88, 208, 96]),
    (18, [88, 88, 208, 96]),
    (20, [88, 88, 208, 96]),
    (21, [88, 88, 208, 96]),
    (22, [88, 88, 208, 96]),
    (23, [88, 88, 208, 96]),
    (24, [88, 88, 208, 96]),
    (26, [96, 88, 208, 96]),
    (28, [96, 88, 208, 96]),
    (130_001, [96, 88, 216, 96]),
    (130_101, [96, 88, 224, 96]),
    (130_202, [96, 88, 224, 96]),
    (130_301, [96, 88, 232, 96]),
    (130_401, [112, 104, 248, 96]),
    (130_500, [112, 104, 248, 96]),
];

const MEMCPY_PEER: u32 = 22;

/// Kinds nobody asks for: known ones, and ones that no header names.
const STRANGERS: [u32; 12] = [4, 5, 9, 17, 38, 39, 46, 49, 51, 60, 137, 4_000_000_000];

/// The version this library takes itself for.
fn known() -> (u32, [usize; 4]) {
    let index = chosen("version", 0, VERSIONS.len() as u64);
    usize::try_from(index)
        .ok()
        .and_then(|index| VERSIONS.get(index))
        .copied()
        .unwrap_or(VERSIONS[0])
}

/// What `cuptiGetVersion` answers.
pub(crate) fn version() -> u32 {
    character().version.unwrap_or(known().0)
}

/// Bytes of a record as this version has them, and as CUDA 11 had them; `None` for a kind nobody asks for.
fn measured(of: u32) -> Option<(usize, usize)> {
    let (_, [copy, set, kernel, peer]) = known();
    match of {
        kind::MEMCPY => Some((copy, 64)),
        kind::MEMSET => Some((set, 64)),
        kind::CONCURRENT_KERNEL => Some((kernel, 144)),
        MEMCPY_PEER => Some((peer, 72)),
        _ => None,
    }
}

/// Bytes of a record of a kind; the same for each of the kind, as long as the process lives.
pub(crate) fn stride(of: u32) -> Option<usize> {
    let Some((whole, short)) = measured(of) else {
        let eighths = 1 + chosen("stranger", of.into(), 60);
        return usize::try_from(eighths * 8).ok().filter(|_| STRANGERS.contains(&of));
    };
    if has(Habit::ShortRecords) {
        return Some(short);
    }
    let more = if has(Habit::LongRecords) { chosen("longer", of.into(), 128) * 8 } else { 0 };
    usize::try_from(more).ok().map(|more| whole + more)
}

/// A record's bytes, and whether it says when the work ran.
pub(crate) fn encode(work: &Work, offset: i64) -> (Vec<u8>, bool) {
    let mut bytes = vec![0; stride(work.kind).unwrap_or(8)];
    // What stands behind the fields that this version has is anybody's guess.
    let known = measured(work.kind).map_or(0, |(whole, _)| whole).min(bytes.len());
    bytes[known..].fill(0xa5);
    let timed = !(has(Habit::NoTimes) && chosen("times", work.sequence, 40) == 0);
    let stamp = |time: u64| if timed { time.saturating_add_signed(offset) } else { 0 };
    let (context, stream) = identity(work);
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes[..known].get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    put(0, &work.kind.to_ne_bytes());
    put(16, &stamp(work.start).to_ne_bytes());
    put(24, &stamp(work.end).to_ne_bytes());
    let node = if work.kind == kind::CONCURRENT_KERNEL {
        kernel(work, &mut put);
        (144, 156, 232, 240, [40, 44, 48, 92])
    } else if work.kind == kind::MEMCPY {
        put(4, &[work.copy_kind, work.source_kind, work.destination_kind, work.flags]);
        (64, 72, 96, 104, [32, 36, 40, 44])
    } else {
        put(4, &work.value.to_ne_bytes());
        (64, 72, 88, 96, [32, 36, 40, 44])
    };
    let (executed, graph, source_graph, source, ids) = node;
    for (at, value) in ids.into_iter().zip([work.device, context, stream, work.correlation]) {
        put(at, &value.to_ne_bytes());
    }
    if work.kind != kind::CONCURRENT_KERNEL {
        put(8, &work.bytes.to_ne_bytes());
    }
    put(executed, &work.graph_node.to_ne_bytes());
    put(graph, &work.graph.to_ne_bytes());
    put(source_graph, &work.source_graph.to_ne_bytes());
    put(source, &work.source_node.to_ne_bytes());
    (bytes, timed)
}

fn kernel(work: &Work, put: &mut impl FnMut(usize, &[u8])) {
    put(32, &work.end.to_ne_bytes());
    for (index, extent) in work.grid.iter().chain(&work.block).enumerate() {
        put(52 + 4 * index, &extent.to_ne_bytes());
    }
    put(104, &name(work).to_ne_bytes());
}

/// A record that nobody asked for.
pub(crate) fn stranger() -> Vec<u8> {
    let index = usize::try_from(drawn(STRANGERS.len() as u64)).unwrap_or(0);
    let kind = STRANGERS[index];
    let mut bytes = vec![0x5a; stride(kind).unwrap_or(8)];
    bytes[..4].copy_from_slice(&kind.to_ne_bytes());
    bytes
}

fn identity(work: &Work) -> (u32, u32) {
    if !has(Habit::OddIds) {
        return (work.context, work.stream);
    }
    let odd = |what, id: u32| match chosen(what, id.into(), 3) {
        0 => 0,
        1 => u32::MAX - id,
        _ => id,
    };
    (odd("context", work.context), odd("stream", work.stream))
}

/// The address of the kernel's name.
fn name(work: &Work) -> u64 {
    static LONG: [u8; 4097] = nul_behind(b'k');
    static LONGER: [u8; 4097 + 8192] = nul_behind(b'K');
    static FOREIGN: [u8; 6] = [0xff, 0xfe, b'x', 0xc3, 0x28, 0];
    let own = work.name.addr() as u64;
    if !has(Habit::OddNames) {
        return own;
    }
    match chosen("name", work.sequence, 8) {
        0 => 0,
        1 => LONG.as_ptr().addr() as u64,
        2 => LONGER.as_ptr().addr() as u64,
        3 => FOREIGN.as_ptr().addr() as u64,
        _ => own,
    }
}

const fn nul_behind<const N: usize>(byte: u8) -> [u8; N] {
    let mut text = [byte; N];
    text[N - 1] = 0;
    text
}

/// The record behind the one at `offset` (`None`: the first) in a buffer with `valid` bytes of records.
/// `Err` for a kind that cannot be stepped over.
pub(crate) fn next(buffer: &[u8], offset: Option<usize>) -> Result<Option<usize>, ()> {
    let next = match offset {
        None => 0,
        Some(offset) => {
            let kind = buffer.get(offset..offset + 4).and_then(<[u8]>::first_chunk);
            let kind = kind.map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(())?;
            offset + stride(kind).ok_or(())?
        }
    };
    Ok((next < buffer.len()).then_some(next))
}
