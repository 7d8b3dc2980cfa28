//! Counts, windows and times of every trace, to the nanosecond.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::corpus;
use crate::sweep::{self, ATTENTION, COMMUNICATION, COPY, GEMM, Interval, OTHER};
use crate::trace::{Kind, Trace};

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not an integer"))
}

/// Every figure of a device that this test computes, by its place in the report.
type Figures = BTreeMap<&'static str, i64>;

fn expected(trace: &Trace, device: i64, rank: impl Fn(&str) -> usize) -> Figures {
    let records: Vec<_> = trace.records.iter().filter(|record| record.device == device).collect();
    let intervals: Vec<Interval> = records
        .iter()
        .map(|record| {
            let rank = if record.kind == Kind::Kernel { rank(&record.name) } else { COPY };
            (record.start, record.end, rank)
        })
        .collect();
    let split = sweep::split(&intervals);
    let kernels = records.iter().filter(|record| record.kind == Kind::Kernel).count();
    BTreeMap::from([
        ("/kernels", i64::try_from(kernels).unwrap()),
        ("/copies", i64::try_from(records.len() - kernels).unwrap()),
        ("/window/start_ns", split.start),
        ("/window/end_ns", split.end),
        ("/window_ns", split.end - split.start),
        ("/exclusive_ns/attention", split.exclusive[ATTENTION]),
        ("/exclusive_ns/gemm", split.exclusive[GEMM]),
        ("/exclusive_ns/communication", split.exclusive[COMMUNICATION]),
        ("/exclusive_ns/other", split.exclusive[OTHER] + split.exclusive[COPY]),
        ("/exclusive_ns/idle", split.idle),
        ("/exclusive_ns/unobserved", 0),
        ("/inclusive_ns/attention", split.inclusive[ATTENTION]),
        ("/inclusive_ns/gemm", split.inclusive[GEMM]),
        ("/inclusive_ns/communication", split.inclusive[COMMUNICATION]),
        ("/inclusive_ns/other", split.other_or_copy),
        ("/compute_communication_overlap_ns", split.overlap),
        ("/records/invalid", 0),
        ("/records/lost", 0),
    ])
}

/// Counts and sums by name, of kernels.
fn totals(trace: &Trace, device: i64) -> BTreeMap<String, (i64, i64)> {
    let mut totals = BTreeMap::new();
    for record in trace.kernels().filter(|record| record.device == device) {
        let total: &mut (i64, i64) = totals.entry(record.name.clone()).or_default();
        total.0 += 1;
        total.1 += record.end - record.start;
    }
    totals
}

fn reported_totals(device: &Value) -> BTreeMap<String, (i64, i64)> {
    let mut totals = BTreeMap::new();
    for total in device["kernel_totals"].as_array().unwrap() {
        if total["kind"] == "memcpy" || total["kind"] == "memset" {
            continue;
        }
        // A name may stand in several rows, one for each class it was given.
        let sum: &mut (i64, i64) =
            totals.entry(total["name"].as_str().unwrap().to_owned()).or_default();
        sum.0 += integer(&total["count"]);
        sum.1 += integer(&total["total_ns"]);
    }
    totals
}

/// The rank of each kernel's class as the report tells it: what is checked here is the time line.
fn ranks(device: &Value) -> BTreeMap<String, usize> {
    let mut ranks = BTreeMap::new();
    for total in device["kernel_totals"].as_array().unwrap() {
        let rank = match total["class"].as_str().unwrap() {
            "attention" => ATTENTION,
            "gemm" => GEMM,
            "communication" => COMMUNICATION,
            "other" => OTHER,
            class => panic!("unknown class {class}"),
        };
        let name = total["name"].as_str().unwrap().to_owned();
        let before = ranks.insert(name.clone(), rank);
        assert!(before.is_none_or(|before| before == rank), "{name} has two classes");
    }
    ranks
}

fn check(name: &str) {
    let Some(path) = corpus::find(name, name) else { return };
    let trace = corpus::read(&path);
    let report = corpus::analyze(&path);
    assert_eq!(report["simulated"], false);
    let devices = report["devices"].as_array().unwrap();
    let numbers: Vec<i64> = devices.iter().map(|device| integer(&device["device"])).collect();
    assert_eq!(numbers, trace.devices(), "{name}: devices");
    for device in devices {
        let number = integer(&device["device"]);
        let ranks = ranks(device);
        let expected = expected(&trace, number, |kernel| ranks[kernel]);
        let found: Figures = expected
            .keys()
            .map(|&place| (place, integer(device.pointer(place).unwrap())))
            .collect();
        assert_eq!(found, expected, "{name}: device {number}");
        let sum =
            |field: &str| -> i64 { device[field].as_object().unwrap().values().map(integer).sum() };
        assert_eq!(sum("exclusive_ns"), integer(&device["window_ns"]), "{name}: the sum to wall");
        assert_eq!(
            sum("idle_cause_ns"),
            integer(&device["exclusive_ns"]["idle"]),
            "{name}: the causes sum to idle"
        );
        assert_eq!(reported_totals(device), totals(&trace, number), "{name}: device {number}");
    }
}

#[test]
fn a100_graphs() {
    check("hta-a100-graphs-rank0.json.gz");
}

#[test]
fn event_sync() {
    check("hta-event_sync.json.gz");
}

#[test]
fn nccl_data() {
    check("hta-nccl_data.json.gz");
}

#[test]
fn sampled_rank_0() {
    check("hta-sampled_rank-0.json.gz");
}

#[test]
fn sampled_rank_1() {
    check("hta-sampled_rank-1.json.gz");
}

#[test]
fn triton_example() {
    check("hta-triton_example.json.gz");
}

#[test]
fn b200_eager() {
    check("tracelens-b200_eager_trace.json.gz");
}

#[test]
fn h100_nsys() {
    check("nsys-ai-h100_2gpu_1s.sqlite");
}
