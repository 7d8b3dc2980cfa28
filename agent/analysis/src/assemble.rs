//! The report of a session: what is final, as plain data.

use std::collections::BTreeMap;

use crate::classify::Kind;
use crate::defect::{Defect, Table};
use crate::ids::{NameId, Ns};
use crate::limits::{CELLS, NAMES, RANGES, STACKS, STREAMS};
use crate::process::Process;
use crate::report::{
    DeviceReport, IdleCause, KernelTotal, Report, StackTime, StepReport, StreamReport, Window,
    WorkerReport,
};
use crate::session::Session;
use crate::timeline::device::Device;

/// Everything.
pub(crate) fn report(session: &Session) -> Report {
    let mut report = summary(session);
    for (position, index) in order(session).into_iter().enumerate() {
        let device = &session.devices[index];
        let reported = &mut report.devices[position];
        reported.totals = totals(device);
        reported.gaps = device.idle.longest();
        reported.streams = streams(session, device);
        stacks(session, device, position, &mut report.stacks);
        let process = |worker: u16| process_of(session, device, worker).map(|process| process.key);
        report.idle_stacks.extend(device.idle.stacks(position, process));
        report.host_stacks.extend(device.idle.code.rows(position, process));
        if session.ranges.any() {
            report.ranges.extend(session.ranges.rows(position, &device.ranges));
        }
    }
    report.names = session.names.texts().to_vec();
    report
}

/// Devices, workers and defects only.
pub(crate) fn summary(session: &Session) -> Report {
    let mut report = Report { defects: defects(session), ..Report::default() };
    for (position, index) in order(session).into_iter().enumerate() {
        let device = &session.devices[index];
        report.devices.push(device_report(device));
        workers(session, device, index, position, &mut report.workers);
        steps(session, device, position, &mut report.steps);
    }
    report
}

/// As [`summary`], with the totals of every kernel.
pub(crate) fn kernel_summary(session: &Session) -> Report {
    let mut report = summary(session);
    for (position, index) in order(session).into_iter().enumerate() {
        report.devices[position].totals = totals(&session.devices[index]);
    }
    report
}

/// Positions of the devices, by the index shown to users.
fn order(session: &Session) -> Vec<usize> {
    let mut order: Vec<usize> = (0..session.devices.len()).collect();
    order.sort_by_key(|&index| session.devices[index].info.index);
    order
}

fn device_report(device: &Device) -> DeviceReport {
    let start = Ns(device.start.unwrap_or(0));
    let exclusive = device.totals.split.exclusive();
    let causes = IdleCause::ALL.into_iter().zip(device.idle.totals);
    let idle_cause: BTreeMap<IdleCause, u64> = causes.filter(|&(_, ns)| ns > 0).collect();
    let kinds = Kind::ALL.iter().zip(device.totals.kinds);
    DeviceReport {
        info: device.info.clone(),
        window: Window { start, end: device.start.map_or(start, |_| Ns(device.done)) },
        kernels: device.kernels,
        copies: device.copies,
        exclusive,
        inclusive: device.totals.inclusive,
        compute_communication_overlap: device.totals.overlap,
        copies_exclusive: device.totals.split.copies(),
        copies_inclusive: device.totals.copies,
        gaps: Vec::new(),
        gap_count: device.idle.count(),
        streams: Vec::new(),
        idle_undecided: device.idle.undecided_ns(device.done),
        idle_cause,
        kinds: kinds
            .filter(|&(_, ns)| ns > 0)
            .map(|(kind, ns)| ((kind.class(), *kind), ns))
            .collect(),
        unobserved: device.unobserved().collect(),
        records: device.records,
        totals: Vec::new(),
    }
}

fn workers(
    session: &Session,
    device: &Device,
    index: usize,
    position: usize,
    reports: &mut Vec<WorkerReport>,
) {
    for (worker, split) in device.workers.iter().zip(&device.splits) {
        let Some(process) = session.processes.get(worker.process).filter(|_| worker.used) else {
            continue;
        };
        let home = process.home.and_then(|home| process.attachments.get(home));
        let at_home = home.is_some_and(|home| home.device == index);
        let process_wide = |count: u64| if at_home { count } else { 0 };
        reports.push(WorkerReport {
            process: process.key,
            info: process.info.clone(),
            device: position,
            kernels: worker.kernels,
            exclusive: split.exclusive(),
            launches: process_wide(process.launched),
            launches_failed: process_wide(process.launches_failed),
            stacks_sampled: process_wide(process.samples.matched),
        });
    }
}

fn process_of<'a>(session: &'a Session, device: &Device, worker: u16) -> Option<&'a Process> {
    let worker = device.workers.get(usize::from(worker))?;
    session.processes.get(worker.process)
}

fn streams(session: &Session, device: &Device) -> Vec<StreamReport> {
    let used = device.streams.iter().filter(|stream| stream.kernels + stream.copies > 0);
    let mut streams: Vec<StreamReport> = used
        .filter_map(|stream| {
            Some(StreamReport {
                process: process_of(session, device, stream.worker)?.key,
                context: stream.context,
                stream: stream.id,
                kernels: stream.kernels,
                copies: stream.copies,
                busy: stream.busy,
            })
        })
        .collect();
    streams.sort_unstable_by_key(|stream| (stream.process, stream.context, stream.stream));
    streams
}

fn steps(session: &Session, device: &Device, position: usize, steps: &mut Vec<StepReport>) {
    for (worker, stepper) in (0..).zip(&device.steppers) {
        let phases: BTreeMap<_, _> =
            stepper.stats().map(|(phase, stats)| (phase, stats.clone())).collect();
        let Some(process) = process_of(session, device, worker).filter(|_| !phases.is_empty())
        else {
            continue;
        };
        let (process, idle) = (process.key, stepper.idle());
        steps.push(StepReport { process, device: position, phases, idle });
    }
}

fn totals(device: &Device) -> Vec<KernelTotal> {
    let mut sums: BTreeMap<NameId, (Kind, u64, u128)> = BTreeMap::new();
    // Copies and sets have a kind of their own; everything else is a kernel.
    let kernels = device.cells.iter().filter(|cell| !is_copy(cell.kind) && cell.count > 0);
    for cell in kernels {
        let (_, count, total) = sums.entry(cell.name).or_insert((cell.kind, 0, 0));
        *count += cell.count;
        *total += cell.total;
    }
    let mut totals: Vec<KernelTotal> = sums
        .into_iter()
        .map(|(name, (kind, count, total))| KernelTotal {
            name,
            class: kind.class(),
            kind,
            count,
            total: u64::try_from(total).unwrap_or(u64::MAX),
        })
        .collect();
    totals.sort_by_key(|total| (std::cmp::Reverse(total.total), total.name));
    totals
}

const fn is_copy(kind: Kind) -> bool {
    matches!(kind, Kind::Memcpy | Kind::Memset)
}

fn stacks(session: &Session, device: &Device, position: usize, stacks: &mut Vec<StackTime>) {
    let first = stacks.len();
    for cell in device.cells.iter().filter(|cell| cell.total > 0) {
        let Some(process) = device
            .workers
            .get(usize::from(cell.worker))
            .and_then(|worker| session.processes.get(worker.process))
        else {
            continue;
        };
        stacks.extend(cell.shares().into_iter().map(|(stack, total)| StackTime {
            device: position,
            process: process.key,
            name: cell.name,
            class: cell.kind.class(),
            kind: cell.kind,
            graph: cell.source.graph,
            capture: process.graphs.site(cell.source.origin),
            stack,
            total,
        }));
    }
    let mut of_device = stacks.split_off(first);
    let key = |time: &StackTime| (time.process, time.name, time.graph, time.capture, time.stack);
    of_device.sort_unstable_by_key(key);
    for time in of_device {
        // Nodes whose stacks came late have cells of their own and may share a stack.
        match stacks.last_mut().filter(|last| last.device == position && key(last) == key(&time)) {
            Some(last) => last.total = last.total.saturating_add(time.total),
            None => stacks.push(time),
        }
    }
}

/// The session's defects, with what its tables counted themselves.
fn defects(session: &Session) -> Vec<Defect> {
    let mut defects = session.defects.list();
    let mut full = |table, capacity, count| {
        if count > 0 {
            defects.push(Defect::Full { table, capacity, count });
        }
    };
    full(Table::Ranges, RANGES, session.ranges.refused);
    full(Table::Names, NAMES, session.names.refused());
    let sum = |of: fn(&Device) -> u64| session.devices.iter().map(of).sum();
    full(Table::Cells, CELLS, sum(|device| device.cells.refused));
    full(Table::Stacks, STACKS, sum(|device| device.cells.stacks_refused));
    full(Table::HostStacks, STACKS, sum(|device| device.idle.code.stacks_refused()));
    full(Table::Streams, STREAMS, sum(|device| device.streams_refused));
    defects
}
