//! What a session found: plain data. Formats live at the agent's edges.

use std::collections::BTreeMap;

use crate::classify::{Class, Kind};
use crate::defect::Defect;
use crate::event::{DeviceInfo, ProcessInfo};
use crate::ids::{NameId, Ns, ProcessKey, StackId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Ordered by `DeviceInfo::index`.
    pub devices: Vec<DeviceReport>,
    /// One per process and device it used.
    pub workers: Vec<WorkerReport>,
    /// Where GPU time hangs: sums per device, process and kernel equal the exact totals.
    pub stacks: Vec<StackTime>,
    /// Names that `NameId`s index.
    pub names: Vec<String>,
    /// What is wrong with the data, for every reader of the report.
    pub defects: Vec<Defect>,
}

/// Half-open interval `[start, end)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub start: Ns,
    pub end: Ns,
}

/// Time of a window split so that the six parts sum to it, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusive {
    pub attention: u64,
    pub gemm: u64,
    pub communication: u64,
    /// Other compute, copies and sets.
    pub other: u64,
    pub idle: u64,
    pub unobserved: u64,
}

/// Union of each class on its own, ns; classes may overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inclusive {
    pub attention: u64,
    pub gemm: u64,
    pub communication: u64,
    pub other: u64,
}

/// Records by what became of them; disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Kernels whose name a rule matched, copies and sets.
    pub classified: u64,
    /// Kernels no rule matched: class `other`, kind `other`.
    pub unclassified: u64,
    /// Zero or reversed timestamps.
    pub invalid: u64,
    /// Not delivered, by the ring's or CUPTI's own count; shown on the device the process used
    /// first. What was lost before its first mark is a defect, not counted here.
    pub lost: u64,
}

/// Why time could not be attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnobservedReason {
    /// From arming to the first instant proven drained.
    Arming,
    /// A record without timestamps may have run here.
    InvalidRecord,
    /// Records were lost that may have run here.
    LostRecord,
    /// A launch was still without its record after the hold limit.
    Unfinished,
    /// The process ended or was disarmed before the window's end.
    NotArmed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceReport {
    pub info: DeviceInfo,
    pub window: Window,
    /// Kernels that overlap the window (a zero-length one inside it counts).
    pub kernels: u64,
    pub copies: u64,
    pub exclusive: Exclusive,
    pub inclusive: Inclusive,
    /// Some compute class and communication at once, ns.
    pub compute_communication_overlap: u64,
    /// Idle time by cause, ns; sums to `exclusive.idle`.
    pub idle_cause: BTreeMap<IdleCause, u64>,
    /// Union per class and kind, ns.
    pub kinds: BTreeMap<(Class, Kind), u64>,
    /// Unobserved time by reason, ns; sums to `exclusive.unobserved`.
    pub unobserved: BTreeMap<UnobservedReason, u64>,
    pub records: RecordCounts,
    /// Every kernel, longest total first.
    pub totals: Vec<KernelTotal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdleCause {
    NoRequests,
    HostBound,
    Sync,
    Dependency,
    LaunchLatency,
    Unknown,
}

/// The clipped sum of one kernel's durations in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTotal {
    pub name: NameId,
    pub class: Class,
    pub kind: Kind,
    pub count: u64,
    pub total: u64,
}

/// One process on one device, split on its own records alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    pub process: ProcessKey,
    pub info: ProcessInfo,
    /// Position in `Report::devices`.
    pub device: usize,
    pub kernels: u64,
    pub exclusive: Exclusive,
    /// Launch calls entered, refused ones included. Like the two counts below it is the whole
    /// process's, shown on the device it used first and 0 on its others.
    pub launches: u64,
    /// Of those, refused by the driver.
    pub launches_failed: u64,
    /// Sampled launches whose stack came.
    pub stacks_sampled: u64,
}

/// GPU time of one kernel (or all copies of one kind) under one launch stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackTime {
    /// Position in `Report::devices`.
    pub device: usize,
    pub process: ProcessKey,
    pub name: NameId,
    pub class: Class,
    pub kind: Kind,
    /// Executed graph, 0 outside graphs.
    pub graph: u32,
    /// `None`: no launch of it was sampled.
    pub stack: Option<StackId>,
    pub total: u64,
}
