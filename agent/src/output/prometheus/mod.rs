//! `/metrics`: a capture and the agent's own health as `OpenMetrics` text, by the official client.
//!
//! Base units, counters end in `_total` and never run backwards; kernel names are never labels.
//! GPU labels are dcgm-exporter's: `gpu` (index) and `UUID`.

mod attach;
mod collected;
mod counters;
mod estimates;
mod families;
mod flight;
mod host;
mod levels;
mod memory;
mod steps;
mod windows;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use analysis::level::armed::Estimated;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::capture::Capture;
use crate::flight::{Counted, Stats};
use crate::govern::Governed;
use crate::inject::Outcome;
pub use estimates::Estimates;
pub use levels::WorkerLevel;
pub use windows::{Shares, SlidingWindows, WINDOWS};

/// `Content-Type` of [`Exporter::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the agent knows about itself, beside the capture.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Each source of data and whether its last turn succeeded.
    pub collectors: Vec<(&'static str, bool)>,
    /// Answers of servers that were read, and that were not. Only grow. `None`: they are not asked.
    pub collected: Option<(u64, u64)>,
    /// What was dropped so far, by where. Only grows.
    pub dropped: Vec<(Dropped, u64)>,
    /// Workers switched off and on again because their records came without timestamps. Only grows.
    pub rearms: u64,
    /// Workers left alone because that did not help. Only grows.
    pub guard_fallbacks: u64,
    /// How often a worker's CUPTI was left to another profiler. Only grows.
    pub yields: u64,
    /// Shares of the last seconds and minutes.
    pub windows: Vec<WindowShares>,
    /// Of the last hour, by the devices' indices.
    pub estimates: Vec<(u32, Estimated)>,
    /// What was decided on levels, where somebody decides.
    pub governed: Option<(Governed, Vec<WorkerLevel>)>,
    /// Workers with a known fault, by its name and effect.
    pub faults: BTreeMap<(&'static str, String), u64>,
    /// Processes that were to be entered, where that is policy.
    pub entered: Option<BTreeMap<Outcome, u64>>,
    /// The flight recorder, where it is on.
    pub flight: Option<(Stats, Counted)>,
}

/// How one device spent its latest time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowShares {
    /// Index of the device.
    pub device: u32,
    /// Of [`WINDOWS`].
    pub window: &'static str,
    pub shares: Shares,
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

/// Renders captures of one session, one after the other.
#[derive(Debug, Default)]
pub struct Exporter {
    /// Highest value told of each counter and histogram.
    told: HashMap<(&'static str, Labels), Value>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FamilyKind {
    Counter,
    Gauge,
    /// A gauge that is always 1: its labels are the value.
    Info,
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    /// Counts by upper bound, not cumulative; the last bound is infinite.
    Histogram {
        sum: f64,
        buckets: Vec<(f64, u64)>,
    },
}

impl Value {
    /// A lower value would read as a restart and be counted again: what was told once stays.
    fn raise(&mut self, lowest: &Self) {
        match (self, lowest) {
            (Self::Number(value), Self::Number(told)) => *value = value.max(*told),
            (
                Self::Histogram { sum, buckets },
                Self::Histogram { sum: sum_told, buckets: told },
            ) => {
                *sum = sum.max(*sum_told);
                for ((_, count), (_, count_told)) in buckets.iter_mut().zip(told) {
                    *count = (*count).max(*count_told);
                }
            }
            // A family's kind never changes.
            (Self::Number(_), Self::Histogram { .. })
            | (Self::Histogram { .. }, Self::Number(_)) => {}
        }
    }
}

#[derive(Clone, Debug)]
struct Family {
    /// Without `_total` or `_info`.
    name: &'static str,
    help: &'static str,
    kind: FamilyKind,
    series: Vec<(Labels, Value)>,
}

impl Exporter {
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of one scrape.
    pub fn render(&mut self, capture: &Capture, health: &Health) -> Result<String, fmt::Error> {
        let mut families = families::of(capture, health);
        let grows = |kind| matches!(kind, FamilyKind::Counter | FamilyKind::Histogram);
        for family in families.iter_mut().filter(|family| grows(family.kind)) {
            for (labels, value) in &mut family.series {
                match self.told.entry((family.name, labels.clone())) {
                    Entry::Occupied(mut told) => {
                        value.raise(told.get());
                        told.insert(value.clone());
                    }
                    Entry::Vacant(told) => {
                        told.insert(value.clone());
                    }
                }
            }
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot(families)));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
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
                FamilyKind::Histogram => MetricType::Histogram,
                FamilyKind::Info => MetricType::Info,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                match (family.kind, value) {
                    // Without labels there is no brace either.
                    (FamilyKind::Counter, Value::Number(value)) if labels.is_empty() => {
                        metric.encode_counter::<NoLabelSet, f64, u64>(value, None)?;
                    }
                    (FamilyKind::Counter, Value::Number(value)) => {
                        ConstCounter::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                    (FamilyKind::Gauge, Value::Number(value)) => {
                        ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                    (FamilyKind::Info, _) => metric.encode_info(labels)?,
                    (_, Value::Histogram { sum, buckets }) => {
                        let count = buckets.iter().map(|(_, count)| count).sum();
                        metric
                            .encode_family(labels)?
                            .encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                    }
                    (FamilyKind::Histogram, Value::Number(_)) => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
