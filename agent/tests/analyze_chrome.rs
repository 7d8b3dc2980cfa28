//! `analyze` of PyTorch's traces against sums that share nothing with it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and skip aloud, as tests do"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// The corpus traces, or the reason they cannot be had.
fn traces() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/traces");
    let mut traces: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(".json.gz"))
        .collect();
    traces.sort();
    if traces.is_empty() {
        let reason = format!("no trace in {}", folder.display());
        assert!(
            !std::env::var("REQUIRE")
                .is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "golden")),
            "required and missing: {reason}"
        );
        println!("SKIP analyze_chrome: {reason}");
    }
    traces
}

fn analyze(paths: &[&Path], arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("analyze")
        .args(paths)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn report(paths: &[&Path]) -> Value {
    serde_json::from_slice(&analyze(paths, &["--json"]).stdout).unwrap()
}

fn inflated(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    MultiGzDecoder::new(File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    text
}

/// What a device did, by a sum over sorted intervals.
#[derive(Debug, Default, PartialEq, Eq)]
struct Device {
    kernels: i64,
    start: i64,
    end: i64,
    busy: i64,
    /// Per kernel name: count and sum of durations.
    totals: BTreeMap<String, (i64, i64)>,
}

/// Microseconds as ns. Times of the corpus have no fraction, or three digits of it and few enough
/// before it that `f64` keeps them.
#[expect(clippy::cast_possible_truncation, reason = "whole microseconds below 2^53")]
fn ns(value: &Value) -> i64 {
    let micros = value.as_f64().unwrap();
    micros.trunc() as i64 * 1000 + (micros.fract() * 1000.0).round() as i64
}

fn expected(text: &[u8]) -> BTreeMap<i64, Device> {
    let document: Value = serde_json::from_slice(text).unwrap();
    let mut intervals: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    let mut devices: BTreeMap<i64, Device> = BTreeMap::new();
    for event in document["traceEvents"].as_array().unwrap() {
        let category = event["cat"].as_str().unwrap_or_default();
        if event["ph"] != "X" || !["kernel", "gpu_memcpy", "gpu_memset"].contains(&category) {
            continue;
        }
        let id = event["args"]["device"].as_i64().unwrap();
        let (start, length) = (ns(&event["ts"]), ns(&event["dur"]));
        intervals.entry(id).or_default().push((start, start + length));
        let device = devices.entry(id).or_default();
        if category == "kernel" {
            device.kernels += 1;
            let name = event["name"].as_str().unwrap().to_owned();
            let total = device.totals.entry(name).or_default();
            *total = (total.0 + 1, total.1 + length);
        }
    }
    for (id, mut intervals) in intervals {
        intervals.sort_unstable();
        let device = devices.get_mut(&id).unwrap();
        device.start = intervals[0].0;
        device.end = intervals.iter().map(|interval| interval.1).max().unwrap();
        let mut reached = i64::MIN;
        for (start, end) in intervals {
            device.busy += (end - start.max(reached)).max(0);
            reached = reached.max(end);
        }
    }
    devices
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not an integer"))
}

fn shown(report: &Value) -> BTreeMap<i64, Device> {
    let devices = report["devices"].as_array().unwrap();
    let shown = devices.iter().map(|device| {
        let exclusive = &device["exclusive_ns"];
        let (start, end) =
            (integer(&device["window"]["start_ns"]), integer(&device["window"]["end_ns"]));
        let classes = ["attention", "gemm", "communication", "other"];
        let busy: i64 = classes.iter().map(|class| integer(&exclusive[class])).sum();
        let rest = integer(&exclusive["idle"]) + integer(&exclusive["unobserved"]);
        assert_eq!(busy + rest, end - start, "exclusive + idle = window");
        assert_eq!(integer(&device["window_ns"]), end - start);
        assert_eq!(integer(&exclusive["unobserved"]), 0);
        let totals = device["kernel_totals"].as_array().unwrap().iter();
        let totals = totals.filter(|total| total["kind"] != "memcpy" && total["kind"] != "memset");
        let kernels = integer(&device["kernels"]);
        let totals = totals
            .map(|total| {
                let sums = (integer(&total["count"]), integer(&total["total_ns"]));
                (total["name"].as_str().unwrap().to_owned(), sums)
            })
            .collect();
        (integer(&device["device"]), Device { kernels, start, end, busy, totals })
    });
    shown.collect()
}

#[test]
fn counts_windows_busy_time_and_totals_equal_a_plain_sum() {
    for path in traces() {
        let report = report(&[&path]);
        assert_eq!(shown(&report), expected(&inflated(&path)), "{}", path.display());
        assert_eq!(report["defects"], serde_json::json!([]), "{}", path.display());
    }
}

#[test]
fn ranks_stand_beside_each_other_from_files_and_from_a_folder() {
    let traces = traces();
    let ranks: Vec<&Path> = traces
        .iter()
        .filter(|path| path.to_str().unwrap().contains("sampled_rank"))
        .map(PathBuf::as_path)
        .collect();
    let [first, second] = ranks[..] else { return };
    let place = tempfile::tempdir().unwrap();
    fs::copy(first, place.path().join("rank0.json.gz")).unwrap();
    fs::write(place.path().join("rank1.json"), inflated(second)).unwrap();
    // What is no trace is passed over in a folder.
    fs::write(place.path().join("config.json"), b"{\"seed\": 1}").unwrap();
    fs::write(place.path().join("list.json"), b"[1, 2]").unwrap();
    fs::write(place.path().join("broken.json.gz"), b"\x1f\x8b\x08\0nothing").unwrap();
    for report in [report(&[first, second]), report(&[place.path()])] {
        let devices = report["devices"].as_array().unwrap();
        let kernels: Vec<i64> = devices.iter().map(|device| integer(&device["kernels"])).collect();
        assert_eq!(kernels, [1154, 1104]);
        let workers = report["workers"].as_array().unwrap();
        let ranks: Vec<&str> =
            workers.iter().map(|worker| worker["rank"].as_str().unwrap()).collect();
        assert_eq!(ranks, ["0", "1"]);
    }
}

/// Each line is one event, so that a cut can be checked by counting lines.
fn lines(events: usize) -> String {
    let event = |number: usize| {
        format!(
            r#"{{"ph":"X","cat":"kernel","name":"k{}","pid":0,"tid":7,"ts":{number}.5,"dur":0.25,"args":{{"device":0}}}}"#,
            number % 7
        )
    };
    (0..events).map(event).collect::<Vec<_>>().join(",\n")
}

#[test]
fn a_trace_cut_anywhere_gives_the_events_before_the_cut_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("trace.json");
    let text = format!("{{\"traceEvents\": [\n{}\n]}}", lines(400));
    for cut in [120, 5_000, 17_003, text.len() - 3] {
        fs::write(&path, &text[..cut]).unwrap();
        let report = report(&[&path]);
        // A whole event ends with its second brace.
        let whole = text[..cut].matches("}}").count();
        assert_eq!(integer(&report["devices"][0]["kernels"]), i64::try_from(whole).unwrap());
        let note = report["notes"][0].as_str().unwrap();
        let says = format!("the trace ends before its end at byte {cut} of its text: the {whole} ");
        assert!(note.starts_with(&says), "{note}");
        let screen = String::from_utf8(analyze(&[&path], &[]).stdout).unwrap();
        assert!(screen.contains("the trace ends before its end"), "{screen}");
    }
    fs::write(&path, &text).unwrap();
    assert_eq!(report(&[&path])["notes"], serde_json::json!([]));
}
