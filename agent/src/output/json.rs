//! `report.json` and `analyze --json`: schema `warplens.report/v1`. All times are integer ns.
//!
//! The shapes live here, not in `analysis`: the report's layout in memory may change, this may
//! only grow.

use std::collections::BTreeMap;

use analysis::classify::{Class, Kind};
use analysis::report::{
    DeviceReport, Exclusive, IdleCause, Inclusive, KernelTotal, Report, WorkerReport,
};
use serde::Serialize;

use super::words;
use crate::capture::Capture;

pub const SCHEMA: &str = "warplens.report/v1";

/// Kernels in `top_kernels`; `kernel_totals` has all of them.
const TOP_KERNELS: usize = 20;

/// The document, pretty-printed, with a line feed at its end.
pub fn render(capture: &Capture) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(&Document::of(capture))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[derive(Serialize)]
struct Document<'c> {
    schema: &'static str,
    simulated: bool,
    version: &'static str,
    command: &'c str,
    source: &'c str,
    started_unix: Option<u64>,
    devices: Vec<Device<'c>>,
    workers: Vec<Worker<'c>>,
    defects: Vec<Sentence>,
    notes: &'c [String],
}

#[derive(Serialize)]
struct Sentence {
    message: String,
}

#[derive(Serialize)]
struct Device<'c> {
    #[serde(rename = "device")]
    index: u32,
    uuid: Option<&'c str>,
    simulated: bool,
    window: WindowBody,
    window_ns: u64,
    kernels: u64,
    copies: u64,
    exclusive_ns: ExclusiveBody,
    inclusive_ns: InclusiveBody,
    compute_communication_overlap_ns: u64,
    idle_cause_ns: BTreeMap<&'static str, u64>,
    unobserved_reason_ns: BTreeMap<&'static str, u64>,
    kinds_ns: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    records: Records,
    top_kernels: Vec<Kernel<'c>>,
    kernel_totals: Vec<Kernel<'c>>,
}

#[derive(Serialize)]
struct WindowBody {
    start_ns: u64,
    end_ns: u64,
}

#[derive(Serialize)]
struct ExclusiveBody {
    attention: u64,
    gemm: u64,
    communication: u64,
    other: u64,
    idle: u64,
    unobserved: u64,
}

#[derive(Serialize)]
struct InclusiveBody {
    attention: u64,
    gemm: u64,
    communication: u64,
    other: u64,
}

#[derive(Serialize)]
struct Records {
    classified: u64,
    unclassified: u64,
    invalid: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Kernel<'c> {
    name: &'c str,
    class: &'static str,
    kind: &'static str,
    count: u64,
    total_ns: u64,
}

#[derive(Serialize)]
struct Worker<'c> {
    pid: u32,
    title: &'c str,
    role: &'c str,
    rank: &'c str,
    device: Option<u32>,
    uuid: Option<&'c str>,
    kernels: u64,
    exclusive_ns: ExclusiveBody,
    launches: u64,
    launches_failed: u64,
    stacks_sampled: u64,
}

impl<'c> Document<'c> {
    fn of(capture: &'c Capture) -> Self {
        let Capture { info, report, stacks: _, cpu: _, processes: _ } = capture;
        Self {
            schema: SCHEMA,
            simulated: capture.simulated(),
            version: env!("CARGO_PKG_VERSION"),
            command: &info.command,
            source: &info.source,
            started_unix: info.started_unix,
            devices: report.devices.iter().map(|device| Device::of(report, device)).collect(),
            workers: report.workers.iter().map(|worker| Worker::of(report, worker)).collect(),
            defects: report
                .defects
                .iter()
                .map(|defect| Sentence { message: defect.to_string() })
                .collect(),
            notes: &info.notes,
        }
    }
}

impl<'c> Device<'c> {
    fn of(report: &'c Report, device: &'c DeviceReport) -> Self {
        let kernel_totals: Vec<Kernel<'c>> =
            device.totals.iter().map(|total| Kernel::of(report, total)).collect();
        let top_kernels =
            device.totals.iter().take(TOP_KERNELS).map(|total| Kernel::of(report, total)).collect();
        Self {
            index: device.info.index,
            uuid: device.info.uuid.as_deref(),
            simulated: device.info.simulated,
            window: WindowBody { start_ns: device.window.start.0, end_ns: device.window.end.0 },
            window_ns: words::window_ns(device),
            kernels: device.kernels,
            copies: device.copies,
            exclusive_ns: device.exclusive.into(),
            inclusive_ns: device.inclusive.into(),
            compute_communication_overlap_ns: device.compute_communication_overlap,
            idle_cause_ns: words::IDLE_CAUSES
                .iter()
                .map(|&cause| (words::idle_cause(cause), idle(device, cause)))
                .collect(),
            unobserved_reason_ns: device
                .unobserved
                .iter()
                .map(|(&reason, &ns)| (words::unobserved_reason(reason), ns))
                .collect(),
            kinds_ns: kinds(&device.kinds),
            records: Records {
                classified: device.records.classified,
                unclassified: device.records.unclassified,
                invalid: device.records.invalid,
                lost: device.records.lost,
            },
            top_kernels,
            kernel_totals,
        }
    }
}

impl<'c> Kernel<'c> {
    fn of(report: &'c Report, total: &KernelTotal) -> Self {
        Self {
            name: words::kernel_name(report, total.name),
            class: total.class.as_str(),
            kind: total.kind.as_str(),
            count: total.count,
            total_ns: total.total,
        }
    }
}

impl<'c> Worker<'c> {
    fn of(report: &'c Report, worker: &'c WorkerReport) -> Self {
        let device = report.devices.get(worker.device);
        Self {
            pid: worker.info.pid,
            title: &worker.info.title,
            role: &worker.info.role,
            rank: &worker.info.rank,
            device: device.map(|device| device.info.index),
            uuid: device.and_then(|device| device.info.uuid.as_deref()),
            kernels: worker.kernels,
            exclusive_ns: worker.exclusive.into(),
            launches: worker.launches,
            launches_failed: worker.launches_failed,
            stacks_sampled: worker.stacks_sampled,
        }
    }
}

impl From<Exclusive> for ExclusiveBody {
    fn from(time: Exclusive) -> Self {
        let Exclusive { attention, gemm, communication, other, idle, unobserved } = time;
        Self { attention, gemm, communication, other, idle, unobserved }
    }
}

impl From<Inclusive> for InclusiveBody {
    fn from(time: Inclusive) -> Self {
        let Inclusive { attention, gemm, communication, other } = time;
        Self { attention, gemm, communication, other }
    }
}

fn idle(device: &DeviceReport, cause: IdleCause) -> u64 {
    device.idle_cause.get(&cause).copied().unwrap_or(0)
}

fn kinds(
    times: &BTreeMap<(Class, Kind), u64>,
) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
    let mut by_class: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (&(class, kind), &ns) in times {
        by_class.entry(class.as_str()).or_default().insert(kind.as_str(), ns);
    }
    by_class
}
