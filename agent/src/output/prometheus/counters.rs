//! Counters of the host's processes, by role and rank.

use std::collections::BTreeMap;

use super::families::{number, seconds};
use super::{Family, FamilyKind, Labels, Value};
use crate::capture::Capture;
use crate::perf::Counter;

/// One family a counter; without series where no process has it.
pub(super) fn of(capture: &Capture) -> Vec<Family> {
    Counter::ALL
        .into_iter()
        .map(|counter| {
            let (name, help) = words(counter);
            let value = if counter == Counter::TaskClock { seconds } else { number };
            let series = series(capture, counter, value);
            Family { name, help, kind: FamilyKind::Counter, series }
        })
        .collect()
}

const fn words(counter: Counter) -> (&'static str, &'static str) {
    match counter {
        Counter::Cycles => ("warplens_host_cycles", "Processor cycles of processes."),
        Counter::Instructions => ("warplens_host_instructions", "Instructions of processes."),
        Counter::ContextSwitches => {
            ("warplens_host_context_switches", "Context switches of processes' threads.")
        }
        Counter::PageFaults => ("warplens_host_page_faults", "Page faults of processes."),
        Counter::Migrations => {
            ("warplens_host_migrations", "Moves of processes' threads to another CPU.")
        }
        Counter::TaskClock => {
            ("warplens_host_task_seconds", "Time of processes on the CPU, counted by the kernel.")
        }
    }
}

fn series(capture: &Capture, wanted: Counter, value: fn(u64) -> Value) -> Vec<(Labels, Value)> {
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    for counted in &capture.counters {
        let Some(info) = capture.processes.get(&counted.process) else {
            continue;
        };
        for (_, count) in counted.reading.counts.iter().filter(|(counter, _)| *counter == wanted) {
            let labels = vec![("role", info.role.clone()), ("rank", info.rank.clone())];
            let sum = sums.entry(labels).or_default();
            *sum = sum.saturating_add(count.value);
        }
    }
    sums.into_iter().map(|(labels, sum)| (labels, value(sum))).collect()
}
