//! Levels of workers, what binds them, and what observing costs.

use std::collections::BTreeMap;

use super::families::{number, seconds};
use super::{Family, FamilyKind, Labels, Value};
use crate::govern::Governed;
use analysis::level::Level;

/// One worker's level, with the labels that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerLevel {
    pub pid: u32,
    pub role: String,
    pub rank: String,
    pub level: Level,
    /// In turns: the share of the time it is armed.
    pub duty: Option<f64>,
    pub reason: &'static str,
}

/// Without series where nothing is governed.
pub(super) fn of(governed: Option<&(Governed, Vec<WorkerLevel>)>) -> Vec<Family> {
    let workers = governed.map(|(_, workers)| workers.as_slice()).unwrap_or_default();
    let one = |value: fn(&Governed) -> Value| -> Vec<(Labels, Value)> {
        governed.iter().map(|(governed, _)| (Vec::new(), value(governed))).collect()
    };
    let counter = |name, help, series| Family { name, help, kind: FamilyKind::Counter, series };
    let gauge = |name, help, series| Family { name, help, kind: FamilyKind::Gauge, series };
    vec![
        gauge(
            "warplens_worker_level",
            "Level of a worker: 0 dormant, 1 watching, 2 counting, 3 stacks.",
            workers.iter().map(|worker| (labels(worker), number(worker.level as u64))).collect(),
        ),
        gauge(
            "warplens_worker_armed_ratio",
            "Share of the time a worker is armed; below 1 its figures are estimates.",
            workers
                .iter()
                .filter(|worker| worker.level >= Level::Counting)
                .map(|worker| (labels(worker), Value::Number(worker.duty.unwrap_or(1.0))))
                .collect(),
        ),
        gauge(
            "warplens_worker_level_reason",
            "What binds a worker's level; always 1.",
            workers
                .iter()
                .map(|worker| {
                    let mut labels = labels(worker);
                    labels.push(("reason", worker.reason.to_owned()));
                    (labels, number(1))
                })
                .collect(),
        ),
        counter(
            "warplens_level_changes",
            "Changes of levels.",
            governed
                .iter()
                .flat_map(|(governed, _)| {
                    [("up", governed.raised), ("down", governed.lowered)].map(
                        |(direction, count)| {
                            (vec![("direction", direction.to_owned())], number(count))
                        },
                    )
                })
                .collect(),
        ),
        counter(
            "warplens_breaker_trips",
            "How often the crash breaker opened.",
            one(|governed| number(governed.trips)),
        ),
        gauge(
            "warplens_breaker_open",
            "1 while the crash breaker holds the node's workers below the level it blamed.",
            one(|governed| number(governed.open.is_some().into())),
        ),
        counter(
            "warplens_cost_seconds",
            "Time spent on observing: in callbacks of workers, by their shims beside them, by the agent.",
            governed
                .iter()
                .flat_map(|(governed, _)| {
                    [
                        ("callbacks", governed.callback_ns),
                        ("shim", governed.shim_ns),
                        ("agent", governed.agent_ns),
                    ]
                    .map(|(place, ns)| (vec![("where", place.to_owned())], seconds(ns)))
                })
                .collect(),
        ),
    ]
}

/// Rows of the table of known faults, and what the operator leaves off.
pub(super) fn faults(faults: &BTreeMap<(&'static str, String), u64>) -> Family {
    Family {
        name: "warplens_quirk_workers",
        help: "Workers that a row of the table of known faults applies to, or an operator's wish, by its effect.",
        kind: FamilyKind::Gauge,
        series: faults
            .iter()
            .map(|((quirk, effect), &count)| {
                let labels = vec![("quirk", (*quirk).to_owned()), ("effect", effect.clone())];
                (labels, number(count))
            })
            .collect(),
    }
}

fn labels(worker: &WorkerLevel) -> Labels {
    vec![
        ("pid", worker.pid.to_string()),
        ("role", worker.role.clone()),
        ("rank", worker.rank.clone()),
    ]
}
