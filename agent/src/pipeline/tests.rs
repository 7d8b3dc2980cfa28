//! A worker's records, stacks and symbols through the pipeline, and the same again from a recording.

mod graphs;
mod host;
mod late_host;

use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, Ns, ProcessKey};
use proptest::prelude::*;
use wire::kernel::{StackEvent, event_kind};
use wire::limits::STACK_FRAMES;
use wire::shim::{
    KernelRecord, LAUNCH_SAMPLED, LaunchRecord, MARK_ARMED, MARK_LAST, MarkRecord, Payload,
    SYNC_CONTEXT, SyncRecord, record_kind,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;
use crate::capture::{Frame, Language};
use crate::output::{folded, json};
use crate::recording::{FILE_NAME, Reader, Writer};

const PROCESS: ProcessKey = ProcessKey(5);
const PID: u32 = 4242;
const ARMED: u64 = 1_000_000;

fn payload(record: &(impl IntoBytes + Immutable)) -> Payload {
    Payload::read_from_bytes(record.as_bytes()).unwrap()
}

fn launch(correlation: u32, enter_ns: u64, sampled: bool) -> Payload {
    payload(&LaunchRecord {
        kind: record_kind::LAUNCH,
        producer: 0,
        flags: if sampled { LAUNCH_SAMPLED } else { 0 },
        enter_ns,
        function: 0x77,
        thread: 1,
        weight: 1,
        correlation,
        callback: 0,
        context: 1,
        reserved: 0,
        reserved2: 0,
    })
}

fn kernel(correlation: u32, start_ns: u64, end_ns: u64, name: u32) -> Payload {
    payload(&KernelRecord {
        kind: record_kind::KERNEL,
        producer: 1,
        flags: 0,
        start_ns,
        end_ns,
        graph_node: 0,
        correlation,
        name,
        stream: 7,
        graph: 0,
        device: 0,
        grid_x: 1,
        context: 1,
    })
}

fn sync(enter_ns: u64, exit_ns: u64) -> Payload {
    payload(&SyncRecord {
        kind: record_kind::SYNC,
        producer: 0,
        flags: SYNC_CONTEXT,
        enter_ns,
        exit_ns,
        handle: 0,
        correlation: 9_999,
        callback: 0,
        thread: 1,
        context: 1,
        result: 0,
        reserved: 0,
    })
}

fn mark(flush_ns: u64, flags: u32) -> Payload {
    payload(&MarkRecord {
        kind: record_kind::MARK,
        producer: 2,
        flags,
        flush_ns,
        armed_ns: ARMED,
        lost: 0,
        cupti_dropped: 0,
        launches: 0,
        reserved: 0,
    })
}

fn stack(kind: u32, correlation: u32, leaf_first: &[u64]) -> Input {
    let mut addresses = [0; STACK_FRAMES];
    addresses[..leaf_first.len()].copy_from_slice(leaf_first);
    let event = StackEvent {
        kind,
        frames: u32::try_from(leaf_first.len()).unwrap(),
        time_ns: 0,
        tgid: PID,
        tid: PID,
        correlation,
        weight: 1,
        thread: 1,
        cpu: 0,
        key: 0x77,
        flags: 0,
        reserved: 0,
        addresses,
    };
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn symbol(address: u64, functions: &[&str]) -> Symbol {
    let frame = |function: &&str| Frame {
        language: Language::Native,
        function: (*function).to_owned(),
        module: None,
        file: None,
        line: None,
    };
    Symbol { address, frames: functions.iter().map(frame).collect() }
}

fn head() -> Vec<Input> {
    vec![
        Input::Start(Start {
            command: "record".to_owned(),
            source: "node".to_owned(),
            started_unix: Some(1),
            cpu_hz: 99,
            memory_step_ns: 0,
        }),
        Input::Device {
            device: DeviceKey(0),
            info: DeviceInfo { index: 0, uuid: Some("SIM-x".to_owned()), simulated: true },
        },
        Input::Process {
            process: PROCESS,
            info: ProcessInfo {
                pid: PID,
                title: "worker".to_owned(),
                role: "process".to_owned(),
                rank: String::new(),
                server: 0,
                service: analysis::event::Service::default(),
            },
        },
        Input::Ordinal { process: PROCESS, ordinal: 0, device: DeviceKey(0) },
        Input::Name { process: PROCESS, id: 3, name: "flash_fwd_kernel".to_owned() },
        Input::Name { process: PROCESS, id: 4, name: "gemm_kernel".to_owned() },
    ]
}

/// Two kernels, the second sampled twice over two stacks; drained by a synchronisation.
fn scenario() -> Vec<Input> {
    let mut inputs = head();
    let records = |payloads| Input::Records { process: PROCESS, payloads };
    inputs.push(records(vec![mark(ARMED, MARK_ARMED), sync(ARMED + 10, ARMED + 100)]));
    inputs.push(stack(event_kind::LAUNCH_STACK, 2, &[0x30, 0x20, 0x10]));
    inputs.push(records(vec![
        launch(1, ARMED + 200, true),
        launch(2, ARMED + 300, true),
        launch(3, ARMED + 400, false),
        kernel(1, ARMED + 1_000, ARMED + 1_500, 3),
        kernel(2, ARMED + 2_000, ARMED + 2_700, 4),
        kernel(3, ARMED + 3_000, ARMED + 3_300, 4),
    ]));
    inputs.push(stack(event_kind::LAUNCH_STACK, 1, &[0x40, 0x20, 0x10]));
    inputs.push(stack(event_kind::CPU_SAMPLE, 0, &[0x40, 0x20, 0x10]));
    inputs.push(stack(event_kind::CPU_SAMPLE, 0, &[0x40, 0x20, 0x10]));
    inputs.push(Input::Symbols {
        process: PROCESS,
        symbols: vec![
            symbol(0x10, &["_start"]),
            symbol(0x20, &["inlined", "main"]),
            symbol(0x30, &["launch_gemm"]),
        ],
    });
    inputs.push(Input::Note("something was not seen".to_owned()));
    inputs.push(records(vec![
        mark(ARMED + 5_000, MARK_ARMED),
        mark(ARMED + 6_000, MARK_ARMED | MARK_LAST),
    ]));
    inputs.push(Input::Ended { process: PROCESS, at: Ns(ARMED + 6_100) });
    inputs
}

fn run(inputs: &[Input]) -> Capture {
    let mut pipeline = Pipeline::marked();
    for input in inputs {
        pipeline.feed(input.clone());
    }
    pipeline.finish()
}

fn replay(inputs: &[Input]) -> Capture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut writer = Writer::create(&path).unwrap();
    for input in inputs {
        writer.write(input).unwrap();
    }
    writer.finish().unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let mut pipeline = Pipeline::marked();
    while let Some(input) = reader.next_input().unwrap() {
        pipeline.feed(input);
    }
    pipeline.finish()
}

#[test]
fn records_stacks_and_symbols_meet() {
    let capture = run(&scenario());
    let device = &capture.report.devices[0];
    assert_eq!(device.kernels, 3);
    assert_eq!(device.exclusive.attention, 500);
    assert_eq!(device.exclusive.gemm, 1_000);
    let text = folded::gpu(&capture);
    let stacks: Vec<&str> = text.lines().filter(|line| !line.contains(";[")).collect();
    assert_eq!(
        stacks,
        [
            "GPU 0 SIMULATED;worker (pid 4242);_start;main;inlined;0x40;flash_fwd_kernel 500",
            "GPU 0 SIMULATED;worker (pid 4242);_start;main;inlined;launch_gemm;gemm_kernel 1000",
        ],
        "{text}"
    );
    assert_eq!(folded::cpu(&capture), "worker (pid 4242);main thread;_start;main;inlined;0x40 2\n");
    assert_eq!(capture.info.notes, ["something was not seen"]);
    assert!(capture.simulated());
}

#[test]
fn a_recording_replays_to_the_same_report() {
    let (live, replayed) = (run(&scenario()), replay(&scenario()));
    assert_eq!(json::render(&replayed).unwrap(), json::render(&live).unwrap());
    assert_eq!(folded::gpu(&replayed), folded::gpu(&live));
    assert_eq!(folded::cpu(&replayed), folded::cpu(&live));
}

#[test]
fn addresses_are_asked_for_once() {
    let mut pipeline = Pipeline::marked();
    for input in scenario() {
        pipeline.feed(input);
    }
    let unresolved = pipeline.take_unresolved();
    assert_eq!(
        unresolved,
        [Unresolved { process: PROCESS, pid: PID, addresses: vec![0x40] }],
        "the others were answered before they were asked for"
    );
    assert_eq!(pipeline.take_unresolved(), []);
}

#[test]
fn stacks_of_unknown_processes_are_a_defect() {
    let mut inputs = vec![stack(event_kind::CPU_SAMPLE, 0, &[1])];
    inputs.extend(head());
    let capture = run(&inputs);
    assert!(capture.cpu.is_empty());
    assert_eq!(capture.report.defects, [Defect::UnknownProcess { count: 1 }]);
}

#[test]
fn a_stack_that_ends_in_the_middle_is_cut() {
    let mut inputs = scenario();
    inputs.push(stack(event_kind::CPU_SAMPLE, 0, &[0x40, 0x30]));
    let text = folded::cpu(&run(&inputs));
    assert!(
        text.contains("worker (pid 4242);main thread;[cut: root not reached];launch_gemm;0x40 1\n"),
        "{text}"
    );
}

/// Where the unwinder ends a stack it says so itself: what has no code, such as a trampoline that is
/// gone already, still has its callers.
#[test]
fn what_is_not_code_has_its_callers() {
    let mut inputs = scenario();
    let symbols = vec![symbol(0x50, &[crate::symbols::NOT_CODE])];
    inputs.push(Input::Symbols { process: PROCESS, symbols });
    inputs.push(stack(event_kind::CPU_SAMPLE, 0, &[0x30, 0x50, 0x20, 0x10]));
    inputs.push(stack(event_kind::CPU_SAMPLE, 0, &[0x50, 0x10]));
    let text = folded::cpu(&run(&inputs));
    for expected in ["main;inlined;[not code];launch_gemm 1\n", "[not code] 1\n"] {
        let line = format!("worker (pid 4242);main thread;_start;{expected}");
        assert!(text.contains(&line), "{line} in {text}");
    }
}

proptest! {
    /// Whatever a hostile worker or a broken kernel writes: no panic, and replay agrees with live.
    #[test]
    fn hostile_bytes_replay_like_live(
        payloads in prop::collection::vec(any::<Payload>(), 0..60),
        kinds in prop::collection::vec(0u16..9, 60),
        events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5),
    ) {
        let payloads = payloads
            .into_iter()
            .zip(kinds)
            .map(|(mut payload, kind)| {
                payload[0] = payload[0] & !0xffff | u64::from(kind);
                payload
            })
            .collect();
        let mut inputs = head();
        inputs.push(Input::Records { process: PROCESS, payloads });
        inputs.extend(events.into_iter().map(Input::KernelEvent));
        let (live, replayed) = (run(&inputs), replay(&inputs));
        prop_assert_eq!(json::render(&replayed).unwrap(), json::render(&live).unwrap());
    }
}
