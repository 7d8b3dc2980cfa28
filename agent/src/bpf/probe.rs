//! What the kernel programs are used for, one by one, and which of it an operator switched off.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A group of kernel programs that are had or not had together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Stacks of launches and captures: a uprobe at the shim's probe point.
    LaunchStacks,
    /// Stacks of what runs, by the processor's clock.
    CpuSamples,
    /// Python's frames in all of these.
    Python,
    /// Starts and ends of processes: tracepoints of the scheduler.
    Processes,
    /// Who sleeps: the tracepoint `sched_switch`.
    ThreadStates,
    /// Who touches new pages: the kernel's count of page faults.
    PageTouches,
    /// `--verify`: uprobes on the driver's library.
    LaunchCount,
}

impl Probe {
    pub const ALL: [Self; 7] = [
        Self::LaunchStacks,
        Self::CpuSamples,
        Self::Python,
        Self::Processes,
        Self::ThreadStates,
        Self::PageTouches,
        Self::LaunchCount,
    ];

    /// In configurations and arguments.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LaunchStacks => "launch-stacks",
            Self::CpuSamples => "cpu-samples",
            Self::Python => "python",
            Self::Processes => "processes",
            Self::ThreadStates => "thread-states",
            Self::PageTouches => "page-touches",
            Self::LaunchCount => "launch-count",
        }
    }

    /// What it is for.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::LaunchStacks => "stacks of launches",
            Self::CpuSamples => "CPU samples",
            Self::Python => "Python stacks",
            Self::Processes => "process starts and ends",
            Self::ThreadStates => "thread states",
            Self::PageTouches => "first touches of pages",
            Self::LaunchCount => "independent launch count",
        }
    }
}

/// Probes that are not to be used, each with who says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Off(BTreeMap<Probe, String>);

impl Off {
    /// The first reason is kept.
    pub fn add(&mut self, probe: Probe, reason: impl Into<String>) {
        self.0.entry(probe).or_insert_with(|| reason.into());
    }

    pub fn reason(&self, probe: Probe) -> Option<&str> {
        self.0.get(&probe).map(String::as_str)
    }

    /// Nothing is left to be loaded.
    pub fn is_everything(&self) -> bool {
        self.0.len() == Probe::ALL.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Probe, &str)> {
        self.0.iter().map(|(&probe, reason)| (probe, reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn arguments_and_configurations_have_the_same_names() {
        for probe in Probe::ALL {
            let argument = probe.to_possible_value().unwrap();
            assert_eq!(argument.get_name(), probe.as_str());
            let text = format!("\"{}\"", probe.as_str());
            assert_eq!(serde_json::from_str::<Probe>(&text).unwrap(), probe);
        }
    }

    #[test]
    fn the_first_reason_is_kept() {
        let mut off = Off::default();
        off.add(Probe::Python, "one");
        off.add(Probe::Python, "two");
        assert_eq!(off.reason(Probe::Python), Some("one"));
        assert!(!off.is_everything());
        for probe in Probe::ALL {
            off.add(probe, "all");
        }
        assert!(off.is_everything());
    }
}
