//! Holds what a daemon has counted, as `/metrics` tells it, against the ground truth: counts and nanoseconds, exactly.
//!
//! For work of which everything was recorded. A daemon does not tell when its observation began, so its idle and
//! unobserved time is not judged here; recordings are (`judge::compare`).

use crate::harness::daemon::{sum, values};
use crate::judge::Row;
use crate::judge::kernels::{Busy, KernelTable};
use crate::judge::sweep::{Interval, sweep};
use crate::judge::truth::{GroundTruth, Piece, What};

const CLASSES: [&str; 4] = ["attention", "gemm", "communication", "other"];

/// Everything compared, device by device.
pub fn compare(truth: &GroundTruth, metrics: &str, table: &KernelTable) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut recorded, mut unseen) = (0, 0);
    for (uuid, pieces) in &truth.devices {
        recorded += pieces.iter().filter(|piece| piece.visible()).count();
        unseen += pieces.iter().filter(|piece| !piece.visible()).count();
        device(truth, uuid, pieces, metrics, table, &mut rows);
    }
    let outcome = |name: &str| {
        whole(sum(metrics, "warplens_records_total", &[&format!("outcome=\"{name}\"")]), 1.0)
    };
    let mut row = |what: &str, truth: i128, report: i128| {
        rows.push(Row { device: "-".to_owned(), what: what.to_owned(), truth, report });
    };
    row("pieces of work without a sound record", 0, unseen as i128);
    row("timestamps of another clock", 0, i128::from(truth.foreign_clock));
    let entries: u64 = truth.counters.values().map(|counters| counters.lost).sum();
    row("entries the truth lacks", 0, i128::from(entries));
    row("records", recorded as i128, outcome("classified"));
    for nothing in ["unclassified", "invalid", "lost"] {
        row(nothing, 0, outcome(nothing));
    }
    let dropped = sum(metrics, "warplens_dropped_total", &[]);
    row("records, names and graph entries that found no room", 0, whole(dropped, 1.0));
    rows
}

fn device(
    truth: &GroundTruth,
    uuid: &str,
    pieces: &[Piece],
    metrics: &str,
    table: &KernelTable,
    rows: &mut Vec<Row>,
) {
    let busy = |piece: &Piece| match piece.what {
        What::Kernel(name) => table.class(&truth.names[name]).unwrap_or(Busy::Other),
        What::Copy | What::Set => Busy::Copy,
    };
    let intervals: Vec<Interval> = pieces
        .iter()
        .filter(|piece| piece.visible())
        .map(|piece| Interval { start: piece.start, end: piece.end, busy: busy(piece) })
        .collect();
    let begin = intervals.iter().map(|interval| interval.start).min().unwrap_or(0);
    let end = intervals.iter().map(|interval| interval.end).max().unwrap_or(0);
    let split = sweep(&intervals, &[], &[], (begin, end), begin);
    let label = format!("UUID=\"{}\"", shown(uuid));
    let mut row = |what: String, truth: u64, report: i128| {
        rows.push(Row { device: uuid.to_owned(), what, truth: truth.into(), report });
    };
    let ns = |metric: &str, labels: &[&str]| {
        let labels: Vec<&str> = labels.iter().copied().chain([label.as_str()]).collect();
        values(metrics, metric, &labels).map(|seconds| whole(seconds, 1e9)).sum::<i128>()
    };
    for class in CLASSES {
        let of_class = Busy::ALL.into_iter().filter(|busy| busy.class() == class);
        let exclusive = of_class.map(|busy| split.exclusive[busy.index()]).sum();
        let wanted = format!("class=\"{class}\"");
        let reported = ns("warplens_gpu_seconds_total", &[&wanted]);
        row(format!("exclusive {class} ns"), exclusive, reported);
        let reported = ns("warplens_worker_gpu_seconds_total", &[&wanted]);
        row(format!("exclusive {class} ns by the worker"), exclusive, reported);
    }
    let copies = ns("warplens_gpu_copy_inclusive_seconds_total", &[]);
    row("inclusive copies ns".to_owned(), split.inclusive[Busy::Copy.index()], copies);
    // Kinds of one class overlap each other, so only a class of one kind has a known union.
    for busy in [Busy::Attention, Busy::Gemm, Busy::Communication] {
        let wanted = format!("class=\"{}\"", busy.class());
        let metric = "warplens_gpu_kernel_inclusive_seconds_total";
        let reported = ns(metric, &[&wanted]);
        row(format!("inclusive {} ns", busy.class()), split.inclusive[busy.index()], reported);
    }
    let overlap = ns("warplens_gpu_compute_communication_overlap_seconds_total", &[]);
    row("compute and communication at once ns".to_owned(), split.overlap, overlap);
}

/// A device's id as metrics write it, of its digits.
fn shown(digits: &str) -> String {
    let mut text = "SIM-".to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// A figure of the metrics as the whole number it was made of; -1 for what is none.
#[expect(clippy::cast_possible_truncation, reason = "checked to lie where floats are exact")]
fn whole(value: f64, scale: f64) -> i128 {
    let scaled = (value * scale).round();
    let exact = scaled.is_finite() && (0.0..9.0e15).contains(&scaled);
    if exact { scaled as i128 } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_truth::Outcome;

    fn piece(what: What, start: u64, end: u64) -> Piece {
        Piece {
            pid: 1,
            context: 1,
            stream: 7,
            correlation: 1,
            start,
            end,
            enter: start,
            what,
            outcome: Some(Outcome::Delivered),
        }
    }

    fn truth() -> GroundTruth {
        let pieces = vec![
            piece(What::Kernel(0), 1_000_000_000, 3_000_000_001),
            piece(What::Kernel(1), 2_000_000_000, 4_000_000_003),
            piece(What::Copy, 4_000_000_000, 4_000_000_007),
        ];
        let names = vec!["attend".to_owned(), "multiply".to_owned()];
        let devices = [("00112233445566778899aabbccddeeff".to_owned(), pieces)].into();
        GroundTruth { devices, names, ..GroundTruth::default() }
    }

    fn table() -> KernelTable {
        KernelTable::parse("attend\tattention\tgeneric\t1\nmultiply\tgemm\tdense\t1\n").unwrap()
    }

    const METRICS: &str = "\
warplens_gpu_seconds_total{gpu=\"0\",UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"attention\"} 2.000000001
warplens_gpu_seconds_total{gpu=\"0\",UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"gemm\"} 1.000000002
warplens_gpu_seconds_total{gpu=\"0\",UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"other\"} 0.000000004
warplens_worker_gpu_seconds_total{UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"attention\"} 2.000000001
warplens_worker_gpu_seconds_total{UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"gemm\"} 1.000000002
warplens_worker_gpu_seconds_total{UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"other\"} 0.000000004
warplens_gpu_kernel_inclusive_seconds_total{UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"attention\",kind=\"generic\"} 2.000000001
warplens_gpu_kernel_inclusive_seconds_total{UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\",class=\"gemm\",kind=\"dense\"} 2.000000003
warplens_gpu_copy_inclusive_seconds_total{UUID=\"SIM-00112233-4455-6677-8899-aabbccddeeff\"} 0.000000007
warplens_records_total{outcome=\"classified\"} 3
";

    fn differences(truth: &GroundTruth, metrics: &str) -> Vec<String> {
        let rows = compare(truth, metrics, &table());
        rows.into_iter().filter(|row| !row.agrees()).map(|row| row.what).collect()
    }

    #[test]
    fn a_nanosecond_and_a_record_make_a_difference() {
        assert_eq!(differences(&truth(), METRICS), [""; 0]);
        let late = METRICS.replace("1.000000002", "1.000000003");
        assert_eq!(
            differences(&truth(), &late),
            ["exclusive gemm ns", "exclusive gemm ns by the worker"]
        );
        let more = METRICS.replace("\"classified\"} 3", "\"classified\"} 4");
        assert_eq!(differences(&truth(), &more), ["records"]);
        let lost = format!("{METRICS}warplens_records_total{{outcome=\"lost\"}} 1\n");
        assert_eq!(differences(&truth(), &lost), ["lost"]);
        let mut dropped = truth();
        let pieces = dropped.devices.values_mut().next().unwrap();
        pieces.last_mut().unwrap().outcome = Some(Outcome::Dropped);
        assert!(differences(&dropped, METRICS).contains(&"records".to_owned()));
    }

    #[test]
    fn what_is_no_number_is_no_figure() {
        assert_eq!(whole(f64::NAN, 1.0), -1);
        assert_eq!(whole(12.345_678_901, 1e9), 12_345_678_901);
    }
}
