//! Time of the host's processes by role and rank: on the CPU, off it by reason, and with Python's lock.

use std::collections::BTreeMap;

use analysis::wait::WaitReason;

use super::families::{number, seconds};
use super::{Family, FamilyKind, Labels, Value};
use crate::capture::Capture;
use crate::output::host::{self, HostProcess};

pub(super) fn of(capture: &Capture) -> Vec<Family> {
    let processes = host::processes(capture);
    // What nobody looked at reads no zero.
    let sampled: &[HostProcess<'_>] = if capture.info.cpu_hz > 0 { &processes } else { &[] };
    let slept: &[HostProcess<'_>] = if capture.waits.is_empty() { &[] } else { &processes };
    let locked: &[HostProcess<'_>] = if capture.gil.is_empty() { &[] } else { &processes };
    vec![
        Family {
            name: "warplens_host_cpu_seconds",
            help: "Time of processes on the CPU, estimated from samples.",
            kind: FamilyKind::Counter,
            series: sum(sampled, seconds, |process| vec![(Vec::new(), process.cpu_ns)]),
        },
        Family {
            name: "warplens_host_offcpu_seconds",
            help: "Time threads slept, summed over threads, by what they waited for.",
            kind: FamilyKind::Counter,
            series: sum(slept, seconds, |process| {
                let reason = |reason: WaitReason| {
                    let ns = process.by_reason.get(&reason).copied().unwrap_or(0);
                    (vec![("reason", reason.as_str().to_owned())], ns)
                };
                WaitReason::ALL.map(reason).to_vec()
            }),
        },
        Family {
            name: "warplens_gil_held_seconds",
            help: "Time threads held Python's global interpreter lock: samples, and sleeps meanwhile.",
            kind: FamilyKind::Counter,
            series: sum(locked, seconds, |process| vec![(Vec::new(), process.gil.held_ns)]),
        },
        Family {
            name: "warplens_gil_wait_seconds",
            help: "Time threads slept until they got Python's global interpreter lock.",
            kind: FamilyKind::Counter,
            series: sum(locked, seconds, |process| vec![(Vec::new(), process.gil.waited_ns)]),
        },
        Family {
            name: "warplens_host_stacks",
            help: "CPU samples by whether their stack reaches the thread's first function.",
            kind: FamilyKind::Counter,
            series: sum(sampled, number, |process| {
                let outcome = |outcome: &str| vec![("outcome", outcome.to_owned())];
                let cut = process.samples.saturating_sub(process.rooted);
                vec![(outcome("whole"), process.rooted), (outcome("cut"), cut)]
            }),
        },
    ]
}

/// Two processes of one role and rank are one series.
fn sum(
    processes: &[HostProcess<'_>],
    value: fn(u64) -> Value,
    of: impl Fn(&HostProcess<'_>) -> Vec<(Labels, u64)>,
) -> Vec<(Labels, Value)> {
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    for process in processes {
        let Some(info) = process.info else {
            continue;
        };
        for (more, amount) in of(process) {
            let mut labels = vec![("role", info.role.clone()), ("rank", info.rank.clone())];
            labels.extend(more);
            let sum = sums.entry(labels).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
    sums.into_iter().map(|(labels, sum)| (labels, value(sum))).collect()
}
