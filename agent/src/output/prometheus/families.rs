//! Which metrics there are and where their values come from. `docs/metrics.md` explains each.

use std::collections::BTreeMap;

use analysis::event::Service;
use analysis::report::DeviceReport;

use super::{
    Dropped, Family, FamilyKind, Health, Labels, Value, WINDOWS, WindowShares, attach, collected,
    counters, estimates, flight, host, levels, memory, steps,
};
use crate::capture::Capture;
use crate::output::words;

pub(super) fn of(capture: &Capture, health: &Health) -> Vec<Family> {
    let mut families = gpu(capture, health);
    families.extend(steps::of(capture));
    families.extend(host::of(capture));
    families.extend(counters::of(capture));
    families.extend(memory::of(capture));
    families.extend(agent(capture, health));
    families.extend(estimates::of(capture, &health.estimates));
    families.extend(levels::of(health.governed.as_ref()));
    families.extend(flight::of(health.flight));
    families.push(attach::of(health.entered.as_ref()));
    families.push(levels::faults(&health.faults));
    families.extend(collected::of(health));
    families
}

/// Where each GPU's time went.
fn gpu(capture: &Capture, health: &Health) -> Vec<Family> {
    let report = &capture.report;
    let devices = || report.devices.iter();
    vec![
        Family {
            name: "warplens_gpu_seconds",
            help: "Time of each GPU by class, idle and unobserved included: the classes sum to wall time.",
            kind: FamilyKind::Counter,
            series: devices()
                .flat_map(|device| {
                    words::parts(&device.exclusive)
                        .map(|(class, ns)| (gpu_labels(device, [("class", class)]), seconds(ns)))
                })
                .collect(),
        },
        Family {
            name: "warplens_gpu_time_ratio",
            help: "Share of each class in the last 10 s that are final.",
            kind: FamilyKind::Gauge,
            series: ratios(capture, health, |window| (window == WINDOWS[0].0).then(Vec::new)),
        },
        Family {
            name: "warplens_gpu_time_window_ratio",
            help: "Share of each class in the last 10 s, 1 min and 5 min that are final.",
            kind: FamilyKind::Gauge,
            series: ratios(capture, health, |window| Some(vec![("window", window.to_owned())])),
        },
        Family {
            name: "warplens_gpu_idle_seconds",
            help: "Idle time of each GPU by cause.",
            kind: FamilyKind::Counter,
            series: devices()
                .flat_map(|device| {
                    analysis::report::IdleCause::ALL.map(|cause| {
                        let ns = device.idle_cause.get(&cause).copied().unwrap_or(0);
                        (gpu_labels(device, [("cause", words::idle_cause(cause))]), seconds(ns))
                    })
                })
                .collect(),
        },
        Family {
            name: "warplens_gpu_kernel_inclusive_seconds",
            help: "Time in which at least one kernel, copy or set of the kind ran; kinds overlap.",
            kind: FamilyKind::Counter,
            series: devices()
                .flat_map(|device| {
                    device.kinds.iter().map(|(&(class, kind), &ns)| {
                        let labels = [("class", class.as_str()), ("kind", kind.as_str())];
                        (gpu_labels(device, labels), seconds(ns))
                    })
                })
                .collect(),
        },
        per_device(
            capture,
            "warplens_gpu_idle_gaps",
            "Stretches in which nothing ran.",
            |device| number(device.gap_count),
        ),
        per_device(
            capture,
            "warplens_gpu_compute_communication_overlap_seconds",
            "Time in which some compute class and communication ran at once.",
            |device| seconds(device.compute_communication_overlap),
        ),
        per_device(
            capture,
            "warplens_gpu_copy_inclusive_seconds",
            "Time in which at least one copy or set ran.",
            |device| seconds(device.copies_inclusive),
        ),
        per_device(
            capture,
            "warplens_gpu_copy_exclusive_seconds",
            "Time in which copies and sets ran and nothing else; part of class other.",
            |device| seconds(device.copies_exclusive),
        ),
        per_device(
            capture,
            "warplens_gpu_unclassified_seconds",
            "Summed time of kernels no rule knows; part of class other.",
            |device| seconds(device.records.unclassified_ns),
        ),
    ]
}

/// Workers, records, and the agent itself.
fn agent(capture: &Capture, health: &Health) -> Vec<Family> {
    vec![
        worker_seconds(capture),
        records(capture),
        Family {
            name: "warplens_dropped",
            help: "What found its place full and was dropped, by place.",
            kind: FamilyKind::Counter,
            series: health
                .dropped
                .iter()
                .filter(|(place, _)| *place != Dropped::BpfRing)
                .map(|&(place, count)| {
                    (vec![("place", place_name(place).to_owned())], number(count))
                })
                .collect(),
        },
        Family {
            name: "warplens_bpf_dropped",
            help: "Stack events that found the kernel's ring buffer full.",
            kind: FamilyKind::Counter,
            series: health
                .dropped
                .iter()
                .filter(|(place, _)| *place == Dropped::BpfRing)
                .map(|&(_, count)| (Vec::new(), number(count)))
                .collect(),
        },
        Family {
            name: "warplens_rearms",
            help: "Workers switched off and on again because their records came without timestamps.",
            kind: FamilyKind::Counter,
            series: vec![(Vec::new(), number(health.rearms))],
        },
        Family {
            name: "warplens_guard_fallbacks",
            help: "Workers left unobserved for ten minutes because switching off and on did not help.",
            kind: FamilyKind::Counter,
            series: vec![(Vec::new(), number(health.guard_fallbacks))],
        },
        Family {
            name: "warplens_yields",
            help: "How often a worker's CUPTI was left to another profiler that asked for it.",
            kind: FamilyKind::Counter,
            series: vec![(Vec::new(), number(health.yields))],
        },
        Family {
            name: "warplens_collector_success",
            help: "Whether the last turn of a source of data succeeded.",
            kind: FamilyKind::Gauge,
            series: health
                .collectors
                .iter()
                .map(|&(collector, succeeded)| {
                    (
                        vec![("collector", collector.to_owned())],
                        Value::Number(f64::from(u8::from(succeeded))),
                    )
                })
                .collect(),
        },
        Family {
            name: "warplens_worker",
            help: "Workers seen, for joins.",
            kind: FamilyKind::Info,
            series: workers(capture),
        },
        Family {
            name: "warplens_build",
            help: "Version of the agent.",
            kind: FamilyKind::Info,
            series: vec![(
                vec![
                    ("version", env!("CARGO_PKG_VERSION").to_owned()),
                    ("wire_version", wire::WIRE_VERSION.to_string()),
                ],
                Value::Number(1.0),
            )],
        },
    ]
}

/// A counter with one series a device.
fn per_device(
    capture: &Capture,
    name: &'static str,
    help: &'static str,
    value: impl Fn(&DeviceReport) -> Value,
) -> Family {
    let devices = capture.report.devices.iter();
    let series = devices.map(|device| (gpu_labels(device, []), value(device))).collect();
    Family { name, help, kind: FamilyKind::Counter, series }
}

/// Shares of the windows for which `more` has labels.
fn ratios(
    capture: &Capture,
    health: &Health,
    more: impl Fn(&'static str) -> Option<Labels>,
) -> Vec<(Labels, Value)> {
    let mut series = Vec::new();
    for WindowShares { device: index, window, shares } in &health.windows {
        let device = capture.report.devices.iter().find(|device| device.info.index == *index);
        let (Some(device), Some(more)) = (device, more(window)) else {
            continue;
        };
        for ((class, _), &share) in words::parts(&device.exclusive).into_iter().zip(shares) {
            let mut labels = gpu_labels(device, [("class", class)]);
            labels.extend(more.iter().cloned());
            series.push((labels, Value::Number(share)));
        }
    }
    series
}

fn worker_seconds(capture: &Capture) -> Family {
    // Two processes of one role and rank on one GPU are one series.
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    for worker in &capture.report.workers {
        for (class, ns) in words::parts(&worker.exclusive) {
            let labels = vec![
                ("UUID", uuid(capture.report.devices.get(worker.device))),
                ("role", worker.info.role.clone()),
                ("rank", worker.info.rank.clone()),
                ("class", class.to_owned()),
            ];
            let sum = sums.entry(labels).or_default();
            *sum = sum.saturating_add(ns);
        }
    }
    Family {
        name: "warplens_worker_gpu_seconds",
        help: "Time of each worker's own records on its GPU by class.",
        kind: FamilyKind::Counter,
        series: sums.into_iter().map(|(labels, ns)| (labels, seconds(ns))).collect(),
    }
}

fn records(capture: &Capture) -> Family {
    let mut sums = [("classified", 0u64), ("unclassified", 0), ("invalid", 0), ("lost", 0)];
    for device in &capture.report.devices {
        let records = &device.records;
        let counts = [records.classified, records.unclassified, records.invalid, records.lost];
        for ((_, sum), count) in sums.iter_mut().zip(counts) {
            *sum = sum.saturating_add(count);
        }
    }
    Family {
        name: "warplens_records",
        help: "Work records by what became of them; the outcomes are disjoint.",
        kind: FamilyKind::Counter,
        series: sums
            .into_iter()
            .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], number(count)))
            .collect(),
    }
}

fn workers(capture: &Capture) -> Vec<(Labels, Value)> {
    let mut series: Vec<Labels> = capture
        .report
        .workers
        .iter()
        .map(|worker| {
            let Service { model, engine, container, pod, namespace } = worker.info.service.clone();
            vec![
                ("UUID", uuid(capture.report.devices.get(worker.device))),
                ("namespace", namespace),
                ("pod", pod),
                ("container", container),
                ("model_name", model),
                ("engine", engine),
                ("role", worker.info.role.clone()),
                ("rank", worker.info.rank.clone()),
            ]
        })
        .collect();
    series.sort();
    series.dedup();
    series.into_iter().map(|labels| (labels, Value::Number(1.0))).collect()
}

pub(super) fn gpu_labels<const N: usize>(
    device: &DeviceReport,
    more: [(&'static str, &str); N],
) -> Labels {
    let mut labels = vec![("gpu", device.info.index.to_string()), ("UUID", uuid(Some(device)))];
    labels.extend(more.map(|(key, value)| (key, value.to_owned())));
    labels
}

fn uuid(device: Option<&DeviceReport>) -> String {
    device.and_then(|device| device.info.uuid.clone()).unwrap_or_default()
}

fn place_name(place: Dropped) -> &'static str {
    match place {
        Dropped::BpfRing => "bpf_ring",
        Dropped::ShimRing => "shim_ring",
        Dropped::Cupti => "cupti",
        Dropped::Names => "names",
        Dropped::Graphs => "graphs",
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ns, 104 days; then to the us")]
pub(super) fn seconds(ns: u64) -> Value {
    Value::Number(ns as f64 / 1e9)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn number(count: u64) -> Value {
    Value::Number(count as f64)
}
