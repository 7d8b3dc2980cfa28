//! What a session found: plain data. Formats live at the agent's edges.

use std::collections::BTreeMap;

use crate::classify::{Class, Kind};
use crate::defect::Defect;
use crate::event::{DeviceInfo, ProcessInfo, RangeKind};
use crate::ids::{NameId, Ns, ProcessKey, StackId};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Ordered by `DeviceInfo::index`.
    pub devices: Vec<DeviceReport>,
    /// One per process and device it used.
    pub workers: Vec<WorkerReport>,
    /// Where GPU time hangs: sums per device, process and kernel equal the exact totals.
    pub stacks: Vec<StackTime>,
    /// Why the devices were idle, by the stack of the launch that ended it: sums per device and
    /// cause equal `DeviceReport::idle_cause`.
    pub idle_stacks: Vec<IdleStack>,
    /// In which code launching threads were while the host was late. Per device and process, for those
    /// of which samples or sleeps were told, the rows sum to the host-bound time of
    /// `idle_stacks`.
    pub host_stacks: Vec<HostStack>,
    /// GPU time by what launched it, where a trace tells; per device and range kind the rows sum
    /// to its kernels' and copies' summed durations.
    pub ranges: Vec<RangeTime>,
    /// One per process that runs a model's steps.
    pub steps: Vec<StepReport>,
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
    /// Time of the unclassified, clipped to the window and summed, ns.
    pub unclassified_ns: u64,
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
    /// Copies and sets while nothing else runs, ns; part of `exclusive.other`.
    pub copies_exclusive: u64,
    /// Union of copies and sets, ns.
    pub copies_inclusive: u64,
    /// The longest idle gaps, longest first.
    pub gaps: Vec<IdleGap>,
    /// Idle gaps in all.
    pub gap_count: u64,
    /// By process, context and stream.
    pub streams: Vec<StreamReport>,
    /// Idle time whose cause is not decided yet, ns: the open gap's, at most some 0.2 s. 0 once the
    /// session is finished.
    pub idle_undecided: u64,
    /// Idle time by cause, ns; with `idle_undecided` it sums to `exclusive.idle`.
    pub idle_cause: BTreeMap<IdleCause, u64>,
    /// Union per class and kind, ns.
    pub kinds: BTreeMap<(Class, Kind), u64>,
    /// Unobserved time by reason, ns; sums to `exclusive.unobserved`.
    pub unobserved: BTreeMap<UnobservedReason, u64>,
    pub records: RecordCounts,
    /// Every kernel, longest total first.
    pub totals: Vec<KernelTotal>,
}

/// Why nothing ran, instant by instant; the rules are in [`crate::idle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdleCause {
    /// The server had nothing to do.
    NoRequests,
    /// The next launch came late.
    HostBound,
    /// The launching thread waited for the device that had run dry.
    Sync,
    /// Work was queued and waited for another stream or a peer.
    Dependency,
    /// Work was queued and on its way.
    LaunchLatency,
    Unknown,
}

impl IdleCause {
    pub const ALL: [Self; 6] = [
        Self::NoRequests,
        Self::HostBound,
        Self::Sync,
        Self::Dependency,
        Self::LaunchLatency,
        Self::Unknown,
    ];

    /// The spelling in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRequests => "no_requests",
            Self::HostBound => "host_bound",
            Self::Sync => "sync",
            Self::Dependency => "dependency",
            Self::LaunchLatency => "launch_latency",
            Self::Unknown => "unknown",
        }
    }
}

/// A stretch in which nothing ran on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleGap {
    pub start: Ns,
    pub end: Ns,
    /// Why, in order of time: each part ends where the next begins, the last at `end`.
    pub parts: Vec<IdlePart>,
    /// What ran last before it.
    pub before: Option<NameId>,
    /// What ended it.
    pub after: Option<NameId>,
    /// The launch that was waited for.
    pub launch: Option<GapLaunch>,
    /// Time in a synchronisation call of the launching thread that was open when the gap began.
    pub sync: Option<Window>,
    /// The stack of that launch, where it was sampled.
    pub stack: Option<StackId>,
    /// Where the launching thread spent most of the host-bound parts, most first. What is missing from
    /// their sum was not sampled, or spent in stacks that are not among these.
    pub host: Vec<GapHost>,
}

/// Host-bound time of one gap in one stack of the launching thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapHost {
    pub stack: StackId,
    /// CPU samples in it.
    pub samples: u64,
    /// Time it slept there, ns.
    pub asleep: u64,
    /// That and the samples' share of the time in which it ran, ns.
    pub total: u64,
}

/// What a thread did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostState {
    /// It was on the CPU, or slept for less than is told.
    Running,
    Asleep,
}

impl HostState {
    /// The spelling in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Asleep => "asleep",
        }
    }
}

/// Host-bound time of one device in one stack of a launching thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostStack {
    /// Position in `Report::devices`.
    pub device: usize,
    pub process: ProcessKey,
    pub state: HostState,
    /// `None`: nobody told where.
    pub stack: Option<StackId>,
    /// Samples that the time was shared out by; 0 of sleeps, whose time is exact.
    pub samples: u64,
    pub total: u64,
}

/// One cause within a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePart {
    pub end: Ns,
    pub cause: IdleCause,
}

/// The launch whose work ended a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapLaunch {
    pub process: ProcessKey,
    /// As [`crate::event::Launch::thread`].
    pub thread: u32,
    pub enter: Ns,
    /// It launched a graph.
    pub graph: bool,
}

/// Idle time of one cause under one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleStack {
    /// Position in `Report::devices`.
    pub device: usize,
    pub cause: IdleCause,
    /// Process of the launch that ended it; `None` where no launch is known.
    pub process: Option<ProcessKey>,
    pub stack: Option<StackId>,
    pub total: u64,
}

/// One stream of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamReport {
    pub process: ProcessKey,
    pub context: u32,
    pub stream: u32,
    pub kernels: u64,
    pub copies: u64,
    /// Union of its work, clipped to the window, ns.
    pub busy: u64,
}

/// GPU time launched inside ranges of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeTime {
    /// Position in `Report::devices`.
    pub device: usize,
    pub kind: RangeKind,
    /// Name of the innermost range of this kind at the launch; `None`: there was none.
    pub name: Option<String>,
    /// Input shapes, where the trace has them.
    pub shapes: Option<String>,
    pub class: Class,
    pub kernels: u64,
    /// Summed durations, clipped to the window, ns.
    pub total: u64,
}

/// What an engine step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepPhase {
    Prefill,
    Decode,
    /// Prompts and single tokens in one batch.
    Mixed,
    /// Steps whose phase nothing tells.
    Unknown,
}

impl StepPhase {
    pub const ALL: [Self; 4] = [Self::Prefill, Self::Decode, Self::Mixed, Self::Unknown];

    /// The spelling in reports and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }
}

/// Steps of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    pub process: ProcessKey,
    /// Position in `Report::devices`.
    pub device: usize,
    pub phases: BTreeMap<StepPhase, StepStats>,
    /// Time between steps in which the device ran nothing of the process, ns.
    pub idle: u64,
}

/// Steps of one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepStats {
    /// Steps of the phase.
    pub count: u64,
    /// Sum of their durations, ns.
    pub total: u64,
    /// Durations, by the bounds of [`crate::report::Histogram::DURATION_NS`].
    pub durations: Histogram,
    /// Sequences (tokens of a decode step), where something tells; bounds
    /// [`crate::report::Histogram::BATCH`].
    pub batch: Histogram,
}

/// Counts by upper bound, the last one without bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// One more than there are bounds; empty while nothing was counted.
    pub counts: Vec<u64>,
    pub sum: u64,
}

impl Histogram {
    /// Step durations, ns: 0.5 ms to 10 s, from a decode step of a small model to a huge prompt.
    pub const DURATION_NS: &'static [u64] = &[
        500_000,
        1_000_000,
        2_000_000,
        5_000_000,
        10_000_000,
        15_000_000,
        20_000_000,
        30_000_000,
        50_000_000,
        75_000_000,
        100_000_000,
        200_000_000,
        500_000_000,
        1_000_000_000,
        2_000_000_000,
        5_000_000_000,
        10_000_000_000,
    ];

    /// Batch sizes: vLLM's capture sizes are multiples of 8 up to 512 or 1024.
    pub const BATCH: &'static [u64] =
        &[1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];

    /// Counts `value` under the first bound that is not below it.
    pub fn add(&mut self, bounds: &[u64], value: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; bounds.len() + 1];
        }
        let place = bounds.partition_point(|&bound| bound < value);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(value);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
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
    /// Where the graph's node was captured.
    pub capture: CaptureSite,
    /// `None`: no launch of it was sampled.
    pub stack: Option<StackId>,
    pub total: u64,
}

/// What is known of where a kernel of a graph comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaptureSite {
    /// Not from a graph.
    #[default]
    None,
    /// Captured (or added by hand) under this stack.
    Stack(StackId),
    /// The node was made before the shim was there.
    BeforeShim,
    /// The node is known; nobody took its stack: no agent was there, or stacks were off.
    NotTaken,
    /// The graph table was full.
    TableFull,
    /// The executable graph was updated from another graph; which node became which is not told.
    Updated,
}
