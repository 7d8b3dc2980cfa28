//! A [`Capture`] as a [`Document`].

use std::collections::BTreeMap;

use analysis::classify::{Class, Kind};
use analysis::ids::{NameId, ProcessKey, StackId};
use analysis::report::{
    self, DeviceReport, HostStack, IdleCause, IdleGap, KernelTotal, Report, StepReport,
    WorkerReport,
};

use super::document::{
    Coverage, Device, Document, Exclusive, Gap, GapHost, GapLaunch, GapPart, Histogram, HostBound,
    Inclusive, Kernel, PhaseSteps, Range, Records, SCHEMA, Sentence, Steps, Stream, Stretch,
    Worker,
};
use super::host::Host;
use super::memory::Memory;
use crate::capture::{Capture, Stack};
use crate::output::{rows, words};

/// Kernels in `top_kernels`; `kernel_totals` has all of them.
const TOP_KERNELS: usize = 20;

/// Stacks in `host_bound`; gpu.folded has all of them.
const HOST_BOUND: usize = 100;

impl Document {
    pub fn of(capture: &Capture) -> Self {
        let Capture { info, report, .. } = capture;
        Self {
            schema: SCHEMA.to_owned(),
            simulated: capture.simulated(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: info.command.clone(),
            source: info.source.clone(),
            started_unix: info.started_unix,
            devices: (0..).zip(&report.devices).map(|(at, of)| device(capture, at, of)).collect(),
            workers: report.workers.iter().map(|of| worker(report, of)).collect(),
            steps: report.steps.iter().map(|of| steps(capture, of)).collect(),
            host: Host::of(capture),
            memory: Memory::of(capture),
            defects: report
                .defects
                .iter()
                .map(|defect| Sentence { message: defect.to_string() })
                .collect(),
            notes: info.notes.clone(),
        }
    }
}

fn device(capture: &Capture, position: usize, device: &DeviceReport) -> Device {
    let report = &capture.report;
    let kernel_totals: Vec<Kernel> =
        device.totals.iter().map(|total| kernel(report, total)).collect();
    let host_bound = host_bound(capture, position);
    let told: u64 = host_bound.iter().map(|host| host.total_ns).sum();
    let late = device.idle_cause.get(&IdleCause::HostBound).copied().unwrap_or(0);
    Device {
        index: device.info.index,
        uuid: device.info.uuid.clone(),
        simulated: device.info.simulated,
        window: stretch(device.window),
        window_ns: words::window_ns(device),
        kernels: device.kernels,
        copies: device.copies,
        exclusive_ns: device.exclusive.into(),
        inclusive_ns: device.inclusive.into(),
        compute_communication_overlap_ns: device.compute_communication_overlap,
        copies_exclusive_ns: device.copies_exclusive,
        copies_inclusive_ns: device.copies_inclusive,
        idle_cause_ns: IdleCause::ALL
            .iter()
            .map(|&cause| {
                let ns = device.idle_cause.get(&cause).copied().unwrap_or(0);
                (words::idle_cause(cause).to_owned(), ns)
            })
            .collect(),
        idle_undecided_ns: device.idle_undecided,
        idle_gap_count: device.gap_count,
        unobserved_reason_ns: device
            .unobserved
            .iter()
            .map(|(&reason, &ns)| (words::unobserved_reason(reason).to_owned(), ns))
            .collect(),
        kinds_ns: kinds(&device.kinds),
        records: Records {
            classified: device.records.classified,
            unclassified: device.records.unclassified,
            invalid: device.records.invalid,
            lost: device.records.lost,
        },
        coverage: coverage(device),
        streams: device
            .streams
            .iter()
            .map(|stream| Stream {
                pid: pid(capture, stream.process),
                context: stream.context,
                stream: stream.stream,
                kernels: stream.kernels,
                copies: stream.copies,
                busy_ns: stream.busy,
            })
            .collect(),
        ranges: report
            .ranges
            .iter()
            .filter(|range| range.device == position)
            .map(|range| Range {
                range: range.kind.as_str().to_owned(),
                name: range.name.clone(),
                shapes: range.shapes.clone(),
                class: range.class.as_str().to_owned(),
                kernels: range.kernels,
                total_ns: range.total,
            })
            .collect(),
        top_kernels: kernel_totals.iter().take(TOP_KERNELS).cloned().collect(),
        kernel_totals,
        idle_gaps: device.gaps.iter().map(|of| gap(capture, of)).collect(),
        host_bound_rest_ns: late.saturating_sub(told),
        host_bound,
    }
}

/// The heaviest stacks of late hosts. What nobody saw is left out.
pub(crate) fn host_bound(capture: &Capture, position: usize) -> Vec<HostBound> {
    let of_device = |host: &&HostStack| host.device == position;
    let mut hosts: Vec<&HostStack> = capture.report.host_stacks.iter().filter(of_device).collect();
    hosts.sort_by_key(|host| std::cmp::Reverse(host.total));
    hosts
        .into_iter()
        .filter_map(|host| {
            let (frame, stack) = code(capture, host.stack?)?;
            Some(HostBound {
                pid: pid(capture, host.process),
                title: title(capture, host.process),
                state: host.state.as_str().to_owned(),
                frame,
                stack,
                samples: host.samples,
                total_ns: host.total,
            })
        })
        .take(HOST_BOUND)
        .collect()
}

/// The frame that says best where a stack is, and all of them.
fn code(capture: &Capture, stack: StackId) -> Option<(String, Vec<String>)> {
    let stack = capture.stacks.get(&stack)?;
    let all = functions(stack);
    Some((words::telling(stack).unwrap_or_else(|| rows::CUT.to_owned()), all))
}

/// Root first.
fn functions(stack: &Stack) -> Vec<String> {
    let cut = rows::cut_mark(stack).map(str::to_owned);
    cut.into_iter().chain(stack.frames.iter().map(|frame| frame.function.clone())).collect()
}

fn title(capture: &Capture, process: ProcessKey) -> String {
    capture.processes.get(&process).map(|info| info.title.clone()).unwrap_or_default()
}

fn coverage(device: &DeviceReport) -> Coverage {
    let kernels_ns = words::kernels_ns(device);
    let unclassified_ns = device.records.unclassified_ns;
    Coverage {
        kernels_ns,
        unclassified_ns,
        unclassified_ratio: words::percent(unclassified_ns, kernels_ns) / 100.0,
    }
}

fn kernel(report: &Report, total: &KernelTotal) -> Kernel {
    Kernel {
        name: words::kernel_name(report, total.name).to_owned(),
        class: total.class.as_str().to_owned(),
        kind: total.kind.as_str().to_owned(),
        count: total.count,
        total_ns: total.total,
    }
}

/// One gap with everything it refers to.
pub(crate) fn gap(capture: &Capture, gap: &IdleGap) -> Gap {
    let name = |id: NameId| words::kernel_name(&capture.report, id).to_owned();
    let mut start_ns = gap.start.0;
    let parts = gap
        .parts
        .iter()
        .map(|part| {
            let from = std::mem::replace(&mut start_ns, part.end.0);
            let cause = words::idle_cause(part.cause).to_owned();
            GapPart { cause, start_ns: from, end_ns: part.end.0 }
        })
        .collect();
    Gap {
        start_ns: gap.start.0,
        end_ns: gap.end.0,
        duration_ns: gap.end.since(gap.start).unwrap_or(0),
        parts,
        before: gap.before.map(name),
        after: gap.after.map(name),
        launch: gap.launch.map(|launch| GapLaunch {
            pid: pid(capture, launch.process),
            title: title(capture, launch.process),
            thread: launch.thread,
            enter_ns: launch.enter.0,
            graph: launch.graph,
        }),
        sync: gap.sync.map(stretch),
        stack: gap.stack.and_then(|stack| capture.stacks.get(&stack)).map(functions),
        host: gap
            .host
            .iter()
            .filter_map(|host| {
                let (frame, stack) = code(capture, host.stack)?;
                let (samples, asleep_ns, total_ns) = (host.samples, host.asleep, host.total);
                Some(GapHost { frame, stack, samples, asleep_ns, total_ns })
            })
            .collect(),
    }
}

fn worker(report: &Report, worker: &WorkerReport) -> Worker {
    let device = report.devices.get(worker.device);
    Worker {
        pid: worker.info.pid,
        title: worker.info.title.clone(),
        role: worker.info.role.clone(),
        rank: worker.info.rank.clone(),
        device: device.map(|device| device.info.index),
        uuid: device.and_then(|device| device.info.uuid.clone()),
        kernels: worker.kernels,
        exclusive_ns: worker.exclusive.into(),
        launches: worker.launches,
        launches_failed: worker.launches_failed,
        stacks_sampled: worker.stacks_sampled,
    }
}

fn steps(capture: &Capture, steps: &StepReport) -> Steps {
    let device = capture.report.devices.get(steps.device);
    let info = capture.processes.get(&steps.process).cloned().unwrap_or_default();
    Steps {
        pid: info.pid,
        title: info.title,
        role: info.role,
        rank: info.rank,
        device: device.map(|device| device.info.index),
        uuid: device.and_then(|device| device.info.uuid.clone()),
        idle_between_ns: steps.idle,
        phases: steps
            .phases
            .iter()
            .map(|(phase, stats)| {
                let body = PhaseSteps {
                    count: stats.count,
                    total_ns: stats.total,
                    duration_ns: histogram(report::Histogram::DURATION_NS, &stats.durations),
                    batch: histogram(report::Histogram::BATCH, &stats.batch),
                };
                (phase.as_str().to_owned(), body)
            })
            .collect(),
    }
}

fn histogram(bounds: &[u64], histogram: &report::Histogram) -> Histogram {
    Histogram { bounds: bounds.to_vec(), counts: histogram.counts.clone(), sum: histogram.sum }
}

fn stretch(window: report::Window) -> Stretch {
    Stretch { start_ns: window.start.0, end_ns: window.end.0 }
}

fn pid(capture: &Capture, process: ProcessKey) -> u32 {
    capture.processes.get(&process).map_or(0, |info| info.pid)
}

impl From<report::Exclusive> for Exclusive {
    fn from(time: report::Exclusive) -> Self {
        let report::Exclusive { attention, gemm, communication, other, idle, unobserved } = time;
        Self { attention, gemm, communication, other, idle, unobserved }
    }
}

impl From<report::Inclusive> for Inclusive {
    fn from(time: report::Inclusive) -> Self {
        let report::Inclusive { attention, gemm, communication, other } = time;
        Self { attention, gemm, communication, other }
    }
}

fn kinds(times: &BTreeMap<(Class, Kind), u64>) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut by_class: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (&(class, kind), &ns) in times {
        by_class.entry(class.as_str().to_owned()).or_default().insert(kind.as_str().to_owned(), ns);
    }
    by_class
}
