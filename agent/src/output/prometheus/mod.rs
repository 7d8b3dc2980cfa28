//! `/metrics`: a capture and the agent's own health as `OpenMetrics` text, by the official client.
//!
//! Base units, counters end in `_total` and never run backwards; kernel names are never labels.
//! GPU labels are dcgm-exporter's: `gpu` (index) and `UUID`.

mod families;

use std::collections::HashMap;
use std::fmt;

use analysis::ids::ProcessKey;
use analysis::report::Exclusive;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::capture::Capture;

/// `Content-Type` of [`Exporter::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the agent knows about itself, beside the capture.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Each source of data and whether its last turn succeeded.
    pub collectors: Vec<(&'static str, bool)>,
    /// What was dropped so far, by where. Only grows.
    pub dropped: Vec<(Dropped, u64)>,
    /// Workers switched off and on again because their records came without timestamps. Only grows.
    pub rearms: u64,
    /// Workers left alone because that did not help. Only grows.
    pub guard_fallbacks: u64,
    /// What is known of a worker beside its process.
    pub workers: HashMap<ProcessKey, WorkerLabels>,
}

/// Places that drop when they are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// Stack events that found the kernel's ring buffer full.
    BpfRing,
    /// Records that found a shim's ring full, or its buffers exhausted.
    ShimRing,
    /// Records CUPTI dropped.
    Cupti,
    /// Kernel names that found the area full.
    Names,
    /// Graph entries that found the table full.
    Graphs,
}

/// Labels of `warplens_worker_info`; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerLabels {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub model_name: String,
    pub engine: String,
}

/// Renders captures of one session, one after the other.
#[derive(Debug, Default)]
pub struct Exporter {
    /// Highest value told of each counter.
    told: HashMap<(&'static str, Labels), f64>,
    /// Split and its time at the last turn that saw time pass, by device position.
    before: HashMap<usize, Exclusive>,
    /// Shares of that turn.
    ratios: HashMap<usize, [f64; 6]>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FamilyKind {
    Counter,
    Gauge,
    /// A gauge that is always 1: its labels are the value.
    Info,
}

#[derive(Clone, Debug)]
struct Family {
    /// Without `_total` or `_info`.
    name: &'static str,
    help: &'static str,
    kind: FamilyKind,
    series: Vec<(Labels, f64)>,
}

impl Exporter {
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of one scrape.
    pub fn render(&mut self, capture: &Capture, health: &Health) -> Result<String, fmt::Error> {
        self.update_ratios(capture);
        let mut families = families::of(capture, health, &self.ratios);
        for family in families.iter_mut().filter(|family| family.kind == FamilyKind::Counter) {
            for (labels, value) in &mut family.series {
                let told = self.told.entry((family.name, labels.clone())).or_default();
                // A lower value would read as a restart and be counted again.
                *told = told.max(*value);
                *value = *told;
            }
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot(families)));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Shares of the time since the last turn; kept while no time passes.
    fn update_ratios(&mut self, capture: &Capture) {
        for (position, device) in capture.report.devices.iter().enumerate() {
            let parts = super::words::parts(&device.exclusive).map(|(_, ns)| ns);
            let before = self.before.entry(position).or_default();
            let parts_before = super::words::parts(before).map(|(_, ns)| ns);
            let mut passed = [0; 6];
            for ((passed, ns), ns_before) in passed.iter_mut().zip(parts).zip(parts_before) {
                *passed = ns.saturating_sub(ns_before);
            }
            let whole: u64 = passed.iter().sum();
            if whole > 0 {
                let shares = passed.map(|ns| super::words::percent(ns, whole) / 100.0);
                self.ratios.insert(position, shares);
                *before = device.exclusive;
            }
        }
    }
}

#[derive(Debug)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.series.is_empty()) {
            let kind = match family.kind {
                FamilyKind::Counter => MetricType::Counter,
                FamilyKind::Gauge => MetricType::Gauge,
                FamilyKind::Info => MetricType::Info,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                match family.kind {
                    // Without labels there is no brace either.
                    FamilyKind::Counter if labels.is_empty() => {
                        metric.encode_counter::<NoLabelSet, f64, u64>(value, None)?;
                    }
                    FamilyKind::Counter => {
                        ConstCounter::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                    FamilyKind::Gauge => {
                        ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                    FamilyKind::Info => metric.encode_info(labels)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
