//! `analyze` of an Nsight Systems export against SQL that shares nothing with it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and skip aloud, as tests do"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

/// Busy time of a device: each record adds what reaches beyond everything that started before it.
const BUSY: &str = "
    WITH work AS (
        SELECT deviceId, start, end FROM CUPTI_ACTIVITY_KIND_KERNEL
        UNION ALL SELECT deviceId, start, end FROM CUPTI_ACTIVITY_KIND_MEMCPY
        UNION ALL SELECT deviceId, start, end FROM CUPTI_ACTIVITY_KIND_MEMSET
    ), covered AS (
        SELECT deviceId, start, end, MAX(end) OVER (
            PARTITION BY deviceId ORDER BY start, end
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached FROM work
    )
    SELECT deviceId, MIN(start), MAX(end), SUM(
        CASE WHEN reached IS NULL THEN end - start
             WHEN end > reached THEN end - MAX(start, reached) ELSE 0 END
    ) FROM covered GROUP BY deviceId ORDER BY deviceId";

const KERNELS: &str = "
    SELECT deviceId, COUNT(*) FROM CUPTI_ACTIVITY_KIND_KERNEL GROUP BY deviceId ORDER BY deviceId";

/// Per name: count and sum of durations. No record of the trace reaches over its window.
const TOTALS: &str = "
    SELECT value, COUNT(*), SUM(end - start) FROM CUPTI_ACTIVITY_KIND_KERNEL
    JOIN StringIds ON StringIds.id = demangledName WHERE deviceId = ?1 GROUP BY value ORDER BY value";

/// The corpus trace, or the reason it cannot be had.
fn trace() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/corpus/traces/nsys-ai-h100_2gpu_1s.sqlite");
    if path.is_file() {
        return Some(path);
    }
    let reason = format!("{} is not there", path.display());
    assert!(
        !std::env::var("REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "golden")),
        "required and missing: {reason}"
    );
    println!("SKIP analyze_nsys: {reason}");
    None
}

fn analyze(arguments: &[&str], path: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("analyze")
        .arg(path)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not an integer"))
}

#[test]
fn counts_busy_idle_and_totals_equal_sql() {
    let Some(path) = trace() else { return };
    let report = analyze(&["--json"], &path);
    let sql = Connection::open(&path).unwrap();
    let expected: Vec<[i64; 4]> = sql
        .prepare(BUSY)
        .unwrap()
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let kernels: Vec<[i64; 2]> = sql
        .prepare(KERNELS)
        .unwrap()
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?]))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let devices = report["devices"].as_array().unwrap();
    assert_eq!(expected.len(), 2, "the trace shows two devices");
    let busy: Vec<[i64; 4]> = devices
        .iter()
        .map(|device| {
            let exclusive = &device["exclusive_ns"];
            let (start, end) =
                (integer(&device["window"]["start_ns"]), integer(&device["window"]["end_ns"]));
            assert_eq!(integer(&device["window_ns"]), end - start);
            let busy =
                end - start - integer(&exclusive["idle"]) - integer(&exclusive["unobserved"]);
            [integer(&device["device"]), start, end, busy]
        })
        .collect();
    assert_eq!(busy, expected, "device, window start, window end, busy ns");
    for (device, [_, start, end, busy]) in devices.iter().zip(&expected) {
        assert_eq!(integer(&device["exclusive_ns"]["idle"]), end - start - busy);
        assert_eq!(integer(&device["exclusive_ns"]["unobserved"]), 0);
    }
    let counted: Vec<[i64; 2]> = devices
        .iter()
        .map(|device| [integer(&device["device"]), integer(&device["kernels"])])
        .collect();
    assert_eq!(counted, kernels, "device, kernels");
    for device in devices {
        let mut expected: Vec<(String, i64, i64)> = sql
            .prepare(TOTALS)
            .unwrap()
            .query_map([integer(&device["device"])], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let mut totals: Vec<(String, i64, i64)> = device["kernel_totals"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|total| total["kind"] != "memcpy" && total["kind"] != "memset")
            .map(|total| {
                let name = total["name"].as_str().unwrap().to_owned();
                (name, integer(&total["count"]), integer(&total["total_ns"]))
            })
            .collect();
        expected.sort();
        totals.sort();
        assert_eq!(totals, expected);
    }
    assert_eq!(report["simulated"], false);
}

#[test]
fn every_output_is_written() {
    let Some(path) = trace() else { return };
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let on_screen = analyze(&["--json", "-o", out.to_str().unwrap()], &path);
    let written: Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, on_screen);
    let mut names: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "cpu.folded",
            "cpu.pb.gz",
            "cpu.svg",
            "gpu.folded",
            "gpu.pb.gz",
            "gpu.speedscope.json",
            "gpu.svg",
            "offcpu.folded",
            "offcpu.pb.gz",
            "offcpu.svg",
            "report.json",
            "report.md",
            "trace.pftrace",
            "wall.folded",
            "wall.pb.gz",
            "wall.svg"
        ]
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing unfinished is left");
}
