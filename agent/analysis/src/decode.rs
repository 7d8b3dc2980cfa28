//! Wire bytes to typed values. Only this module names `wire`.
//!
//! All functions are total: every input is either a value or a [`Defect`], nothing panics. A
//! ring is written by a process that may be hostile, so no field is trusted to be in range;
//! numbers without a range of their own (times, ids) pass through and are judged by the session.

mod graphs;
mod memory;

use wire::kernel::{ExitEvent, ProcessEvent, StackEvent, WaitEvent, event_kind, stack_flag};
use wire::limits::STACK_FRAMES;
use wire::shim::{
    CopyRecord, FAILED_CAPTURED, KernelRecord, LAUNCH_COPY, LAUNCH_GRAPH, LAUNCH_SAMPLED,
    LaunchFailedRecord, LaunchRecord, MARK_LAST, MarkRecord, Payload, SYNC_CONTEXT, SYNC_EVENT,
    SYNC_STREAM, SyncRecord, WORK_SOURCE_NODE, record_kind,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::defect::Defect;
use crate::event::{Event, Launch, LaunchKind, Mark, Sync, SyncScope, Work, WorkKind};
use crate::ids::{Correlation, Ns, ProcessKey, Thread};
use crate::wait::WaitReason;
pub use graphs::{GraphWords, graph_entry};
pub use wire::shim::Level;

/// One slot of `process`'s ring.
///
/// # Errors
/// [`Defect::UnknownRecord`] for a kind of another version, [`Defect::MalformedRecord`] for a
/// value its field cannot have.
pub fn record(process: ProcessKey, payload: &Payload) -> Result<Event, Defect> {
    let bytes = payload.as_bytes();
    // The kind is the first two bytes of every layout, in the byte order of this machine.
    let kind = u16::from_ne_bytes([bytes[0], bytes[1]]);
    match kind {
        record_kind::KERNEL => Ok(Event::Work(kernel(process, &read(payload, kind)?))),
        record_kind::MEMCPY | record_kind::MEMSET => {
            Ok(Event::Work(copy(process, &read(payload, kind)?)))
        }
        record_kind::LAUNCH => Ok(Event::Launch(launch(process, &read(payload, kind)?))),
        record_kind::LAUNCH_FAILED => {
            let record: LaunchFailedRecord = read(payload, kind)?;
            Ok(Event::LaunchFailed {
                process,
                correlation: Correlation(record.correlation),
                captured: record.flags & FAILED_CAPTURED != 0,
            })
        }
        record_kind::SYNC => sync(process, &read(payload, kind)?).map(Event::Sync),
        record_kind::MEMORY => memory::call(process, &read(payload, kind)?).map(Event::Memory),
        record_kind::MARK => Ok(Event::Mark(mark(process, &read(payload, kind)?))),
        _ => Err(Defect::UnknownRecord { kind, count: 1 }),
    }
}

/// Every layout is as long as a payload and takes any bytes, so this succeeds; the types do not
/// say so.
fn read<T: FromBytes>(payload: &Payload, kind: u16) -> Result<T, Defect> {
    T::read_from_bytes(payload.as_bytes()).map_err(|_size| Defect::UnknownRecord { kind, count: 1 })
}

/// The executed node and the source node: a record tells one of them.
const fn nodes(node: u64, is_source: bool) -> (u64, u64) {
    if is_source { (0, node) } else { (node, 0) }
}

fn kernel(process: ProcessKey, record: &KernelRecord) -> Work {
    let is_source = record.flags & u32::from(WORK_SOURCE_NODE) != 0;
    let (graph_node, source_node) = nodes(record.graph_node, is_source);
    Work {
        process,
        ordinal: u32::from(record.device),
        context: record.context,
        stream: record.stream,
        correlation: Correlation(record.correlation),
        graph: record.graph,
        graph_node,
        source_node,
        grid_x: record.grid_x,
        start: Ns(record.start_ns),
        end: Ns(record.end_ns),
        kind: WorkKind::Kernel { name: record.name },
    }
}

fn copy(process: ProcessKey, record: &CopyRecord) -> Work {
    let bytes = u64::from(record.bytes_high) << 32 | u64::from(record.bytes_low);
    let (graph_node, source_node) = nodes(record.graph_node, record.flags & WORK_SOURCE_NODE != 0);
    let kind = if record.kind == record_kind::MEMSET {
        WorkKind::Memset { bytes }
    } else {
        WorkKind::Memcpy { bytes, copy_kind: record.copy_kind }
    };
    Work {
        process,
        ordinal: u32::from(record.device),
        context: record.context,
        stream: record.stream,
        correlation: Correlation(record.correlation),
        graph: record.graph,
        graph_node,
        source_node,
        grid_x: 0,
        start: Ns(record.start_ns),
        end: Ns(record.end_ns),
        kind,
    }
}

fn launch(process: ProcessKey, record: &LaunchRecord) -> Launch {
    let kind = if record.flags & LAUNCH_GRAPH != 0 {
        LaunchKind::Graph
    } else if record.flags & LAUNCH_COPY != 0 {
        LaunchKind::Copy
    } else {
        LaunchKind::Kernel
    };
    Launch {
        process,
        correlation: Correlation(record.correlation),
        kind,
        enter: Ns(record.enter_ns),
        exit: None,
        thread: record.thread,
        function: record.function,
        // A sampled launch stands at least for itself.
        sampled: (record.flags & LAUNCH_SAMPLED != 0).then_some(record.weight.max(1)),
    }
}

fn sync(process: ProcessKey, record: &SyncRecord) -> Result<Sync, Defect> {
    let scope = match record.flags {
        SYNC_CONTEXT => SyncScope::Context,
        SYNC_STREAM => SyncScope::Stream,
        SYNC_EVENT => SyncScope::Event,
        _ => {
            return Err(Defect::MalformedRecord { kind: record.kind, field: "flags", count: 1 });
        }
    };
    Ok(Sync {
        process,
        context: record.context,
        scope,
        enter: Ns(record.enter_ns),
        exit: Ns(record.exit_ns),
        thread: record.thread,
        succeeded: record.result == 0,
    })
}

fn mark(process: ProcessKey, record: &MarkRecord) -> Mark {
    Mark {
        process,
        flush: Ns(record.flush_ns),
        armed: Ns(record.armed_ns),
        lost: record.lost.saturating_add(record.cupti_dropped),
        last: record.flags & MARK_LAST != 0,
    }
}

/// What the kernel programs saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// The user stack of a sampled launch.
    LaunchStack {
        tgid: u32,
        tid: u32,
        at: Ns,
        correlation: Correlation,
        /// Launches of the function it stands for.
        weight: u32,
        /// The shim's thread number.
        thread: u32,
        /// Function handle.
        function: u64,
        /// Instruction pointers, leaf first. Empty: the kernel could not walk the stack.
        addresses: Vec<u64>,
    },
    /// The user stack under which a graph node was made.
    CaptureStack {
        tgid: u32,
        /// Position in the process's graph table.
        entry: u32,
        /// As of a launch.
        addresses: Vec<u64>,
    },
    /// The user stack of a call that took memory.
    MemoryStack {
        tgid: u32,
        tid: u32,
        at: Ns,
        /// Number of the call's record.
        serial: u32,
        /// The shim's thread number.
        thread: u32,
        /// As of a launch.
        addresses: Vec<u64>,
    },
    /// The user stack of a thread that touched a page for the first time.
    PageStack {
        tgid: u32,
        tid: u32,
        at: Ns,
        /// What was touched.
        address: u64,
        /// Pages of 4 KiB that it stands for.
        pages: u32,
        /// As of a launch.
        addresses: Vec<u64>,
    },
    /// The user stack of a thread on the CPU.
    CpuSample {
        tgid: u32,
        tid: u32,
        at: Ns,
        cpu: u32,
        /// It held Python's global interpreter lock.
        holds_gil: bool,
        addresses: Vec<u64>,
    },
    /// The stack of a thread that went to sleep.
    OffCpuStack {
        tgid: u32,
        tid: u32,
        at: Ns,
        /// As of the waits it stands for.
        signature: u64,
        reason: WaitReason,
        holds_gil: bool,
        addresses: Vec<u64>,
    },
    Exec {
        tgid: u32,
        at: Ns,
    },
    Exit {
        tgid: u32,
        at: Ns,
        /// As `wait` tells it; `None` where the kernel programs could not read it.
        status: Option<u32>,
    },
    /// A thread slept from `from` until `to` at least.
    Wait {
        tgid: u32,
        tid: Thread,
        from: Ns,
        to: Ns,
        /// Tells sleeps at different places of the code from each other; 0: not known.
        signature: u64,
    },
}

/// One record of the kernel programs' ring buffer. A stack event may be cut after its last
/// address.
///
/// # Errors
/// [`Defect::ShortKernelEvent`] when `bytes` ends inside the fixed part or inside the addresses
/// it claims, [`Defect::UnknownKernelEvent`] for a kind of another version.
pub fn kernel_event(bytes: &[u8]) -> Result<KernelEvent, Defect> {
    let short = Defect::ShortKernelEvent { length: bytes.len(), count: 1 };
    let (kind, _) = u32::read_from_prefix(bytes).map_err(|_size| short)?;
    match kind {
        event_kind::LAUNCH_STACK
        | event_kind::CAPTURE_STACK
        | event_kind::CPU_SAMPLE
        | event_kind::MEMORY_STACK
        | event_kind::PAGE_STACK
        | event_kind::OFF_CPU_STACK => stack_event(bytes).ok_or(short),
        event_kind::EXEC | event_kind::EXIT => {
            let (event, _) = ProcessEvent::read_from_prefix(bytes).map_err(|_size| short)?;
            let (tgid, at) = (event.tgid, Ns(event.time_ns));
            Ok(if kind == event_kind::EXEC {
                KernelEvent::Exec { tgid, at }
            } else {
                let told = ExitEvent::read_from_prefix(bytes).ok();
                let status = told.filter(|(exit, _)| exit.known == 1).map(|(exit, _)| exit.status);
                KernelEvent::Exit { tgid, at, status }
            })
        }
        event_kind::WAIT => {
            let (event, _) = WaitEvent::read_from_prefix(bytes).map_err(|_size| short)?;
            Ok(KernelEvent::Wait {
                tgid: event.tgid,
                tid: Thread(event.tid),
                from: Ns(event.from_ns),
                to: Ns(event.to_ns),
                signature: event.signature,
            })
        }
        _ => Err(Defect::UnknownKernelEvent { kind, count: 1 }),
    }
}

fn stack_event(bytes: &[u8]) -> Option<KernelEvent> {
    let fixed = size_of::<StackEvent>() - size_of::<[u64; STACK_FRAMES]>();
    // The whole type is read from a zeroed copy, so that a cut event needs no second layout.
    let mut whole = [0; size_of::<StackEvent>()];
    let length = bytes.len().min(whole.len());
    whole[..length].copy_from_slice(&bytes[..length]);
    let event = StackEvent::read_from_bytes(&whole).ok()?;
    let frames = usize::try_from(event.frames).ok()?.min(STACK_FRAMES);
    if length < fixed + frames * size_of::<u64>() {
        return None;
    }
    let addresses = event.addresses[..frames].to_vec();
    let (tgid, tid, at) = (event.tgid, event.tid, Ns(event.time_ns));
    let holds_gil = event.flags & stack_flag::HOLDS_GIL != 0;
    Some(if event.kind == event_kind::OFF_CPU_STACK {
        let number = (event.flags & stack_flag::WAIT_KIND_MASK) >> stack_flag::WAIT_KIND_SHIFT;
        let reason = WaitReason::from_number(number);
        KernelEvent::OffCpuStack {
            tgid,
            tid,
            at,
            signature: event.key,
            reason,
            holds_gil,
            addresses,
        }
    } else if event.kind == event_kind::CAPTURE_STACK {
        // No table has more positions than 32 bits can name: a larger one is beyond any.
        let entry = u32::try_from(event.key).unwrap_or(u32::MAX);
        KernelEvent::CaptureStack { tgid, entry, addresses }
    } else if event.kind == event_kind::MEMORY_STACK {
        let (serial, thread) = (event.correlation, event.thread);
        KernelEvent::MemoryStack { tgid, tid, at, serial, thread, addresses }
    } else if event.kind == event_kind::PAGE_STACK {
        let (address, pages) = (event.key, event.weight.max(1));
        KernelEvent::PageStack { tgid, tid, at, address, pages, addresses }
    } else if event.kind == event_kind::LAUNCH_STACK {
        KernelEvent::LaunchStack {
            tgid,
            tid,
            at,
            correlation: Correlation(event.correlation),
            weight: event.weight.max(1),
            thread: event.thread,
            function: event.key,
            addresses,
        }
    } else {
        KernelEvent::CpuSample { tgid, tid, at, cpu: event.cpu, holds_gil, addresses }
    })
}

#[cfg(test)]
mod tests;
