use std::io::Write;

use analysis::event::{
    Event, Launch, LaunchKind, Range, RangeKind, Sync, SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, DeviceKey, Ns};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn inputs_of(bytes: &[u8], gzip: bool) -> Result<Vec<Input>, ChromeError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut inputs = Vec::new();
    read(file.path(), gzip, &ProgressBar::hidden(), &mut |input| inputs.push(input))?;
    Ok(inputs)
}

/// Events without introductions, and notes.
fn events_of(text: &str) -> (Vec<Event>, Vec<String>) {
    let (mut events, mut notes) = (Vec::new(), Vec::new());
    for input in inputs_of(text.as_bytes(), false).unwrap() {
        match input {
            Input::Foreign(event) => events.push(event),
            Input::Note(note) => notes.push(note),
            _ => {}
        }
    }
    (events, notes)
}

fn trace(events: &str) -> String {
    format!("{{\"traceEvents\": [{events}]}}")
}

const KERNEL: Work = Work {
    process: PROCESS,
    ordinal: 1,
    context: 2,
    stream: 7,
    correlation: Correlation(35),
    graph: 0,
    graph_node: 0,
    source_node: 0,
    grid_x: 128,
    start: Ns(10_001),
    end: Ns(11_761),
    kind: WorkKind::Kernel { name: 1 },
};

#[test]
fn a_kernel_has_everything_that_is_told() {
    let (events, notes) = events_of(&trace(
        r#"{"ph": "X", "cat": "kernel", "name": "k", "pid": 1, "tid": 7, "ts": 10.001, "dur": 1.76,
            "args": {"External id": 3, "device": 1, "context": 2, "stream": 7, "correlation": 35,
            "graph id": 9, "graph node id": 4294967299, "grid": [128, 1, 1]}},
           {"args": {"device": 1, "stream": 7, "correlation": 36, "bytes": 4000, "context": 2},
            "dur": 1, "ts": 20, "name": "Memcpy HtoD (Pinned -> Device)", "cat": "gpu_memcpy",
            "ph": "X"},
           {"ph": "X", "cat": "Memset", "name": "Memset (Device)", "pid": 1, "tid": 7, "ts": 30,
            "dur": 0, "args": {"correlation": 4294967333, "bytes": 8}}"#,
    ));
    let copy = WorkKind::Memcpy { bytes: 4000, copy_kind: 1 };
    let set = WorkKind::Memset { bytes: 8 };
    let plain = Work { graph: 0, graph_node: 0, grid_x: 0, ..KERNEL };
    assert_eq!(
        events,
        [
            Work { graph: 9, graph_node: (1 << 32) + 3, ..KERNEL },
            Work {
                kind: copy,
                correlation: Correlation(36),
                start: Ns(20_000),
                end: Ns(21_000),
                ..plain
            },
            // Ids beyond 32 bits keep their low half; device and stream stand as process and thread.
            Work {
                kind: set,
                correlation: Correlation(37),
                context: 0,
                start: Ns(30_000),
                end: Ns(30_000),
                ..plain
            },
        ]
        .map(Event::Work)
    );
    assert_eq!(notes, [""; 0]);
}

#[test]
fn calls_launch_and_wait_once() {
    let call = |name: &str, ts: u32, dur: u32, correlation: u32, category: &str| {
        format!(
            r#"{{"ph":"X","cat":"{category}","name":"{name}","pid":5,"tid":6,"ts":{ts},"dur":{dur},
               "args":{{"correlation":{correlation}}}}}"#
        )
    };
    let calls = [
        call("cuLaunchKernelEx", 11, 3, 1, "cuda_driver"),
        call("cudaLaunchKernelExC", 10, 5, 1, "cuda_runtime"),
        call("cudaEventQuery", 17, 1, 2, "cuda_runtime"),
        call("cudaGraphLaunch", 20, 5, 3, "Runtime"),
        call("cudaMemcpy", 30, 5, 4, "cuda_runtime"),
        call("cudaDeviceSynchronize", 40, 5, 5, "cuda_runtime"),
        r#"{"ph":"X","cat":"cuda_sync","name":"Context Sync","pid":0,"tid":7,"ts":41,"dur":3,
           "args":{"cuda_sync_kind":"Context Sync","correlation":5,"device":0,"context":1}}"#
            .to_owned(),
        r#"{"ph":"X","cat":"cuda_sync","name":"Stream Sync","pid":0,"tid":7,"ts":51,"dur":3,
           "args":{"cuda_sync_kind":"Stream Sync","correlation":9,"device":0,"context":1}}"#
            .to_owned(),
        r#"{"ph":"X","cat":"cuda_sync","name":"Stream Wait Event","pid":0,"tid":7,"ts":61,"dur":3,
           "args":{"cuda_sync_kind":"Stream Wait Event","correlation":9,"context":1}}"#
            .to_owned(),
        // No correlation: nothing can belong to it.
        r#"{"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":5,"tid":6,"ts":70,"dur":3}"#
            .to_owned(),
    ];
    let (events, notes) = events_of(&trace(&calls.join(",")));
    let launch = |correlation, kind, enter, exit| {
        Event::Launch(Launch {
            process: PROCESS,
            correlation: Correlation(correlation),
            kind,
            enter: Ns(enter),
            exit: Some(Ns(exit)),
            thread: 6,
            function: 0,
            sampled: None,
        })
    };
    let sync = |scope, context, thread, enter, exit| {
        Event::Sync(Sync {
            process: PROCESS,
            context,
            scope,
            enter: Ns(enter),
            exit: Ns(exit),
            thread,
            succeeded: true,
        })
    };
    assert_eq!(
        events,
        [
            launch(1, LaunchKind::Kernel, 10_000, 15_000),
            launch(3, LaunchKind::Graph, 20_000, 25_000),
            launch(4, LaunchKind::Copy, 30_000, 35_000),
            sync(SyncScope::Stream, 0, 6, 30_000, 35_000),
            sync(SyncScope::Context, 0, 6, 40_000, 45_000),
            sync(SyncScope::Stream, 1, u32::MAX, 51_000, 54_000),
        ]
    );
    assert_eq!(
        notes,
        ["the trace has no kernel, copy or set: record it with ProfilerActivity.CUDA"]
    );
}

#[test]
fn operators_have_shapes_and_modules_are_told_from_other_functions() {
    let inputs = inputs_of(
        trace(
            r#"{"ph":"X","cat":"cpu_op","name":"aten::mm","pid":5,"tid":6,"ts":10,"dur":5,
                "args":{"External id":1,"Input Dims":[[2, 3],
                    [3, 4]],"Input type":["float","float"]}},
               {"ph":"X","cat":"Operator","name":"aten::to","pid":5,"tid":6,"ts":9,"dur":9,
                "args":{"Input Dims":[[],[]]}},
               {"ph":"X","cat":"user_annotation","name":"step \u00e9","pid":5,"tid":6,"ts":1,"dur":90},
               {"ph":"X","cat":"python_function","name":"nn.Module: Linear_1","pid":5,"tid":6,"ts":2,
                "dur":50,"args":{"Python id":1}},
               {"ph":"X","cat":"python_function","name":"x.py(1): f","pid":5,"tid":6,"ts":2,"dur":50},
               {"ph":"X","cat":"gpu_user_annotation","name":"step","pid":0,"tid":7,"ts":1,"dur":90},
               {"ph":"X","cat":"cpu_op","name":"bad","pid":5,"tid":6,"ts":10,"dur":-5}"#,
        )
        .as_bytes(),
        false,
    )
    .unwrap();
    let mut labels = std::collections::HashMap::new();
    let mut shown = Vec::new();
    for input in &inputs {
        match input {
            Input::Foreign(Event::Label { id, text, .. }) => {
                assert!(labels.insert(*id, text.clone()).is_none());
            }
            Input::Foreign(Event::Range(Range { kind, start, end, label, shapes, .. })) => {
                let shapes = labels.get(shapes).cloned().unwrap_or_default();
                shown.push((*kind, start.0, end.0, labels[label].clone(), shapes));
            }
            _ => {}
        }
    }
    assert_eq!(
        shown,
        [
            (RangeKind::Annotation, 1_000, 91_000, "step \u{e9}", ""),
            (RangeKind::Module, 2_000, 52_000, "Linear_1", ""),
            (RangeKind::Operator, 9_000, 18_000, "aten::to", ""),
            (RangeKind::Operator, 10_000, 15_000, "aten::mm", "[[2,3],[3,4]]"),
        ]
        .map(|(kind, start, end, label, shapes)| {
            (kind, start, end, label.to_owned(), shapes.to_owned())
        })
    );
    let untimed = "1 calls and ranges without usable times are left out".to_owned();
    assert!(inputs.contains(&Input::Note(untimed)));
}

#[test]
fn who_where_and_when_are_told_before_anything_that_ran() {
    let kernel = |device: u32| {
        format!(
            r#"{{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{{"device":{device}}}}}"#
        )
    };
    let text = format!(
        r#"{{"traceEvents": [{}, {},
            {{"ph":"M","name":"process_name","pid":77,"args":{{"name":"python3.10"}}}},
            {{"ph":"X","cat":"cuda_runtime","name":"cudaMalloc","pid":77,"tid":1,"ts":1,"dur":1}}],
            "baseTimeNanoseconds": 1711964646000000000,
            "distributedInfo": {{"backend": "nccl", "rank": 3, "world_size": 16}}}}"#,
        kernel(5),
        kernel(2)
    );
    let inputs = inputs_of(text.as_bytes(), false).unwrap();
    let Some(Input::Start(start)) = inputs.first() else { panic!("{inputs:?}") };
    assert_eq!((start.command.as_str(), start.started_unix), ("analyze", Some(1_711_964_646)));
    let Some(Input::Process { info, .. }) = inputs.get(1) else { panic!("{inputs:?}") };
    assert_eq!((info.pid, info.title.as_str(), info.rank.as_str()), (77, "rank 3", "3"));
    let introduced: Vec<&Input> = inputs[2..6].iter().collect();
    let device = |index| {
        let info = DeviceInfo { index, uuid: None, simulated: false };
        let device = DeviceKey(index);
        [
            Input::Device { device, info },
            Input::Ordinal { process: PROCESS, ordinal: index, device },
        ]
    };
    assert_eq!(introduced, [device(2), device(5)].as_flattened().iter().collect::<Vec<_>>());
}

#[test]
fn the_bare_array_gzip_and_gzip_in_members_are_the_same_trace() {
    let text = trace(
        r#"{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"device":0}},
           {"ph":"X","cat":"kernel","name":"l","ts":2,"dur":1,"args":{"device":0}}"#,
    );
    let without_source = |inputs: Vec<Input>| inputs[1..].to_vec();
    let expected = without_source(inputs_of(text.as_bytes(), false).unwrap());
    assert!(expected.len() > 5);
    let bare = text.trim_start_matches("{\"traceEvents\": ").trim_end_matches('}');
    assert_eq!(without_source(inputs_of(bare.as_bytes(), false).unwrap()), expected);
    assert_eq!(without_source(inputs_of(&gzip(text.as_bytes()), true).unwrap()), expected);
    let (first, second) = text.as_bytes().split_at(70);
    let members = [gzip(first), gzip(second)].concat();
    assert_eq!(without_source(inputs_of(&members, true).unwrap()), expected);
}

#[test]
fn what_has_no_times_is_an_invalid_record_and_nothing_is_lost() {
    let kernel = |ts: &str, dur: &str| {
        format!(r#"{{"ph":"X","cat":"kernel","name":"k","ts":{ts}{dur},"args":{{"device":0}}}}"#)
    };
    let (events, notes) = events_of(&trace(
        &[
            kernel("5", ""),
            kernel("6", ",\"dur\":-4"),
            kernel("7", ",\"dur\":NaN"),
            kernel("\"8\"", ",\"dur\":1"),
            kernel("1e300", ",\"dur\":1"),
            kernel("-5", ",\"dur\":1"),
            "null".to_owned(),
            "{\"ph\":\"X\",\"cat\":\"kernel\",\"name\":\"k\",\"ts\":1,\"dur\":1}".to_owned(),
        ]
        .join(","),
    ));
    let times: Vec<(u64, u64)> = events
        .iter()
        .map(|event| match event {
            Event::Work(work) => (work.start.0, work.end.0),
            other => panic!("{other:?}"),
        })
        .collect();
    // An end before the start, or neither.
    assert_eq!(times, [(0, 0), (0, 0), (0, 0), (5_000, 0), (6_000, 2_000), (7_000, 0)]);
    assert_eq!(
        notes,
        [
            "1 elements of `traceEvents` are no events, or longer than 8 MiB: left out",
            "1 kernels, copies or sets name no device: left out"
        ]
    );
}

#[test]
fn a_cut_trace_gives_what_is_before_the_cut_and_says_so() {
    let kernel = r#"{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"device":0}}"#;
    let text = format!("{{\"traceEvents\": [{kernel}, {kernel}, {{\"ph\":\"X\",\"ca");
    let cut = |bytes: &[u8], gzip| {
        let mut kernels = 0;
        let mut notes = Vec::new();
        for input in inputs_of(bytes, gzip).unwrap() {
            match input {
                Input::Foreign(Event::Work(_)) => kernels += 1,
                Input::Note(note) => notes.push(note),
                _ => {}
            }
        }
        assert_eq!(kernels, 2);
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        note.clone()
    };
    let at = text.len();
    assert_eq!(
        cut(text.as_bytes(), false),
        format!(
            "the trace ends before its end at byte {at} of its text: the 2 events before it are \
             read, what follows is missing; export the trace again"
        )
    );
    // Enough behind the cut that both events come out of what is left of the compressed data.
    let long = format!("{text}{}", (0..200_000).map(|n| n.to_string()).collect::<String>());
    let packed = gzip(long.as_bytes());
    let note = cut(&packed[..packed.len() / 2], true);
    assert!(note.starts_with("the data cannot be read further at byte "), "{note}");
    let damaged = format!("{} oops", text.trim_end_matches(",\"ca"));
    let note = cut(damaged.as_bytes(), false);
    let at = damaged.len() - "oops".len();
    assert!(
        note.starts_with(&format!("`o` where JSON has something else at byte {at} ")),
        "{note}"
    );
}

#[test]
fn what_is_no_trace_is_an_error_with_the_byte() {
    let fails = |bytes: &[u8], gzip: bool| {
        let error = inputs_of(bytes, gzip).unwrap_err();
        let text = error.to_string();
        text.split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(
        fails(b"{\"traceEvents\": [{\"a\"", false),
        "byte 21: the trace ends before its end: nothing could be read; export the trace again"
    );
    assert_eq!(
        fails(b"{\"traceEvents\": }", false),
        "byte 16: `}` where JSON has something else: nothing could be read; export the trace again"
    );
    assert!(fails(b"{\"a\": 1}", false).starts_with("JSON without `traceEvents`: not a trace"));
    let packed = gzip(b"{\"traceEvents\": [{}]}");
    // Where the decompressor gives up is its own affair.
    let error = fails(&packed[..12], true);
    assert!(error.contains(": the data cannot be read further: nothing could be read"), "{error}");
}
