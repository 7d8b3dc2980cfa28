//! What a report must keep to when nothing is sure to have been seen: it says no more than happened, and what
//! nobody saw is not called idle.
//!
//! ```text
//! exclusive + idle + unobserved = window
//! idle <= truth's idle,   busy <= truth's busy,   kernels <= truth's kernels
//! kernels < truth's kernels  =>  lost, invalid or unobserved > 0
//! ```

use std::path::Path;

use crate::judge::JudgeError;
use crate::judge::report::{Device, Report};
use crate::judge::truth::{GroundTruth, Piece, What};

/// Everything that is wrong; nothing for an honest report. `until`: where the truth ends, for a process that
/// was killed before it wrote down the rest.
pub fn complaints(truth: &GroundTruth, report: &Report, until: Option<u64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for device in &report.devices {
        let uuid = device.uuid_digits().unwrap_or_default();
        match truth.devices.get(&uuid) {
            Some(pieces) => judge(device, pieces, until, &mut complaints),
            None => complaints.push(format!("a device {uuid} that there is not")),
        }
    }
    complaints
}

/// The same of files: the folder of truth and the report.
///
/// # Errors
/// When one of the inputs cannot be read.
pub fn judge_files(
    directory: &Path,
    report: &Path,
    until: Option<u64>,
) -> Result<Vec<String>, JudgeError> {
    Ok(complaints(&GroundTruth::read(directory)?, &Report::read(report)?, until))
}

fn judge(device: &Device, pieces: &[Piece], until: Option<u64>, complaints: &mut Vec<String>) {
    let (start, end) = (device.window.start_ns, device.window.end_ns);
    // Behind the end of the truth anything may have happened.
    let unknown = until.map_or(0, |until| end.saturating_sub(until.max(start)));
    let part = |name: &str| device.exclusive_ns.get(name).copied().unwrap_or(0);
    let sum: u64 = device.exclusive_ns.values().sum();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            complaints.push(what);
        }
    };
    hold(sum == device.window_ns, format!("parts sum to {sum} ns of {}", device.window_ns));
    let (idle, unobserved) = (part("idle"), part("unobserved"));
    let busy = sum.saturating_sub(idle + unobserved);
    let truly_busy = union(pieces, start, end);
    let truly_idle = (end - start).saturating_sub(truly_busy);
    hold(idle <= truly_idle, format!("{idle} ns called idle, there were {truly_idle}"));
    let most = truly_busy + unknown;
    hold(busy <= most, format!("{busy} ns called busy, there were {most}"));
    let ran = |piece: &&Piece| {
        piece.start < end && piece.end > start && matches!(piece.what, What::Kernel(_))
    };
    let kernels = pieces.iter().filter(ran).count() as u64;
    hold(
        device.kernels <= kernels || unknown > 0,
        format!("{} kernels, there were {kernels}", device.kernels),
    );
    let records = device.records;
    let admitted = records.lost + records.invalid + unobserved > 0;
    hold(
        device.kernels >= kernels || admitted,
        format!("{} of {kernels} kernels, and nothing is said to be missing", device.kernels),
    );
}

/// Time within the bounds in which something runs, ns.
fn union(pieces: &[Piece], start: u64, end: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> = pieces
        .iter()
        .map(|piece| (piece.start.max(start), piece.end.min(end)))
        .filter(|(from, to)| from < to)
        .collect();
    spans.sort_unstable();
    let mut reached = start;
    spans.into_iter().fold(0, |sum, (from, to)| {
        let from = from.max(reached);
        reached = reached.max(to);
        sum + to.saturating_sub(from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00";

    fn truth(spans: &[(u64, u64)]) -> GroundTruth {
        let mut truth = GroundTruth::default();
        let piece = |&(start, end): &(u64, u64)| Piece {
            pid: 1,
            context: 1,
            stream: 1,
            correlation: 1,
            start,
            end,
            enter: start,
            what: What::Kernel(0),
            outcome: None,
        };
        truth.devices.insert(UUID.to_owned(), spans.iter().map(piece).collect());
        truth
    }

    fn report(kernels: u64, gemm: u64, idle: u64, unobserved: u64) -> Report {
        let text = format!(
            r#"{{"schema": "warplens.report/v1", "simulated": true, "devices": [{{
                "device": 0, "uuid": "SIM-{UUID}", "window": {{"start_ns": 100, "end_ns": 200}},
                "window_ns": 100, "kernels": {kernels},
                "exclusive_ns": {{"gemm": {gemm}, "idle": {idle}, "unobserved": {unobserved}}},
                "inclusive_ns": {{}}, "compute_communication_overlap_ns": 0,
                "records": {{"classified": {kernels}, "unclassified": 0, "invalid": 0, "lost": 0}}}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_more_than_happened_is_found() {
        // 30 ns of the window are busy, two kernels overlap.
        let truth = truth(&[(90, 110), (120, 140), (125, 130), (300, 400)]);
        let count = |report: Report, until| complaints(&truth, &report, until).len();
        assert_eq!(count(report(3, 30, 70, 0), None), 0);
        assert_eq!(count(report(2, 20, 70, 10), None), 0, "one missing, in unobserved time");
        assert_eq!(count(report(2, 30, 70, 0), None), 1, "one missing in silence");
        assert_eq!(count(report(4, 30, 70, 0), None), 1, "one too many");
        assert_eq!(count(report(3, 20, 80, 0), None), 1, "busy time called idle");
        assert_eq!(count(report(3, 40, 60, 0), None), 1, "idle time called busy");
        assert_eq!(count(report(3, 30, 60, 0), None), 1, "parts that do not sum");
        assert_eq!(count(report(5, 40, 60, 0), Some(190)), 0, "behind the end of the truth");
    }
}
