//! Whether every kernel that a graph replayed hangs under the stack it was captured under.
//!
//! The program labels the places where it captures (`warplens_sim_capture_site`) and prints which
//! functions a label stands for; the simulator carries the label of a node through clones, child graphs
//! and updates to every replay. Times are clipped to the window and compared to the nanosecond.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use sim_truth::{Outcome, Truth, WorkKind};

use crate::judge::report::{Report, digits};
use crate::judge::truth::hexadecimal;
use crate::judge::{JudgeError, Row, shares};

/// A label and the functions of the stack that captures there, the outer ones first.
#[derive(Clone, Debug, Deserialize)]
pub struct CaptureLabel {
    pub label: u32,
    pub frames: Vec<String>,
}

/// What is expected in place of the capture stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'e> {
    /// Those of the labels.
    Stacks,
    /// This frame everywhere: the stacks cannot be known.
    Marker(&'e str),
}

/// One comparison per kernel and place of capture.
///
/// # Errors
/// When a file cannot be read.
pub fn judge(
    directory: &Path,
    out: &Path,
    labels: &[CaptureLabel],
    expected: Expected<'_>,
) -> Result<Vec<Row>, JudgeError> {
    let report = Report::read(&out.join("report.json"))?;
    let path = out.join("gpu.folded");
    let folded = std::fs::read_to_string(&path).map_err(|source| JudgeError::Read {
        what: "the folded stacks",
        path: path.clone(),
        source,
    })?;
    let found = found(&folded, labels).map_err(|line| JudgeError::Parse {
        what: "the folded stacks",
        path,
        message: format!("line {line} is not `frame;frame value`"),
    })?;
    let mut truth = BTreeMap::new();
    let read =
        |source| JudgeError::Read { what: "the truth folder", path: directory.to_owned(), source };
    for entry in std::fs::read_dir(directory).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "truth") {
            add_truth(&Truth::read(&path)?, &report, labels, expected, &mut truth);
        }
    }
    let keys: BTreeSet<&Key> = truth.keys().chain(found.keys()).collect();
    Ok(keys
        .into_iter()
        .map(|key| Row {
            device: "-".to_owned(),
            what: format!("ns of `{}` captured in {}", key.1, key.0),
            truth: truth.get(key).copied().unwrap_or(0),
            report: found.get(key).copied().unwrap_or(0),
        })
        .collect())
}

/// Place of capture and kernel.
type Key = (String, String);

fn add_truth(
    truth: &Truth,
    report: &Report,
    labels: &[CaptureLabel],
    expected: Expected<'_>,
    sums: &mut BTreeMap<Key, i128>,
) {
    for joined in truth.joined() {
        let work = joined.work;
        let of_graph = work.graph != 0 && work.kind == WorkKind::Kernel;
        if !of_graph || joined.outcome() != Some(Outcome::Delivered) {
            continue;
        }
        let uuid = truth.devices.get(&work.device).map(|device| hexadecimal(&device.uuid));
        let window = report
            .devices
            .iter()
            .find(|device| device.uuid.as_deref().map(digits) == uuid)
            .map(|device| device.window);
        let Some(window) = window else { continue };
        let start = work.start_ns.max(window.start_ns);
        let end = work.end_ns.min(window.end_ns);
        if start >= end {
            continue;
        }
        let place = match expected {
            Expected::Marker(marker) => marker.to_owned(),
            Expected::Stacks => labels
                .iter()
                .find(|label| label.label == work.site)
                .map_or_else(|| format!("unlabelled place {}", work.site), name),
        };
        let kernel = truth.names.get(&work.name).cloned().unwrap_or_default();
        *sums.entry((place, kernel)).or_default() += i128::from(end - start);
    }
}

/// Sums of the folded list, or the number of the line that is no folded stack.
fn found(folded: &str, labels: &[CaptureLabel]) -> Result<BTreeMap<Key, i128>, usize> {
    let mut sums = BTreeMap::new();
    for (index, line) in folded.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (stack, value) = line.rsplit_once(' ').ok_or(index + 1)?;
        let value: i128 = value.parse().map_err(|_not_a_number| index + 1)?;
        let frames: Vec<&str> = stack.split(';').collect();
        let graph = frames.iter().position(|frame| frame.starts_with("[graph "));
        let (Some(graph), Some((kernel, above))) = (graph, frames.split_last()) else {
            continue;
        };
        // Copies and sets are not judged.
        if kernel.starts_with('[') {
            continue;
        }
        let capture = above.get(graph + 1..).unwrap_or_default();
        *sums.entry((place(capture, labels), (*kernel).to_owned())).or_default() += value;
    }
    Ok(sums)
}

/// The label whose functions the frames pass in order; else the frames themselves.
fn place(frames: &[&str], labels: &[CaptureLabel]) -> String {
    let passes = |label: &&CaptureLabel| {
        let mut rest = frames.iter();
        label.frames.iter().all(|function| rest.any(|frame| shares::names(frame, function)))
    };
    let mut passing = labels.iter().filter(passes);
    match (passing.next(), passing.next()) {
        (Some(label), None) => name(label),
        _ => frames.join(";"),
    }
}

fn name(label: &CaptureLabel) -> String {
    label.frames.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<CaptureLabel> {
        let label = |label, outer: &str, inner: &str| CaptureLabel {
            label,
            frames: vec![outer.to_owned(), inner.to_owned()],
        };
        vec![label(1, "first", "mlp"), label(2, "second", "mlp"), label(3, "first", "sampler")]
    }

    #[test]
    fn lines_are_summed_by_the_functions_behind_the_graph() {
        let folded = "\
GPU 0;w;first;mlp;[graph 2];main;first;mlp;gemm 5
GPU 0;w;[stack not sampled];[graph 2];main;first;mlp;gemm 7
GPU 0;w;run;[graph 2];main;second;other;mlp;gemm 11
GPU 0;w;run;[graph 2];main;mlp;first;gemm 13
GPU 0;w;run;[graph 2];[capture stack not taken];gemm 17
GPU 0;w;first;mlp;gemm 19
GPU 0;[idle: unknown] 23
";
        let found = found(folded, &labels()).unwrap();
        let sums: Vec<(&str, i128)> =
            found.iter().map(|((place, _), sum)| (place.as_str(), *sum)).collect();
        assert_eq!(
            sums,
            [
                ("[capture stack not taken]", 17),
                ("first/mlp", 12),
                ("main;mlp;first", 13),
                ("second/mlp", 11),
            ]
        );
        assert_eq!(super::found("one;two\n", &labels()), Err(1));
    }
}
