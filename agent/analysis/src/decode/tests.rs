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
        let expected =
            KernelEvent::Wait { tgid: 7, tid: Thread(8), from: Ns(9), to: Ns(11), signature: 5 };
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
    fn any_payload_decodes_or_is_a_defect(words in any::<Payload>(), kind in 0_u16..10) {
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
        kind in 0_u32..12,
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
