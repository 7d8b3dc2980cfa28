//! Traces of whole recordings and foreign files, against the report of the same input.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, ProcessKey};
use analysis::report::{DeviceReport, IdleCause};
use serde_json::Value;
use warplens::capture::{Capture, Frame, Language};
use warplens::output::perfetto::{Drawing, Extent, TraceFile, replay};
use warplens::pipeline::{Input, Pipeline, Start, Symbol};
use warplens::recording::{FILE_NAME, Writer};
use wire::kernel::{StackEvent, event_kind};
use wire::limits::STACK_FRAMES;
use wire::shim::{
    KernelRecord, LAUNCH_SAMPLED, LaunchRecord, MARK_ARMED, MARK_LAST, MarkRecord, Payload,
    SYNC_CONTEXT, SyncRecord, record_kind,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::viewer::{Shown, View, view};

const PROCESS: ProcessKey = ProcessKey(5);
const PID: u32 = 4242;
const ARMED: u64 = 1_000_000;
const GRAPH: u32 = 6;

fn payload(record: &(impl IntoBytes + Immutable)) -> Payload {
    Payload::read_from_bytes(record.as_bytes()).unwrap()
}

fn kernel(correlation: u32, span: (u64, u64), name: u32, stream: u32, graph: u32) -> Payload {
    payload(&KernelRecord {
        kind: record_kind::KERNEL,
        start_ns: span.0,
        end_ns: span.1,
        correlation,
        name,
        stream,
        graph,
        context: 1,
        ..KernelRecord::new_zeroed()
    })
}

fn launch(correlation: u32, enter_ns: u64, sampled: bool) -> Payload {
    payload(&LaunchRecord {
        kind: record_kind::LAUNCH,
        flags: if sampled { LAUNCH_SAMPLED } else { 0 },
        enter_ns,
        function: 0x77,
        thread: 1,
        weight: 1,
        correlation,
        context: 1,
        ..LaunchRecord::new_zeroed()
    })
}

fn mark(flush_ns: u64, flags: u32) -> Payload {
    payload(&MarkRecord {
        kind: record_kind::MARK,
        flags,
        flush_ns,
        armed_ns: ARMED,
        ..MarkRecord::new_zeroed()
    })
}

fn stack(kind: u32, correlation: u32, time_ns: u64) -> Input {
    let mut addresses = [0; STACK_FRAMES];
    addresses[..2].copy_from_slice(&[0x20, 0x10]);
    let event = StackEvent {
        kind,
        frames: 2,
        time_ns,
        tgid: PID,
        tid: PID + 1,
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

fn head() -> Vec<Input> {
    let process = PROCESS;
    let frame = |function: &str| Frame {
        language: Language::Native,
        function: function.to_owned(),
        module: None,
        file: None,
        line: None,
    };
    let symbol = |address, function| Symbol { address, frames: vec![frame(function)] };
    vec![
        Input::Start(Start { cpu_hz: 99, ..Start::default() }),
        Input::Device {
            device: DeviceKey(0),
            info: DeviceInfo { index: 0, uuid: Some("SIM-x".to_owned()), simulated: true },
        },
        Input::Process {
            process,
            info: ProcessInfo { pid: PID, title: "worker".to_owned(), ..ProcessInfo::default() },
        },
        Input::Ordinal { process, ordinal: 0, device: DeviceKey(0) },
        Input::Name { process, id: 3, name: "flash_fwd_kernel".to_owned() },
        Input::Name { process, id: 4, name: "gemm_kernel".to_owned() },
        Input::Name { process, id: 5, name: "ncclDevKernel_AllReduce".to_owned() },
        Input::Symbols { process, symbols: vec![symbol(0x10, "_start"), symbol(0x20, "step")] },
    ]
}

/// 600 launches on three streams, each tenth a graph of four kernels of which two run at once;
/// kernels of one stream in order, streams beside each other, pauses, and a record without
/// timestamps.
fn scenario() -> Vec<Input> {
    let mut inputs = head();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut records = vec![
        mark(ARMED, MARK_ARMED),
        payload(&SyncRecord {
            kind: record_kind::SYNC,
            flags: SYNC_CONTEXT,
            enter_ns: ARMED + 10,
            exit_ns: ARMED + 100,
            thread: 1,
            context: 1,
            ..SyncRecord::new_zeroed()
        }),
    ];
    let mut ends = [ARMED + 1_000; 3];
    let mut host = ARMED + 500;
    for correlation in 1..=600_u32 {
        host += 500 + next(4_000);
        let sampled = correlation.is_multiple_of(50);
        records.push(launch(correlation, host, sampled));
        let stream = usize::try_from(next(3)).unwrap();
        let start = ends[stream].max(host + 1_000) + next(300);
        let number = u32::try_from(stream).unwrap() + 7;
        if correlation == 300 {
            records.push(kernel(correlation, (0, 0), 3, number, 0));
        } else if correlation.is_multiple_of(10) {
            let half = start + 400 + next(500);
            let end = half + 800;
            for (name, span) in
                [(3, (start, half)), (4, (start, half)), (5, (half, end)), (4, (half + 1, end - 1))]
            {
                records.push(kernel(correlation, span, name, number, GRAPH));
            }
            ends[stream] = end;
        } else {
            ends[stream] = start + next(3_000);
            let name = 3 + u32::try_from(next(3)).unwrap();
            records.push(kernel(correlation, (start, ends[stream]), name, number, 0));
        }
        if sampled {
            inputs.push(stack(event_kind::LAUNCH_STACK, correlation, host));
            inputs.push(stack(event_kind::CPU_SAMPLE, 0, host + 7));
        }
        if correlation.is_multiple_of(20) {
            // Everything so far has run by then.
            host = host.max(ends.iter().copied().max().unwrap()) + 2_000;
            records.push(mark(host, MARK_ARMED));
            let payloads = std::mem::take(&mut records);
            inputs.push(Input::Records { process: PROCESS, payloads });
        }
    }
    let payloads = vec![mark(host + 10_000, MARK_ARMED | MARK_LAST)];
    inputs.push(Input::Records { process: PROCESS, payloads });
    inputs
}

fn drawn(inputs: Vec<Input>, path: &Path) -> (View, Capture) {
    let trace = TraceFile::create(path, Extent::default()).unwrap();
    let mut drawing = Drawing::new(Pipeline::marked(), Some(trace));
    for input in inputs {
        drawing.feed(input);
    }
    let capture = drawing.finish().unwrap();
    (view(&std::fs::read(path).unwrap()), capture)
}

/// Length of the union of spans, clipped to a window.
fn union(slices: &mut dyn Iterator<Item = &Shown>, window: (u64, u64)) -> u64 {
    let mut spans: Vec<(u64, u64)> = slices
        .map(|slice| (slice.start.max(window.0), slice.end.unwrap().min(window.1)))
        .filter(|(start, end)| start < end)
        .collect();
    spans.sort_unstable();
    let mut reached = 0;
    spans.iter().fold(0, |sum, &(start, end)| {
        let from = start.max(reached);
        reached = reached.max(end);
        sum + end.saturating_sub(from)
    })
}

/// Time by name on a track.
fn sums<'v>(slices: impl Iterator<Item = &'v Shown>) -> BTreeMap<&'v str, u64> {
    let mut sums = BTreeMap::new();
    for slice in slices {
        *sums.entry(slice.name.as_str()).or_default() += slice.length();
    }
    sums
}

fn device(capture: &Capture) -> &DeviceReport {
    &capture.report.devices[0]
}

#[test]
fn streams_are_as_busy_and_gaps_as_long_as_the_report_says() {
    let place = tempfile::tempdir().unwrap();
    let (view, capture) = drawn(scenario(), &place.path().join("trace.pftrace"));
    let device = device(&capture);
    let window = (device.window.start.0, device.window.end.0);
    assert_eq!(device.streams.len(), 3);
    for stream in &device.streams {
        let track = format!(
            "GPU 0 SIMULATED/stream {}, context {}, worker (pid {PID})",
            stream.stream, stream.context
        );
        assert!(stream.busy > 0);
        assert_eq!(union(&mut view.on(&track), window), stream.busy, "{track}");
        assert_eq!(view.on(&track).count() as u64, stream.kernels, "{track}");
    }
    let kernels = view.slices.iter().filter(|slice| slice.track.contains("/stream ")).count();
    assert_eq!(kernels as u64, device.kernels);
    let causes: BTreeMap<&str, u64> = device
        .idle_cause
        .iter()
        .filter(|(_, ns)| **ns > 0)
        .map(|(&cause, &ns)| (cause_name(cause), ns))
        .collect();
    assert!(causes.len() > 1, "{causes:?}");
    assert_eq!(sums(view.on("GPU 0 SIMULATED/idle, by cause")), causes);
    let unobserved = sums(view.on("GPU 0 SIMULATED/unobserved, by reason"));
    assert_eq!(unobserved.values().sum::<u64>(), device.exclusive.unobserved);
    assert!(unobserved.contains_key("invalid_record"), "{unobserved:?}");
    assert_eq!(capture.info.notes, [""; 0]);
}

fn cause_name(cause: IdleCause) -> &'static str {
    match cause {
        IdleCause::NoRequests => "no_requests",
        IdleCause::HostBound => "host_bound",
        IdleCause::Sync => "sync",
        IdleCause::Dependency => "dependency",
        IdleCause::LaunchLatency => "launch_latency",
        IdleCause::Unknown => "unknown",
    }
}

#[test]
fn every_kernel_is_led_to_by_its_launch() {
    let place = tempfile::tempdir().unwrap();
    let (view, _) = drawn(scenario(), &place.path().join("trace.pftrace"));
    let mut launches: HashMap<u64, &Shown> = HashMap::new();
    for launch in view.slices.iter().filter(|slice| slice.category == "launch") {
        assert_eq!(launches.insert(launch.flows[0], launch), None, "one launch an arrow");
    }
    assert_eq!(launches.len(), 600);
    let mut led: HashMap<u64, usize> = HashMap::new();
    for kernel in view.slices.iter().filter(|slice| slice.track.contains("/stream ")) {
        let launch = launches[&kernel.flows[0]];
        assert!(launch.start < kernel.start, "{launch:?} {kernel:?}");
        assert_eq!(launch.arguments["correlation"], kernel.arguments["correlation"]);
        *led.entry(kernel.flows[0]).or_default() += 1;
    }
    assert_eq!(led.len(), 599, "the record without timestamps is not drawn");
    assert_eq!(led.values().filter(|count| **count == 4).count(), 59, "graphs lead to four");
    let stacks = launches.values().filter(|launch| !launch.stack.is_empty());
    assert_eq!(stacks.filter(|launch| launch.stack == ["_start", "step"]).count(), 12);
    assert_eq!(view.samples.len(), 12);
    assert!(view.samples.iter().all(|sample| sample.stack == ["_start", "step"]));
}

#[test]
fn a_recording_is_drawn_as_its_inputs_are() {
    let place = tempfile::tempdir().unwrap();
    let (live, _) = drawn(scenario(), &place.path().join("live"));
    let recording = place.path().join(FILE_NAME);
    let mut writer = Writer::create(&recording).unwrap();
    for input in scenario() {
        writer.write(&input).unwrap();
    }
    writer.finish().unwrap();
    let path = place.path().join("replayed");
    assert_eq!(replay(&recording, &path).unwrap(), [""; 0]);
    let replayed = view(&std::fs::read(&path).unwrap());
    assert_eq!(replayed.slices, live.slices);
    assert_eq!(replayed.samples, live.samples);

    let out = place.path().join("out");
    let report = analyze(&[&recording], &out, &[]);
    assert_eq!(report["notes"], Value::Array(Vec::new()));
    let analyzed = view(&std::fs::read(out.join("trace.pftrace")).unwrap());
    assert_eq!(analyzed.slices, live.slices);

    // Clocks of two files have nothing in common.
    let out = place.path().join("two");
    let report = analyze(&[&recording, &recording], &out, &["--trace-length", "1ms"]);
    for name in ["trace-1.pftrace", "trace-2.pftrace"] {
        let part = view(&std::fs::read(out.join(name)).unwrap());
        assert!(!part.slices.is_empty() && part.slices.len() < live.slices.len());
        let notes = report["notes"].as_array().unwrap();
        let said = notes.iter().any(|note| {
            note.as_str().unwrap().contains(&format!("{name} shows the part from 0 ns to 1.0 ms"))
        });
        assert!(said, "{notes:?}");
    }
    assert!(!out.join("trace.pftrace").exists());
}

/// Runs the program, which writes into `out`, and reads the report.
fn analyze(files: &[&Path], out: &Path, more: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("analyze")
        .args(files)
        .arg("-o")
        .arg(out)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// A trace of the corpus, or the reason it cannot be had.
fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/traces").join(name);
    if path.is_file() {
        return Some(path);
    }
    let reason = format!("{} is not there", path.display());
    assert!(
        !std::env::var("REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "golden")),
        "required and missing: {reason}"
    );
    println!("SKIP trace: {reason}");
    None
}

#[test]
fn an_nsight_export_is_drawn_whole() {
    drawn_whole("nsys-ai-h100_2gpu_1s.sqlite");
}

#[test]
fn a_kineto_trace_is_drawn_whole() {
    drawn_whole("hta-a100-graphs-rank0.json.gz");
}

fn drawn_whole(name: &str) {
    let Some(trace) = corpus(name) else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let report = analyze(&[&trace], &out, &[]);
    let view = view(&std::fs::read(out.join("trace.pftrace")).unwrap());
    for device in report["devices"].as_array().unwrap() {
        let number = |key: &str| device[key].as_u64().unwrap();
        let title = format!("GPU {}", number("device"));
        let work: Vec<&Shown> = view
            .slices
            .iter()
            .filter(|slice| slice.track.starts_with(&format!("{title}/stream ")))
            .collect();
        assert_eq!(work.len() as u64, number("kernels") + number("copies"), "{title}");
        let launches: HashSet<u64> = view
            .slices
            .iter()
            .filter(|slice| slice.category == "launch")
            .flat_map(|slice| slice.flows.iter().copied())
            .collect();
        assert!(!launches.is_empty(), "{title}");
        assert!(work.iter().flat_map(|slice| &slice.flows).all(|flow| launches.contains(flow)));
        let busy: u64 = ["attention", "gemm", "communication", "other"]
            .iter()
            .map(|class| device["exclusive_ns"][class].as_u64().unwrap())
            .sum();
        let window = &device["window"];
        let window = (window["start_ns"].as_u64().unwrap(), window["end_ns"].as_u64().unwrap());
        assert_eq!(union(&mut work.into_iter(), window), busy, "{title}");
        let idle = format!("{title}/idle, by cause");
        let idle: u64 = view.on(&idle).map(Shown::length).sum();
        assert_eq!(idle, device["exclusive_ns"]["idle"].as_u64().unwrap(), "{title}");
    }
}
