//! Engine steps as histograms, one per GPU: steps of all processes on it together.

use std::collections::BTreeMap;

use analysis::report::{Histogram, StepPhase, StepStats};

use super::families::gpu_labels;
use super::{Family, FamilyKind, Labels, Value};
use crate::capture::Capture;

pub(super) fn of(capture: &Capture) -> Vec<Family> {
    let durations = |stats: &StepStats| stats.durations.clone();
    let sizes = |stats: &StepStats| stats.batch.clone();
    vec![
        Family {
            name: "warplens_step_duration_seconds",
            help: "Durations of engine steps by phase.",
            kind: FamilyKind::Histogram,
            series: StepPhase::ALL
                .into_iter()
                .flat_map(|phase| {
                    let labels = [("phase", phase.as_str())];
                    series(capture, phase, &labels, Histogram::DURATION_NS, 1e9, durations)
                })
                .collect(),
        },
        Family {
            name: "warplens_decode_batch_size",
            help: "Sequences in each decode step, where something tells.",
            kind: FamilyKind::Histogram,
            series: series(capture, StepPhase::Decode, &[], Histogram::BATCH, 1.0, sizes),
        },
    ]
}

/// The histograms of one phase, summed by device. `unit` of the values make one of the metric's.
fn series(
    capture: &Capture,
    phase: StepPhase,
    more: &[(&'static str, &str)],
    bounds: &[u64],
    unit: f64,
    of: impl Fn(&StepStats) -> Histogram,
) -> Vec<(Labels, Value)> {
    let mut sums: BTreeMap<usize, Histogram> = BTreeMap::new();
    for steps in &capture.report.steps {
        let Some(histogram) = steps.phases.get(&phase).map(&of) else {
            continue;
        };
        let sum = sums.entry(steps.device).or_default();
        sum.counts.resize(bounds.len() + 1, 0);
        for (sum, count) in sum.counts.iter_mut().zip(histogram.counts) {
            *sum = sum.saturating_add(count);
        }
        sum.sum = sum.sum.saturating_add(histogram.sum);
    }
    sums.into_iter()
        .filter_map(|(position, histogram)| {
            let device = capture.report.devices.get(position)?;
            let mut labels = gpu_labels(device, []);
            labels.extend(more.iter().map(|&(key, value)| (key, value.to_owned())));
            let bounds = bounds.iter().map(|&bound| number(bound) / unit).chain([f64::INFINITY]);
            let buckets = bounds.zip(histogram.counts).collect();
            Some((labels, Value::Histogram { sum: number(histogram.sum) / unit, buckets }))
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}
