//! The whole public face: events in, a report out.
//!
//! A session has two modes and one path. *Marked* (live rings, our recordings): only marks in the
//! stream make time final, so it does not matter in what portions the stream is fed. *Whole*
//! (foreign traces): events come by their start, a mark says how far they are, and the window of a
//! device runs from its first start to its last end.
//!
//! What happens at a mark is in [`crate::settle`], what becomes final in
//! [`crate::timeline::device`], the report in [`crate::assemble`].

use std::collections::HashMap;

use crate::classify::Kind;
use crate::defect::{Defect, DefectLog, Table};
use crate::event::{Event, Launch, Range, RangeKind, Work, WorkKind};
use crate::ids::{DeviceKey, NameId, Ns, ProcessKey};
use crate::limits::{Capacities, NAME_IDS, ORDINALS, WORKERS};
use crate::names::{Named, Names, SET_NAME, copy_name};
use crate::process::{Attachment, Drain, Hold, Phase, Process, RawWork};
use crate::ranges::Ranges;
use crate::report::{CaptureSite, Report};
use crate::slice::{Slice, WorkSlice};
use crate::spans::Span;
use crate::steps::Named as NamedStep;
use crate::timeline::device::{Device, Edge, Spent};
use crate::timeline::sweep::Gap;
use crate::{assemble, idle, intake, settle};

/// When time becomes final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Live rings and our recordings: only marks in the stream move the watermark.
    Marked,
    /// Foreign traces, fed in order of start. A mark says that everything that starts before its
    /// `flush` was fed; nothing was armed, drained or lost. Without marks everything becomes final
    /// at `finish`, and the order is free.
    Whole,
}

/// Settings of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// Start of every device's window; `None`: where observation of the device began.
    pub start: Option<Ns>,
}

impl Options {
    /// For live rings and our recordings.
    pub const MARKED: Self = Self { mode: Mode::Marked, start: None };
    /// For foreign traces.
    pub const WHOLE: Self = Self { mode: Mode::Whole, start: None };

    pub(crate) const fn capacities(self) -> Capacities {
        match self.mode {
            Mode::Marked => Capacities::MARKED,
            Mode::Whole => Capacities::WHOLE,
        }
    }
}

/// What was observed so far.
#[derive(Debug)]
pub struct Session {
    pub(crate) options: Options,
    pub(crate) devices: Vec<Device>,
    device_keys: Vec<DeviceKey>,
    device_index: HashMap<DeviceKey, usize>,
    pub(crate) processes: Vec<Process>,
    process_index: HashMap<ProcessKey, usize>,
    pub(crate) names: Names,
    pub(crate) defects: DefectLog,
    pub(crate) limit: Option<u64>,
    gaps: Vec<Gap>,
    spent: Vec<Spent>,
    /// `Some`: pieces of the timeline are told.
    pub(crate) slices: Option<Vec<Slice>>,
    pub(crate) ranges: Ranges,
}

impl Session {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            devices: Vec::new(),
            device_keys: Vec::new(),
            device_index: HashMap::new(),
            processes: Vec::new(),
            process_index: HashMap::new(),
            names: Names::new(),
            defects: DefectLog::default(),
            limit: None,
            gaps: Vec::new(),
            spent: Vec::new(),
            slices: None,
            ranges: Ranges::default(),
        }
    }

    /// Takes one event. An event that refers to what was never introduced is counted as a defect.
    pub fn ingest(&mut self, event: Event) {
        match event {
            Event::Device { device, info } => {
                let next = self.devices.len();
                let index = *self.device_index.entry(device).or_insert(next);
                if index == next {
                    self.devices.push(Device::default());
                    self.device_keys.push(device);
                }
                self.devices[index].info = info;
            }
            Event::Process { process, info } => {
                let next = self.processes.len();
                let index = *self.process_index.entry(process).or_insert(next);
                if index == next {
                    self.processes.push(Process::new(process, info, self.options.capacities()));
                } else {
                    // A title is set late: the latest one is the one to show.
                    self.processes[index].info = info;
                }
            }
            Event::Ordinal { process, ordinal, device } => self.attach(process, ordinal, device),
            Event::Attached { process, at } => {
                if let Some(index) = self.process(process) {
                    self.processes[index].attached = at.0;
                }
            }
            Event::Name { process, id, name } => self.name(process, id, name),
            Event::Work(work) => self.work(&work),
            Event::Launch(launch) => self.launch(launch),
            Event::LaunchFailed { process, correlation, captured } => {
                self.batch(process, |process| {
                    process.batch.failed.push((correlation, captured));
                });
            }
            Event::Sync(sync) => {
                self.batch(sync.process, |process| process.batch.syncs.push(sync));
            }
            Event::Thread { process, thread, tid } => {
                if let Some(index) = self.process(process) {
                    self.processes[index].threads.numbered(thread, tid);
                }
            }
            Event::Blocked(blocked) => {
                if let Some(index) = self.process(blocked.process) {
                    self.processes[index].threads.blocked(&blocked);
                }
            }
            Event::Range(range) => self.range(&range),
            Event::Label { process, id, text } => {
                if let Some(index) = self.process(process) {
                    self.ranges.label(&mut self.processes[index].ranges, id, text);
                }
            }
            // Nothing follows graphs to their capture here.
            Event::Graph(_) | Event::CaptureStack { .. } => {}
            Event::LaunchStack { process, correlation, stack } => {
                self.batch(process, |process| {
                    process.batch.stacks.push((correlation, stack));
                });
            }
            Event::Mark(mark) => {
                let Some(index) = self.process(mark.process) else {
                    return;
                };
                match self.options.mode {
                    Mode::Marked => settle::mark(self, index, &mark),
                    Mode::Whole => settle::passed(self, index, mark.flush),
                }
                self.advance_devices_of(index);
            }
            Event::Ended { process, at } => {
                let Some(index) = self.process(process) else {
                    return;
                };
                if self.options.mode == Mode::Marked {
                    settle::end(self, index, at);
                    self.advance_devices_of(index);
                }
            }
        }
    }

    /// Adds what the caller found wrong, such as the `Err` of [`crate::decode::record`].
    pub fn note(&mut self, defect: Defect) {
        self.defects.add(defect);
    }

    /// From here on pieces of the timeline are kept until [`Session::take_slices`].
    pub fn tell_slices(&mut self) {
        self.slices.get_or_insert_default();
    }

    /// Pieces of the timeline that became final since the last call, in no order.
    pub fn take_slices(&mut self) -> Vec<Slice> {
        self.slices.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A kernel's name by its id.
    pub fn kernel_name(&self, name: NameId) -> Option<&str> {
        let index = usize::try_from(name.0).ok()?;
        self.names.texts().get(index).map(String::as_str)
    }

    /// Windows end at `end`, once the watermark reaches it. A window that is past it already
    /// stays, and a defect says so.
    pub fn limit_end(&mut self, end: Ns) {
        self.limit = Some(end.0);
        for device in &mut self.devices {
            if device.start.is_some() && device.done > end.0 {
                self.defects.add(Defect::LimitPassed { by_ns: device.done - end.0, count: 1 });
            }
            device.forget_from(end.0.max(device.done));
        }
    }

    /// The instant up to which every observed device is final; `None` while one has nothing.
    pub fn watermark(&self) -> Option<Ns> {
        let observed = |device: &&Device| {
            device.workers.iter().any(|worker| {
                self.processes.get(worker.process).is_some_and(|p| p.phase != Phase::Unmarked)
            })
        };
        let mut lowest = None;
        for device in self.devices.iter().filter(observed) {
            device.start?;
            lowest = Some(lowest.map_or(device.done, |low: u64| low.min(device.done)));
        }
        lowest.map(Ns)
    }

    /// The instant up to which any device is final: a device whose processes ended stays behind.
    pub fn furthest(&self) -> Option<Ns> {
        let begun = self.devices.iter().filter(|device| device.start.is_some());
        begun.map(|device| Ns(device.done)).max()
    }

    /// Nothing more will be fed. In whole mode this is where the rest becomes final; in marked
    /// mode the windows stay where the last mark put them, and what is left over is counted.
    pub fn finish(&mut self) {
        for index in 0..self.processes.len() {
            settle::rest(self, index);
        }
        for index in 0..self.devices.len() {
            match self.options.mode {
                Mode::Whole => self.finish_whole(index),
                Mode::Marked => idle::finish(self, index),
            }
            for stepper in &mut self.devices[index].steppers {
                stepper.finish();
            }
            if self.slices.is_some() {
                self.tell(index);
            }
        }
        for index in 0..self.processes.len() {
            settle::close_samples(self, index);
        }
    }

    /// Everything behind the watermark, at any time. Sums only grow from one report to the next.
    pub fn report(&self) -> Report {
        assemble::report(self)
    }

    /// As [`Session::report`] without names, per-kernel totals and stacks: what an exporter of
    /// classes needs, at a cost that does not grow with the number of kernels.
    pub fn summary(&self) -> Report {
        assemble::summary(self)
    }

    /// As [`Session::summary`] with every kernel's total: what is compared window by window.
    pub fn kernel_summary(&self) -> Report {
        assemble::kernel_summary(self)
    }

    fn process(&mut self, key: ProcessKey) -> Option<usize> {
        let found = self.process_index.get(&key).copied();
        if found.is_none() {
            self.defects.add(Defect::UnknownProcess { count: 1 });
        }
        found
    }

    fn attach(&mut self, process: ProcessKey, ordinal: u32, device: DeviceKey) {
        let Some(index) = self.process(process) else {
            return;
        };
        let known = self.device_index.get(&device).copied();
        let process = &mut self.processes[index];
        let Some(known) = known else {
            let pid = process.info.pid;
            self.defects.add(Defect::UnknownDevice { pid, ordinal, count: 1 });
            return;
        };
        if process.attachments.iter().any(|attachment| attachment.ordinal == ordinal) {
            return;
        }
        let same = process.attachments.iter().find(|attachment| attachment.device == known);
        let worker = match same {
            Some(attachment) => attachment.worker,
            None if process.attachments.len() >= ORDINALS
                || self.devices[known].workers.len() >= WORKERS =>
            {
                let table = Table::Ordinals;
                self.defects.add(Defect::Full { table, capacity: ORDINALS, count: 1 });
                return;
            }
            None => self.devices[known].attach(index),
        };
        let drain = match self.options.mode {
            Mode::Marked => Drain::Unproven,
            Mode::Whole => Drain::Done,
        };
        process.attachments.push(Attachment { ordinal, device: known, worker, drain, used: false });
    }

    fn name(&mut self, process: ProcessKey, id: u32, name: String) {
        let Some(index) = self.process(process) else {
            return;
        };
        let process = &mut self.processes[index];
        if process.names.len() >= NAME_IDS && !process.names.contains_key(&id) {
            let table = Table::NameIds;
            self.defects.add(Defect::Full { table, capacity: NAME_IDS, count: 1 });
            return;
        }
        let named = self.names.kernel(name);
        process.names.insert(id, named);
    }

    fn launch(&mut self, launch: Launch) {
        let Some(index) = self.process(launch.process) else {
            return;
        };
        let process = &mut self.processes[index];
        let range = self.ranges.at(&mut process.ranges, launch.thread, launch.enter.0);
        let (step, until) = process.step;
        let step = if launch.enter.0 < until { step } else { 0 };
        self.batch(launch.process, |process| process.batch.launches.push((launch, range, step)));
    }

    fn range(&mut self, range: &Range) {
        let Some(index) = self.process(range.process) else {
            return;
        };
        let process = &mut self.processes[index];
        if range.kind == RangeKind::Annotation
            && let Some(text) = self.ranges.text(&process.ranges, range.label)
            && let Some(named) = NamedStep::parse(text, process.steps_named)
        {
            process.steps_named = process.steps_named.wrapping_add(1);
            process.step = (named.code(), range.end.0);
        }
        self.ranges.begin(&mut process.ranges, range);
    }

    fn batch(&mut self, process: ProcessKey, push: impl FnOnce(&mut Process)) {
        let Some(index) = self.process(process) else {
            return;
        };
        let capacity = self.options.capacities().events;
        let process = &mut self.processes[index];
        if process.batch.len() >= capacity {
            process.batch.dropped += 1;
        } else {
            push(process);
        }
    }

    fn work(&mut self, work: &Work) {
        let Some(index) = self.process(work.process) else {
            return;
        };
        let process = &self.processes[index];
        let pid = process.info.pid;
        let found = process.attachments.iter().position(|known| known.ordinal == work.ordinal);
        let Some(attachment) = found else {
            let ordinal = work.ordinal;
            self.defects.add(Defect::UnknownDevice { pid, ordinal, count: 1 });
            return;
        };
        let named: Named = match work.kind {
            WorkKind::Kernel { name } => process.names.get(&name).copied().unwrap_or_else(|| {
                self.defects.add(Defect::UnnamedKernel { pid, count: 1 });
                self.names.unnamed()
            }),
            WorkKind::Memcpy { bytes: _, copy_kind } => {
                self.names.own(copy_name(copy_kind), Kind::Memcpy)
            }
            WorkKind::Memset { bytes: _ } => self.names.own(SET_NAME, Kind::Memset),
        };
        let raw = RawWork {
            attachment,
            context: work.context,
            stream: work.stream,
            correlation: work.correlation,
            graph: work.graph,
            start: work.start.0,
            end: work.end.0,
            named,
            is_kernel: matches!(work.kind, WorkKind::Kernel { .. }),
            to_host: matches!(work.kind, WorkKind::Memcpy { copy_kind: 2, .. }),
            grid_x: work.grid_x,
        };
        self.batch(work.process, |process| process.batch.works.push(raw));
    }

    fn advance_devices_of(&mut self, process: usize) {
        let mut devices: Vec<usize> = self.processes[process]
            .attachments
            .iter()
            .map(|attachment| attachment.device)
            .collect();
        devices.sort_unstable();
        devices.dedup();
        for &device in &devices {
            self.advance(device);
        }
        let done = devices.iter().map(|&device| {
            let device = &self.devices[device];
            if device.start.is_some() { device.done } else { 0 }
        });
        let done = done.min().unwrap_or(0);
        self.processes[process].forget_before(done);
        let begun = self.devices.iter().filter(|device| device.start.is_some());
        let needed = begun.map(|device| device.idle.undecided(device.done)).min();
        for process in &mut self.processes {
            process.threads.forget_before(needed.unwrap_or(0));
        }
    }

    /// Where each attached process stands with `device`.
    pub(crate) fn holds(&self, device: usize) -> impl Iterator<Item = (usize, Hold, Attachment)> {
        let workers = self.devices[device].workers.iter();
        workers.filter_map(move |worker| {
            let process = self.processes.get(worker.process)?;
            let attachment = process.attachments.iter().find(|known| known.device == device)?;
            Some((worker.process, process.hold(attachment), *attachment))
        })
    }

    /// Moves the watermark of a device as far as its processes allow.
    fn advance(&mut self, index: usize) {
        let (mut live, mut gone) = (None::<u64>, None::<u64>);
        for (_, hold, _) in self.holds(index) {
            match hold {
                Hold::Live(until) => live = Some(live.map_or(until, |live| live.min(until))),
                Hold::Gone(until) => gone = gone.max(Some(until)),
                Hold::Absent | Hold::Awaited(_) => {}
            }
        }
        let Some(mut to) = live.or(gone) else {
            return;
        };
        if self.options.mode == Mode::Whole {
            // What follows the latest start is known once more work was fed, or at the end.
            to = to.min(self.devices[index].latest);
            let awaited = |(_, hold, _)| matches!(hold, Hold::Awaited(_));
            if self.holds(index).any(awaited) {
                return;
            }
        } else if settle::awaits(self, index, to) {
            return;
        }
        if self.devices[index].start.is_none() && self.options.mode == Mode::Whole {
            let first = self.devices[index].pending.iter().map(|work| work.start).min();
            let Some(first) = first else {
                return;
            };
            let start = self.options.start.map_or(first, |start| start.0);
            self.devices[index].start = Some(start);
            self.devices[index].done = start;
        } else if self.devices[index].start.is_none() {
            let marked = self
                .holds(index)
                .filter(|(_, hold, _)| matches!(hold, Hold::Live(_) | Hold::Gone(_)));
            let armed = marked.map(|(process, ..)| self.processes[process].armed).max();
            let start = self.options.start.map_or(armed.unwrap_or(0), |start| start.0);
            if to <= start {
                return;
            }
            self.devices[index].start = Some(start);
            self.devices[index].done = start;
        }
        to = to.min(self.limit.unwrap_or(u64::MAX));
        if to > self.devices[index].done {
            self.make_final(index, to, Edge::Exclusive);
        }
    }

    fn make_final(&mut self, index: usize, to: u64, edge: Edge) {
        let mut gaps = std::mem::take(&mut self.gaps);
        let mut spent = std::mem::take(&mut self.spent);
        gaps.clear();
        spent.clear();
        if self.options.mode == Mode::Marked {
            for (process, _, attachment) in self.holds(index) {
                self.processes[process].gaps(&attachment, &mut gaps);
            }
        }
        let from = self.devices[index].done;
        self.devices[index].advance(to, edge, &gaps, &mut spent);
        idle::explain(self, index, from, edge == Edge::Inclusive);
        if self.slices.is_some() {
            self.tell(index);
        }
        self.devices[index].retire(&mut spent);
        if self.limit.is_some_and(|limit| self.devices[index].done >= limit) {
            self.devices[index].forget_from(to);
        }
        intake::attribute(self, index, &spent);
        self.gaps = gaps;
        self.spent = spent;
    }

    /// Tells what became final of a device's timeline.
    fn tell(&mut self, index: usize) {
        let (Some(slices), Some(&device)) = (&mut self.slices, self.device_keys.get(index)) else {
            return;
        };
        let known = &mut self.devices[index];
        let key = |worker: u16| {
            let process = known.workers.get(usize::from(worker))?.process;
            self.processes.get(process).map(|process| process.key)
        };
        let over = known.pending.iter().filter(|work| work.end <= known.done && work.counted);
        slices.extend(over.filter_map(|work| {
            let stream = known.streams.get(work.stream as usize)?;
            let cell = known.cells.get(work.cell)?;
            Some(Slice::Work(WorkSlice {
                device,
                process: key(work.worker)?,
                context: stream.context,
                stream: stream.id,
                name: cell.name,
                kind: cell.kind,
                graph: cell.graph,
                capture: CaptureSite::None,
                correlation: work.correlation,
                start: Ns(work.start),
                end: Ns(work.end),
            }))
        }));
        for (worker, stepper) in (0..).zip(&mut known.steppers) {
            let steps = std::mem::take(&mut stepper.over);
            let process = known.workers.get(worker).and_then(|w| self.processes.get(w.process));
            let Some(process) = process.map(|process| process.key) else {
                continue;
            };
            slices.extend(steps.into_iter().map(|step| Slice::Step {
                process,
                start: Ns(step.start),
                end: Ns(step.end),
                phase: step.phase,
                batch: step.batch,
            }));
        }
        let span = |span: Span| (Ns(span.from), Ns(span.to));
        slices.extend(known.idle.told.drain(..).map(|(part, cause)| {
            let (start, end) = span(part);
            Slice::Idle { device, start, end, cause }
        }));
        slices.extend(known.empty.unobserved.drain(..).map(|(part, reason)| {
            let (start, end) = span(part);
            Slice::Unobserved { device, start, end, reason }
        }));
    }

    fn finish_whole(&mut self, index: usize) {
        let device = &mut self.devices[index];
        let last = device.pending.iter().map(|work| work.end).max();
        if device.start.is_none() {
            let Some(first) = device.pending.iter().map(|work| work.start).min() else {
                return;
            };
            let start = self.options.start.map_or(first, |start| start.0);
            device.start = Some(start);
            device.done = start;
        }
        // A device whose only work has no length gets a window of no length, and still counts it.
        let end = last.unwrap_or(0).min(self.limit.unwrap_or(u64::MAX)).max(device.done);
        self.make_final(index, end, Edge::Inclusive);
    }
}
