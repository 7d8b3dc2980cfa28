//! What is known to hurt on some versions and machines: a table of rows with their sources.
//!
//! A row bounds the level or turns a feature off. It applies where every condition it names is known
//! to hold: an unknown version is no quirk, because a table that caps whatever is too new or too odd
//! for it would be a second, hidden configuration. What is not in the table is left to the crash
//! breaker and the budget keeper, which measure.

mod table;
mod version;

pub use table::TABLE;
pub use version::Version;

use crate::decode::Level;
use crate::level::bound::{Bound, Reason};

/// Something that can be off without a level less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// `cuptiFinalize`, with which a process gives CUPTI back whole.
    Finalize,
    /// Answering CUPTI's request for a buffer with none.
    RefusedBuffers,
    /// Timestamps made by hardware (`cuptiActivityEnableHWTrace`).
    HardwareTrace,
    /// One record for each graph replay (`GRAPH_TRACE`).
    GraphTrace,
    /// Latency timestamps of kernels.
    LatencyTimestamps,
    /// Subscribing beside another tool.
    SharedSubscription,
    /// Joining graph launches and their work by correlation id after the first arming of a process.
    RearmedCorrelation,
    /// Calling CUPTI in a process without `libcuda`.
    CallsWithoutDriver,
    /// Callbacks on graphs and their nodes.
    GraphCallbacks,
    /// Stand-ins for CUPTI's functions, by which another profiler is noticed.
    Neighbours,
    /// Telling CUPTI that buffers come zeroed.
    ZeroedBuffers,
}

impl Feature {
    /// In configurations, reasons and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finalize => "finalize",
            Self::RefusedBuffers => "refused-buffers",
            Self::HardwareTrace => "hardware-trace",
            Self::GraphTrace => "graph-trace",
            Self::LatencyTimestamps => "latency-timestamps",
            Self::SharedSubscription => "shared-subscription",
            Self::RearmedCorrelation => "rearming",
            Self::CallsWithoutDriver => "calls-without-driver",
            Self::GraphCallbacks => "graph-callbacks",
            Self::Neighbours => "neighbours",
            Self::ZeroedBuffers => "zeroed-buffers",
        }
    }
}

/// Instruction set of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    X86,
    Arm,
}

/// A way a device is set up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Multi-instance GPU: the device is a slice.
    Mig,
    /// The multi-process service shares it.
    Mps,
    Vgpu,
    ConfidentialComputing,
    /// The Linux is a guest of Windows.
    Wsl,
}

/// What is known of a worker's machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Of the kernel module: `/proc/driver/nvidia/version`.
    pub driver: Option<Version>,
    /// `cuptiGetVersion`'s answer: 28 for CUDA 12.9, 130001 for 13.0 Update 1.
    pub cupti: Option<u32>,
    /// Names of the devices the worker uses.
    pub gpus: Vec<String>,
    pub processor: Option<Processor>,
    /// What is known to be on.
    pub settings: Vec<Setting>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Quirk {
    /// In reasons and metrics.
    pub name: &'static str,
    /// All of these hold.
    pub when: &'static [When],
    pub effect: Effect,
    /// The public report or document that says so.
    pub source: &'static str,
}

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Older than this.
    DriverBelow(Version),
    /// `cuptiGetVersion` between these, both included.
    Cupti(u32, u32),
    /// A device's name contains this, in any case.
    Gpu(&'static str),
    Processor(Processor),
    /// One of these is on.
    Any(&'static [Setting]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// At most this level.
    Cap(Level),
    Off(Feature),
}

impl Quirk {
    pub fn applies(&self, machine: &Machine) -> bool {
        self.when.iter().all(|when| when.holds(machine))
    }
}

impl When {
    fn holds(self, machine: &Machine) -> bool {
        match self {
            Self::DriverBelow(version) => machine.driver.is_some_and(|driver| driver < version),
            Self::Cupti(first, last) => {
                machine.cupti.is_some_and(|cupti| (first..=last).contains(&cupti))
            }
            Self::Gpu(part) => machine.gpus.iter().any(|name| contains(name, part)),
            Self::Processor(processor) => machine.processor == Some(processor),
            Self::Any(settings) => settings.iter().any(|on| machine.settings.contains(on)),
        }
    }
}

fn contains(name: &str, part: &str) -> bool {
    name.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// The lowest cap of the rows that apply.
pub fn bound(machine: &Machine) -> Option<Bound> {
    TABLE
        .iter()
        .filter(|quirk| quirk.applies(machine))
        .filter_map(|quirk| match quirk.effect {
            Effect::Cap(level) => Some(Bound { level, reason: Reason::Quirk(quirk.name) }),
            Effect::Off(_) => None,
        })
        .reduce(Bound::lower)
}

/// What is off, each with the first row that says so.
pub fn features_off(machine: &Machine) -> Vec<(Feature, &'static Quirk)> {
    let mut off: Vec<(Feature, &'static Quirk)> = Vec::new();
    for quirk in TABLE.iter().filter(|quirk| quirk.applies(machine)) {
        if let Effect::Off(feature) = quirk.effect
            && off.iter().all(|(known, _)| *known != feature)
        {
            off.push((feature, quirk));
        }
    }
    off
}

#[cfg(test)]
mod tests;
