//! Memory of processes that live, by role and rank: what they have, and what grows.

use std::collections::BTreeMap;

use analysis::memory::{Finding, Resident};

use super::families::number;
use super::{Family, FamilyKind, Labels, Value};
use crate::capture::{Capture, ProcessMemory};

pub(super) fn of(capture: &Capture) -> Vec<Family> {
    let gauge = |name, help, series| Family { name, help, kind: FamilyKind::Gauge, series };
    vec![
        gauge(
            "warplens_memory_resident_bytes",
            "Memory of processes that has pages, by kind.",
            sums(capture, resident),
        ),
        gauge(
            "warplens_memory_live_bytes",
            "Memory that calls took and did not give back, where calls are told.",
            sums(capture, live),
        ),
        gauge(
            "warplens_memory_growth_bytes_per_second",
            "What grows and will not stop by itself, by verdict.",
            growth(capture, |found| found.rate.map(|rate| rate.value)),
        ),
        gauge(
            "warplens_memory_growth_confidence",
            "How sure that is, from 0 to 1.",
            growth(capture, |found| Some(found.confidence)),
        ),
        gauge(
            "warplens_memory_limit_seconds",
            "Time until a limit is reached, if it goes on like this.",
            growth(capture, |found| found.until_limit.map(|until| until.seconds)),
        ),
    ]
}

fn labels(capture: &Capture, memory: &ProcessMemory) -> Option<Labels> {
    let info = capture.processes.get(&memory.process).filter(|_| !memory.ended)?;
    Some(vec![("role", info.role.clone()), ("rank", info.rank.clone())])
}

/// What processes of a role and rank have together.
fn sums(
    capture: &Capture,
    of: fn(&ProcessMemory) -> Vec<(&'static str, &'static str, u64)>,
) -> Vec<(Labels, Value)> {
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    for memory in &capture.memory {
        let Some(labels) = labels(capture, memory) else { continue };
        for (label, value, bytes) in of(memory) {
            let mut labels = labels.clone();
            labels.push((label, value.to_owned()));
            let sum = sums.entry(labels).or_default();
            *sum = sum.saturating_add(bytes);
        }
    }
    sums.into_iter().map(|(labels, sum)| (labels, number(sum))).collect()
}

fn resident(memory: &ProcessMemory) -> Vec<(&'static str, &'static str, u64)> {
    let Some(Resident { anonymous, file, shared, .. }) = memory.resident else { return Vec::new() };
    vec![("kind", "anonymous", anonymous), ("kind", "file", file), ("kind", "shared", shared)]
}

fn live(memory: &ProcessMemory) -> Vec<(&'static str, &'static str, u64)> {
    memory.sites.iter().map(|site| ("where", site.place.name(), site.live.bytes)).collect()
}

/// Of the fastest, where several processes of a role and rank, or several pieces of code, grow.
fn growth(capture: &Capture, of: impl Fn(&Finding) -> Option<f64>) -> Vec<(Labels, Value)> {
    let rate = |found: &Finding| found.rate.map_or(0.0, |rate| rate.value);
    let mut fastest: BTreeMap<Labels, &Finding> = BTreeMap::new();
    for memory in &capture.memory {
        let Some(labels) = labels(capture, memory) else { continue };
        for found in memory.findings.iter().filter(|found| found.is_problem()) {
            let mut labels = labels.clone();
            labels.push(("where", found.place.name().to_owned()));
            labels.push(("verdict", found.kind.name().to_owned()));
            let known = fastest.entry(labels).or_insert(found);
            if rate(found) > rate(known) {
                *known = found;
            }
        }
    }
    let told = fastest.into_iter();
    told.filter_map(|(labels, found)| Some((labels, Value::Number(of(found)?)))).collect()
}

#[cfg(test)]
mod tests {
    use analysis::event::ProcessInfo;
    use analysis::ids::ProcessKey;
    use analysis::memory::Place;
    use analysis::memory::finding::Culprit;
    use analysis::memory::live::{Held, Unseen};
    use analysis::memory::verdict::{Interval, Kind};

    use super::*;

    fn leak(rate: f64) -> Finding {
        Finding {
            place: Place::Resident,
            culprit: Culprit::Place,
            kind: Kind::Leak,
            confidence: rate / 10.0,
            rate: Some(Interval { value: rate, low: rate, high: rate }),
            per_thousand_requests: None,
            until_limit: None,
            live_bytes: 7,
            evidence: Vec::new(),
            next_step: "none",
        }
    }

    fn has(process: u32, anonymous: u64, ended: bool, findings: Vec<Finding>) -> ProcessMemory {
        ProcessMemory {
            process: ProcessKey(process),
            findings,
            sites: Vec::new(),
            touched: Vec::new(),
            held: Held::default(),
            resident: Some(Resident { anonymous, ..Resident::default() }),
            unseen: Unseen::default(),
            without_stack: 0,
            ended,
        }
    }

    #[test]
    fn processes_of_a_role_are_told_together_and_ended_ones_not_at_all() {
        let mut capture = Capture::default();
        for process in 1..5 {
            let role = if process == 4 { "api" } else { "worker" }.to_owned();
            let info = ProcessInfo { role, ..ProcessInfo::default() };
            capture.processes.insert(ProcessKey(process), info);
        }
        capture.memory = vec![
            has(1, 10, false, vec![leak(2.0)]),
            has(2, 5, false, vec![leak(3.0)]),
            has(3, 100, true, vec![leak(9.0)]),
            has(4, 1, false, Vec::new()),
        ];
        let families = of(&capture);
        let labels = |role: &str, more: &[(&'static str, &str)]| {
            let mut labels = vec![("role", role.to_owned()), ("rank", String::new())];
            labels.extend(more.iter().map(|(label, value)| (*label, (*value).to_owned())));
            labels
        };
        let anonymous: Vec<_> = families[0]
            .series
            .iter()
            .filter(|(labels, _)| labels.contains(&("kind", "anonymous".to_owned())))
            .cloned()
            .collect();
        assert_eq!(
            anonymous,
            [
                (labels("api", &[("kind", "anonymous")]), Value::Number(1.0)),
                (labels("worker", &[("kind", "anonymous")]), Value::Number(15.0)),
            ]
        );
        let grows = labels("worker", &[("where", "rss"), ("verdict", "leak")]);
        assert_eq!(families[2].series, [(grows.clone(), Value::Number(3.0))]);
        assert_eq!(families[3].series, [(grows, Value::Number(0.3))]);
    }
}
