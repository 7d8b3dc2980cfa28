//! Takes the events of a process since its last mark, and gives sampled time to its stacks.
//!
//! Launches come first, then what refers to them, so the order of arrival does not matter.

use std::collections::HashSet;

use crate::defect::{Defect, Table};
use crate::event::{LaunchKind, SyncScope};
use crate::graphs::Origin;
use crate::limits::{GRAPH_ENTRIES, GRAPHS, SYNCS, THREADS, WHEREABOUTS};
use crate::process::{Batch, Process, RawWork};
use crate::samples::{Attributed, Place};
use crate::session::{Mode, Session};
use crate::slice::{LaunchSlice, Slice};
use crate::timeline::cells::Source;
use crate::timeline::device::{Device, Pending, Spent};
use crate::timeline::invalid::Invalid;

/// Contexts of one process whose device is remembered. A worker has one or two.
const CONTEXTS: usize = 4096;

/// Takes the events since the last mark. Returns whether records had to be dropped.
pub(crate) fn take_batch(session: &mut Session, index: usize) -> bool {
    let process = &mut session.processes[index];
    let batch = std::mem::take(&mut process.batch);
    let mark = process.marks;
    let capacities = session.options.capacities();
    for (launch, range, step) in &batch.launches {
        let correlation = process.extender.extend(launch.correlation);
        process.launches.enter(correlation, launch, (*range, *step), mark);
        if launch.kind != LaunchKind::Copy {
            process.launched += 1;
        }
        if let Some(weight) = launch.sampled {
            process.samples.launched(correlation, weight, mark);
        }
    }
    for &(failed, captured) in &batch.failed {
        let correlation = process.extender.extend(failed);
        process.launches.fail(correlation);
        process.samples.failed(correlation);
        process.launches_failed += u64::from(!captured);
    }
    let mut refused = 0;
    for work in &batch.works {
        refused += u64::from(!take_work(session, index, work));
    }
    let process = &mut session.processes[index];
    for &(correlation, stack) in &batch.stacks {
        let correlation = process.extender.extend(correlation);
        let attributed = process.samples.stack(correlation, stack, mark);
        credit(&mut session.devices, &attributed);
    }
    if let Some(slices) = &mut session.slices {
        tell_launches(process, &batch, slices);
    }
    process.extender.advance();
    for sync in batch.syncs.iter().filter(|sync| sync.exit >= sync.enter) {
        process.threads.synced(sync);
    }
    let syncs = batch.syncs.into_iter().filter(|sync| {
        sync.scope == SyncScope::Context && sync.succeeded && sync.exit >= sync.enter
    });
    let mut syncs_refused = 0;
    for sync in syncs {
        if process.syncs.len() < SYNCS {
            process.syncs.push(sync);
        } else {
            syncs_refused += 1;
        }
    }
    let mut full = |table, capacity, count| {
        if count > 0 {
            session.defects.add(Defect::Full { table, capacity, count });
        }
    };
    full(Table::Events, capacities.events, batch.dropped);
    full(Table::Pending, capacities.pending, refused);
    full(Table::Syncs, SYNCS, syncs_refused);
    full(Table::Threads, THREADS, process.threads.take_refused());
    let (whereabouts_refused, late) = process.whereabouts.take_refused();
    full(Table::Whereabouts, WHEREABOUTS, whereabouts_refused);
    full(Table::Samples, capacities.samples, std::mem::take(&mut process.samples.refused));
    full(Table::GraphEntries, GRAPH_ENTRIES, process.graphs.take_refused());
    full(Table::Graphs, GRAPHS, process.launches.take_graphs_refused());
    full(Table::Launches, capacities.launches, process.launches.take_refused());
    if late > 0 {
        let pid = process.info.pid;
        session.defects.add(Defect::LateSample { pid, count: late });
    }
    batch.dropped > 0 || refused > 0
}

/// Launches as pieces of a timeline; those that led to nothing are left out.
fn tell_launches(process: &mut Process, batch: &Batch, slices: &mut Vec<Slice>) {
    let failed: HashSet<u32> = batch.failed.iter().map(|(failed, _)| failed.0).collect();
    for (launch, ..) in &batch.launches {
        if failed.contains(&launch.correlation.0) {
            continue;
        }
        let correlation = process.extender.extend(launch.correlation);
        slices.push(Slice::Launch(LaunchSlice {
            process: process.key,
            thread: launch.thread,
            correlation,
            enter: launch.enter,
            exit: launch.exit,
            graph: launch.kind == LaunchKind::Graph,
            stack: process.samples.stack_of(correlation),
        }));
    }
}

/// Takes one work record; `false` when the device's table is full.
fn take_work(session: &mut Session, index: usize, work: &RawWork) -> bool {
    let process = &mut session.processes[index];
    let pid = process.info.pid;
    let attachment = process.attachments[work.attachment];
    let correlation = process.extender.extend(work.correlation);
    let valid = (work.start, work.end) != (0, 0) && work.end >= work.start;
    let end = if valid { work.end } else { 0 };
    let origin = process.launches.record(correlation, work.place.graph, end, process.marks);
    if process.contexts.len() < CONTEXTS {
        process.contexts.entry(work.context).or_insert(attachment.device);
    }
    if !attachment.used {
        for same in process.attachments.iter_mut().filter(|a| a.device == attachment.device) {
            same.used = true;
        }
        process.home.get_or_insert(work.attachment);
    }
    let armed = process.armed;
    let device = &mut session.devices[attachment.device];
    device.workers[usize::from(attachment.worker)].used = true;
    let stream = device.stream(attachment.worker, work.context, work.stream);
    let enter = origin.map_or(0, |origin| origin.enter);
    let counted = if !valid {
        &mut device.records.invalid
    } else if work.named.classified {
        &mut device.records.classified
    } else {
        &mut device.records.unclassified
    };
    *counted += 1;
    let late = if valid {
        if let Some(seen) = device.streams.get_mut(stream as usize) {
            let earliest = |known: Option<u64>| known.map_or(work.start, |k| k.min(work.start));
            seen.first = Some(earliest(seen.first));
            if enter > 0 && enter >= armed {
                seen.first_launched = Some(earliest(seen.first_launched));
            }
        }
        let beyond = session.limit.is_some_and(|limit| work.start >= limit);
        if beyond && device.start.is_some() && Some(device.done) >= session.limit {
            return true;
        }
        if device.pending.len() >= session.options.capacities().pending {
            return false;
        }
        let named = work.named;
        let launched = if enter > 0 { enter } else { work.start };
        let source = Source {
            graph: work.place.graph,
            origin: match session.options.mode {
                Mode::Marked => process.graphs.origin(work.place, launched),
                // A trace has no graph table to miss a node in.
                Mode::Whole => Origin::None,
            },
        };
        let cell = device.cells.of(attachment.worker, named.id, named.kind, source);
        let sampled = origin.is_some_and(|origin| origin.sampled);
        if sampled {
            process.samples.opened(correlation);
        }
        device.add(Pending {
            start: work.start,
            end: work.end,
            correlation,
            enter,
            returned: origin.map_or(0, |origin| origin.returned),
            cell,
            stream,
            worker: attachment.worker,
            kind: named.kind,
            is_kernel: work.is_kernel,
            classified: named.classified,
            is_graph: origin.is_some_and(|origin| origin.is_graph) || work.place.graph != 0,
            thread: origin.map_or(0, |origin| origin.thread),
            range: origin.map_or(0, |origin| origin.range),
            step: origin.map_or(0, |origin| origin.step),
            grid_x: work.grid_x,
            to_host: work.to_host,
            sampled,
            counted: false,
        })
    } else {
        session.defects.add(Defect::InvalidRecord { pid, count: 1 });
        let worker = attachment.worker;
        device.add_invalid(Invalid { stream, first: correlation, last: correlation, enter, worker })
    };
    if let Some(late) = late {
        session.defects.add(Defect::LateRecord { pid, count: 1, lost_ns: late.ns });
    }
    true
}

/// Gives sampled time that became final to its stacks.
pub(crate) fn attribute(session: &mut Session, device: usize, spent: &[Spent]) {
    for part in spent {
        let Some(worker) = session.devices[device].workers.get(usize::from(part.worker)) else {
            continue;
        };
        let samples = &mut session.processes[worker.process].samples;
        if part.last {
            samples.closed(part.correlation);
        } else {
            let place = Place { device, cell: part.cell, idle: false };
            let attributed = samples.spent(part.correlation, place, part.ns);
            credit(&mut session.devices, attributed.as_slice());
        }
    }
}

pub(crate) fn credit(devices: &mut [Device], attributed: &[Attributed]) {
    for part in attributed {
        let device = &mut devices[part.place.device];
        let cells = if part.place.idle { device.idle.cells() } else { &mut device.cells };
        cells.sampled(part.place.cell, part.stack, part.weighted);
    }
}
