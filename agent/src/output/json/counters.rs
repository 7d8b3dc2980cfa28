//! Counters of processes in `report.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capture::{Capture, ProcessCounters};

/// What a process did since it was met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    pub pid: u32,
    pub title: String,
    pub role: String,
    pub rank: String,
    /// By counter. One that the machine does not have is not among them.
    pub counts: BTreeMap<String, u64>,
    /// Those that were counted part of the time and scaled up, because others wanted the processor's
    /// counters, too.
    pub scaled: Vec<String>,
    /// Threads that are not counted.
    pub threads_left_out: u64,
}

pub(super) fn of(capture: &Capture) -> Vec<Counters> {
    capture.counters.iter().map(|counted| one(capture, counted)).collect()
}

fn one(capture: &Capture, counted: &ProcessCounters) -> Counters {
    let info = capture.processes.get(&counted.process).cloned().unwrap_or_default();
    let counts = || counted.reading.counts.iter();
    let name = |counter: crate::perf::Counter| counter.as_str().to_owned();
    Counters {
        pid: info.pid,
        title: info.title,
        role: info.role,
        rank: info.rank,
        counts: counts().map(|&(counter, count)| (name(counter), count.value)).collect(),
        scaled: counts()
            .filter(|(_, count)| count.scaled)
            .map(|&(counter, _)| name(counter))
            .collect(),
        threads_left_out: counted.reading.threads_left_out,
    }
}
