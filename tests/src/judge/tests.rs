//! The judge judged: a report worked out by hand is exact, and every figure changed in it shows.

use serde_json::{Value, json};
use sim_truth::{Counters, Outcome};

use crate::judge::Verdict;
use crate::judge::compare::compare;
use crate::judge::kernels::KernelTable;
use crate::judge::report::Report;
use crate::judge::truth::{GroundTruth, Piece, What};

const UUID: &str = "53494d00000000000000000000000001";

fn piece(correlation: i64, stream: u32, span: (u64, u64), what: What, outcome: Outcome) -> Piece {
    Piece {
        pid: 7,
        context: 1,
        stream,
        correlation,
        start: span.0,
        end: span.1,
        enter: span.0 - 2,
        what,
        outcome: Some(outcome),
    }
}

/// Window `[100, 200)`; the device is drained at 110.
fn truth() -> GroundTruth {
    use Outcome::{Delivered, NotEnabled, Zeroed};
    let (gemm, reduce) = (What::Kernel(0), What::Kernel(1));
    let pieces = vec![
        // Launched before arming, ends before the device is drained.
        piece(1, 1, (50, 108), gemm.clone(), NotEnabled),
        piece(2, 1, (112, 130), gemm.clone(), Delivered),
        piece(3, 2, (125, 140), reduce, Delivered),
        piece(4, 1, (150, 155), gemm.clone(), Zeroed),
        piece(5, 1, (160, 165), gemm.clone(), Delivered),
        piece(6, 3, (163, 170), What::Copy, Delivered),
        // Runs on past the window's end.
        piece(7, 1, (190, 230), gemm, Delivered),
    ];
    GroundTruth {
        devices: [(UUID.to_owned(), pieces)].into(),
        names: vec!["some_gemm".to_owned(), "some_reduce".to_owned()],
        counters: [(7, Counters::default())].into(),
        foreign_clock: 0,
    }
}

fn table() -> KernelTable {
    KernelTable::parse("some_gemm\tgemm\tdense\t10\nsome_reduce\tcommunication\tnccl\t10\n")
        .unwrap()
}

/// Gaps: 100-112 (arming to 110, then idle), 140-160 (unknown from 148 on), 170-190.
fn report() -> Value {
    json!({
        "schema": "warplens.report/v1", "simulated": true,
        "devices": [{
            "device": 0, "uuid": "SIM-53494d00-0000-0000-0000-000000000001",
            "window": {"start_ns": 100, "end_ns": 200}, "window_ns": 100,
            "kernels": 4, "copies": 1,
            "exclusive_ns": {"attention": 0, "gemm": 33, "communication": 10, "other": 5,
                             "idle": 30, "unobserved": 22},
            "inclusive_ns": {"attention": 0, "gemm": 33, "communication": 15, "other": 7},
            "compute_communication_overlap_ns": 5,
            "idle_cause_ns": {"unknown": 30},
            "unobserved_reason_ns": {"arming": 10, "invalid_record": 12},
            "records": {"classified": 5, "unclassified": 0, "invalid": 1, "lost": 0},
            "kernel_totals": [
                {"name": "some_gemm", "class": "gemm", "kind": "dense", "count": 3, "total_ns": 33},
                {"name": "some_reduce", "class": "communication", "kind": "nccl", "count": 1,
                 "total_ns": 15},
                {"name": "[memcpy HtoD]", "class": "other", "kind": "memcpy", "count": 1,
                 "total_ns": 7}
            ]
        }],
        "workers": [{"pid": 7, "uuid": "SIM-53494d00-0000-0000-0000-000000000001", "kernels": 4}]
    })
}

fn judged(report: Value) -> Verdict {
    let report: Report = serde_json::from_value(report).unwrap();
    compare(&truth(), &report, &table())
}

#[test]
fn a_right_report_is_exact() {
    let verdict = judged(report());
    assert!(verdict.exact(), "{:#?}", verdict.differences().collect::<Vec<_>>());
    assert_eq!((verdict.devices, verdict.processes), (1, 1));
}

/// Paths of every number in a document, but for those that only name something.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path.to_owned()),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                numbers(value, &format!("{path}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                numbers(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn every_figure_that_is_one_off_shows() {
    let mut paths = Vec::new();
    numbers(&report(), "", &mut paths);
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        // The index is only for the reader; records are counted beyond the window.
        let counted = ["/invalid", "/classified", "/unclassified"];
        if path.ends_with("/device") || counted.iter().any(|end| path.ends_with(end)) {
            continue;
        }
        let mut changed = report();
        let number = changed.pointer_mut(&path).unwrap();
        *number = json!(number.as_u64().unwrap() + 1);
        assert!(!judged(changed).exact(), "{path} + 1 goes unnoticed");
    }
}

#[test]
fn what_is_missing_or_of_the_wrong_class_shows() {
    let change = |path: &str, value: Value| {
        let mut changed = report();
        *changed.pointer_mut(path).unwrap() = value;
        assert!(!judged(changed).exact(), "{path}");
    };
    change("/simulated", json!(false));
    change("/devices", json!([]));
    change("/devices/0/uuid", json!("SIM-00"));
    change("/devices/0/kernel_totals", json!([]));
    change("/devices/0/kernel_totals/0/class", json!("attention"));
    change("/workers", json!([]));
    change("/devices/0/records/invalid", json!(0));
    change("/devices/0/records/classified", json!(4));
}

#[test]
fn work_that_ran_unrecorded_in_idle_time_shows() {
    let mut hidden = truth();
    let pieces = hidden.devices.get_mut(UUID).unwrap();
    // The drained instant is too early: this went on until 112.
    pieces[0].end = 111;
    let report: Report = serde_json::from_value(report()).unwrap();
    let verdict = compare(&hidden, &report, &table());
    let rows: Vec<_> = verdict.differences().map(|row| (row.what.as_str(), row.truth)).collect();
    assert_eq!(rows, [("idle in which unrecorded work ran ns", 0)]);
}

#[test]
fn dropped_records_are_judged_by_their_sum() {
    let mut lossy = truth();
    lossy.devices.get_mut(UUID).unwrap()[4].outcome = Some(Outcome::Dropped);
    let mut report = report();
    let device = &mut report["devices"][0];
    // The GEMM at 160-165 is missing: its time is unobserved, the copy's is seen from 163 on.
    device["kernels"] = json!(3);
    device["exclusive_ns"]["gemm"] = json!(28);
    device["inclusive_ns"]["gemm"] = json!(28);
    device["exclusive_ns"]["other"] = json!(7);
    device["exclusive_ns"]["unobserved"] = json!(25);
    device["unobserved_reason_ns"]["lost_record"] = json!(3);
    device["records"] = json!({"classified": 4, "unclassified": 0, "invalid": 1, "lost": 1});
    device["kernel_totals"][0]["count"] = json!(2);
    device["kernel_totals"][0]["total_ns"] = json!(28);
    report["workers"][0]["kernels"] = json!(3);
    let parsed: Report = serde_json::from_value(report.clone()).unwrap();
    let verdict = compare(&lossy, &parsed, &table());
    assert!(verdict.exact(), "{:#?}", verdict.differences().collect::<Vec<_>>());
    report["devices"][0]["records"]["lost"] = json!(0);
    let parsed: Report = serde_json::from_value(report).unwrap();
    assert!(!compare(&lossy, &parsed, &table()).exact(), "a loss that the report does not know");
}
