//! Wire bytes to typed values. Only this module names `wire`.
//!
//! All functions are total: every input is either a value or a [`Defect`], nothing panics. A
//! ring is written by a process that may be hostile, so no field is trusted to be in range;
//! numbers without a range of their own (times, ids) pass through and are judged by the session.

mod graphs;

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
mod tests {
    use super::{KernelEvent, kernel_event, record};
    use crate::defect::Defect;
    use crate::event::{Event, Launch, LaunchKind, Mark, Sync, SyncScope, Work, WorkKind};
    use crate::ids::{Correlation, Ns, ProcessKey, Thread};
    use proptest::prelude::{any, prop, proptest};
    use wire::kernel::{ExitEvent, ProcessEvent, StackEvent, WaitEvent, event_kind};
    use wire::limits::STACK_FRAMES;
    use wire::shim::{
        CopyRecord, LAUNCH_GRAPH, LAUNCH_SAMPLED, LaunchRecord, MARK_LAST, MarkRecord, Payload,
        SYNC_CONTEXT, SyncRecord, WORK_SOURCE_NODE, record_kind,
    };
    use zerocopy::{FromBytes, IntoBytes};

    const PROCESS: ProcessKey = ProcessKey(3);

    fn payload(record: &impl IntoBytesExt) -> Payload {
        Payload::read_from_bytes(record.bytes()).unwrap()
    }

    trait IntoBytesExt {
        fn bytes(&self) -> &[u8];
    }
    impl<T: IntoBytes + zerocopy::Immutable> IntoBytesExt for T {
        fn bytes(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn a_copy_keeps_all_48_bits_of_its_size() {
        let wire = CopyRecord {
            kind: record_kind::MEMCPY,
            producer: 0,
            copy_kind: 2,
            source_kind: 0,
            destination_kind: 0,
            flags: WORK_SOURCE_NODE,
            start_ns: 10,
            end_ns: 20,
            graph_node: 5,
            correlation: 9,
            bytes_low: 7,
            stream: 4,
            graph: 6,
            device: 1,
            bytes_high: 2,
            context: 8,
        };
        assert_eq!(
            record(PROCESS, &payload(&wire)),
            Ok(Event::Work(Work {
                process: PROCESS,
                ordinal: 1,
                context: 8,
                stream: 4,
                correlation: Correlation(9),
                graph: 6,
                graph_node: 0,
                source_node: 5,
                grid_x: 0,
                start: Ns(10),
                end: Ns(20),
                kind: WorkKind::Memcpy { bytes: (2 << 32) + 7, copy_kind: 2 },
            }))
        );
    }

    #[test]
    fn a_sampled_graph_launch_carries_its_weight() {
        let wire = LaunchRecord {
            kind: record_kind::LAUNCH,
            producer: 0,
            flags: LAUNCH_GRAPH | LAUNCH_SAMPLED,
            enter_ns: 11,
            function: 12,
            thread: 13,
            weight: 0,
            correlation: 14,
            callback: 0,
            context: 0,
            reserved: 0,
            reserved2: 0,
        };
        assert_eq!(
            record(PROCESS, &payload(&wire)),
            Ok(Event::Launch(Launch {
                process: PROCESS,
                correlation: Correlation(14),
                kind: LaunchKind::Graph,
                enter: Ns(11),
                exit: None,
                thread: 13,
                function: 12,
                sampled: Some(1),
            }))
        );
    }

    #[test]
    fn a_sync_of_an_unknown_scope_is_malformed() {
        let mut wire = SyncRecord {
            kind: record_kind::SYNC,
            producer: 0,
            flags: SYNC_CONTEXT,
            enter_ns: 1,
            exit_ns: 2,
            handle: 0,
            correlation: 0,
            callback: 0,
            thread: 4,
            context: 3,
            result: 700,
            reserved: 0,
        };
        let expected = Sync {
            process: PROCESS,
            context: 3,
            scope: SyncScope::Context,
            enter: Ns(1),
            exit: Ns(2),
            thread: 4,
            succeeded: false,
        };
        assert_eq!(record(PROCESS, &payload(&wire)), Ok(Event::Sync(expected)));
        wire.flags = 9;
        assert_eq!(
            record(PROCESS, &payload(&wire)),
            Err(Defect::MalformedRecord { kind: record_kind::SYNC, field: "flags", count: 1 })
        );
    }

    #[test]
    fn a_marks_losses_are_summed_without_wrapping() {
        let wire = MarkRecord {
            kind: record_kind::MARK,
            producer: 0,
            flags: MARK_LAST,
            flush_ns: 5,
            armed_ns: 4,
            lost: u64::MAX,
            cupti_dropped: 2,
            launches: 0,
            reserved: 0,
        };
        assert_eq!(
            record(PROCESS, &payload(&wire)),
            Ok(Event::Mark(Mark {
                process: PROCESS,
                flush: Ns(5),
                armed: Ns(4),
                lost: u64::MAX,
                last: true
            }))
        );
    }

    #[test]
    fn a_kind_of_another_version_is_unknown() {
        assert_eq!(
            record(PROCESS, &[99, 0, 0, 0, 0, 0, 0]),
            Err(Defect::UnknownRecord { kind: 99, count: 1 })
        );
    }

    fn stack(frames: u32) -> StackEvent {
        let mut addresses = [0; STACK_FRAMES];
        addresses[0] = 0x10;
        addresses[1] = 0x20;
        StackEvent {
            flags: 0,
            reserved: 0,
            kind: event_kind::LAUNCH_STACK,
            frames,
            time_ns: 1,
            tgid: 2,
            tid: 3,
            correlation: 4,
            weight: 8,
            thread: 5,
            cpu: 0,
            key: 6,
            addresses,
        }
    }

    #[test]
    fn a_stack_may_be_cut_after_its_last_address_but_not_before() {
        let event = stack(2);
        let bytes = event.as_bytes();
        let cut = bytes.len() - (STACK_FRAMES - 2) * 8;
        let expected = KernelEvent::LaunchStack {
            tgid: 2,
            tid: 3,
            at: Ns(1),
            correlation: Correlation(4),
            weight: 8,
            thread: 5,
            function: 6,
            addresses: vec![0x10, 0x20],
        };
        assert_eq!(kernel_event(bytes), Ok(expected.clone()));
        assert_eq!(kernel_event(&bytes[..cut]), Ok(expected));
        assert_eq!(
            kernel_event(&bytes[..cut - 1]),
            Err(Defect::ShortKernelEvent { length: cut - 1, count: 1 })
        );
    }

    #[test]
    fn a_frame_count_beyond_the_array_is_the_whole_array() {
        let event = stack(u32::MAX);
        let Ok(KernelEvent::LaunchStack { addresses, .. }) = kernel_event(event.as_bytes()) else {
            panic!("not a launch stack");
        };
        assert_eq!(addresses.len(), STACK_FRAMES);
    }

    #[test]
    fn exec_and_exit_are_told_apart() {
        let exit = ProcessEvent { kind: event_kind::EXIT, tgid: 7, time_ns: 9 };
        let gone = |status| Ok(KernelEvent::Exit { tgid: 7, at: Ns(9), status });
        assert_eq!(kernel_event(exit.as_bytes()), gone(None));
        let kind = event_kind::EXIT;
        let told = |status, known| ExitEvent { kind, tgid: 7, time_ns: 9, status, known };
        assert_eq!(kernel_event(told(11, 1).as_bytes()), gone(Some(11)));
        assert_eq!(kernel_event(told(11, 0).as_bytes()), gone(None));
        let exec = ProcessEvent { kind: event_kind::EXEC, tgid: 7, time_ns: 9 };
        assert_eq!(kernel_event(exec.as_bytes()), Ok(KernelEvent::Exec { tgid: 7, at: Ns(9) }));
    }

    #[test]
    fn a_wait_is_one_whether_it_is_over_or_not() {
        for open in [0, 1] {
            let event = WaitEvent {
                kind: event_kind::WAIT,
                tgid: 7,
                tid: 8,
                open,
                from_ns: 9,
                to_ns: 11,
                signature: 5,
            };
            let bytes = event.as_bytes();
            let expected = KernelEvent::Wait {
                tgid: 7,
                tid: Thread(8),
                from: Ns(9),
                to: Ns(11),
                signature: 5,
            };
            assert_eq!(kernel_event(bytes), Ok(expected));
            let length = bytes.len() - 1;
            assert_eq!(
                kernel_event(&bytes[..length]),
                Err(Defect::ShortKernelEvent { length, count: 1 })
            );
        }
    }

    proptest! {
        #[test]
        fn any_payload_decodes_or_is_a_defect(words in any::<Payload>(), kind in 0_u16..9) {
            let mut payload = words;
            payload[0] = payload[0] & !0xffff | u64::from(kind);
            for payload in [words, payload] {
                match record(PROCESS, &payload) {
                    Ok(event) => drop(format!("{event:?}")),
                    Err(defect) => drop(defect.to_string()),
                }
            }
        }

        #[test]
        fn any_bytes_are_a_kernel_event_or_a_defect(
            kind in 0_u32..10,
            rest in prop::collection::vec(any::<u8>(), 0..1200),
        ) {
            let mut bytes = kind.to_ne_bytes().to_vec();
            bytes.extend(rest);
            for bytes in [&bytes[..], &bytes[4..]] {
                if let Err(defect) = kernel_event(bytes) {
                    drop(defect.to_string());
                }
            }
        }
    }
}
