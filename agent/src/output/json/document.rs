//! The shape of `report.json`, schema `warplens.report/v1`, for writing it and for reading one
//! back. All times are integer ns.
//!
//! It lives here, not in `analysis`: the report's layout in memory may change, this may only
//! grow. A field that an older document lacks reads as its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::Host;
use super::memory::Memory;

pub const SCHEMA: &str = "warplens.report/v1";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    pub schema: String,
    pub simulated: bool,
    pub version: String,
    pub command: String,
    pub source: String,
    pub started_unix: Option<u64>,
    pub devices: Vec<Device>,
    pub workers: Vec<Worker>,
    pub steps: Vec<Steps>,
    pub host: Host,
    pub memory: Memory,
    pub defects: Vec<Sentence>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sentence {
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    #[serde(rename = "device")]
    pub index: u32,
    pub uuid: Option<String>,
    pub simulated: bool,
    pub window: Stretch,
    pub window_ns: u64,
    pub kernels: u64,
    pub copies: u64,
    pub exclusive_ns: Exclusive,
    pub inclusive_ns: Inclusive,
    pub compute_communication_overlap_ns: u64,
    pub copies_exclusive_ns: u64,
    pub copies_inclusive_ns: u64,
    pub idle_cause_ns: BTreeMap<String, u64>,
    /// Of `idle`, not in any cause yet; 0 in everything that is finished.
    pub idle_undecided_ns: u64,
    pub idle_gap_count: u64,
    pub unobserved_reason_ns: BTreeMap<String, u64>,
    pub kinds_ns: BTreeMap<String, BTreeMap<String, u64>>,
    pub records: Records,
    pub coverage: Coverage,
    pub streams: Vec<Stream>,
    pub ranges: Vec<Range>,
    pub top_kernels: Vec<Kernel>,
    pub kernel_totals: Vec<Kernel>,
    pub idle_gaps: Vec<Gap>,
    /// In which code launching threads were while the host was late: the heaviest stacks.
    pub host_bound: Vec<HostBound>,
    /// Host-bound time of stacks that are not among these, or of threads nobody looked at.
    pub host_bound_rest_ns: u64,
}

/// Host-bound time of one process in one stack of its launching threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostBound {
    pub pid: u32,
    pub title: String,
    /// `running` or `asleep`.
    pub state: String,
    /// The innermost Python frame, `module.qualname (file.py:7)`, or where there is none the innermost
    /// frame.
    pub frame: String,
    /// Root first.
    pub stack: Vec<String>,
    /// Samples that shared out the time; 0 of sleeps, whose time is exact.
    pub samples: u64,
    pub total_ns: u64,
}

/// Half-open `[start_ns, end_ns)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stretch {
    pub start_ns: u64,
    pub end_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exclusive {
    pub attention: u64,
    pub gemm: u64,
    pub communication: u64,
    pub other: u64,
    pub idle: u64,
    pub unobserved: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inclusive {
    pub attention: u64,
    pub gemm: u64,
    pub communication: u64,
    pub other: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Records {
    pub classified: u64,
    pub unclassified: u64,
    pub invalid: u64,
    pub lost: u64,
}

/// How much of the kernels' summed time no rule matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    pub kernels_ns: u64,
    pub unclassified_ns: u64,
    pub unclassified_ratio: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    pub pid: u32,
    pub context: u32,
    pub stream: u32,
    pub kernels: u64,
    pub copies: u64,
    pub busy_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Range {
    /// `operator`, `annotation` or `module`.
    pub range: String,
    /// `None`: what was launched outside every range of the kind.
    pub name: Option<String>,
    pub shapes: Option<String>,
    pub class: String,
    pub kernels: u64,
    pub total_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    pub name: String,
    pub class: String,
    pub kind: String,
    pub count: u64,
    pub total_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gap {
    pub start_ns: u64,
    pub end_ns: u64,
    pub duration_ns: u64,
    /// In order of time, without holes.
    pub parts: Vec<GapPart>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub launch: Option<GapLaunch>,
    pub sync: Option<Stretch>,
    /// Root first.
    pub stack: Option<Vec<String>>,
    /// Where the launching thread spent most of the host-bound parts, most first.
    pub host: Vec<GapHost>,
}

/// Host-bound time of one gap in one stack of the launching thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GapHost {
    /// As in [`HostBound`].
    pub frame: String,
    /// Root first.
    pub stack: Vec<String>,
    pub samples: u64,
    pub asleep_ns: u64,
    /// With the samples' share of the time in which the thread ran.
    pub total_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GapPart {
    pub cause: String,
    pub start_ns: u64,
    pub end_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GapLaunch {
    pub pid: u32,
    pub title: String,
    pub thread: u32,
    pub enter_ns: u64,
    pub graph: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    pub pid: u32,
    pub title: String,
    pub role: String,
    pub rank: String,
    pub device: Option<u32>,
    pub uuid: Option<String>,
    pub kernels: u64,
    pub exclusive_ns: Exclusive,
    pub launches: u64,
    pub launches_failed: u64,
    pub stacks_sampled: u64,
}

/// Engine steps of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steps {
    pub pid: u32,
    pub title: String,
    pub role: String,
    pub rank: String,
    pub device: Option<u32>,
    pub uuid: Option<String>,
    pub idle_between_ns: u64,
    /// By phase: `prefill`, `decode`, `mixed`, `unknown`.
    pub phases: BTreeMap<String, PhaseSteps>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseSteps {
    pub count: u64,
    pub total_ns: u64,
    pub duration_ns: Histogram,
    pub batch: Histogram,
}

/// `counts[i]` values lay in `(bounds[i-1], bounds[i]]`; the last count has no upper bound. No
/// counts: nothing was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    pub bounds: Vec<u64>,
    pub counts: Vec<u64>,
    pub sum: u64,
}
