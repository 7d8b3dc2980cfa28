//! The whole public face: events in, a report out.
//!
//! A session has two modes and one path. *Marked* (live rings, our recordings): only marks in the
//! stream make time final, so it does not matter in what portions the stream is fed. *Whole*
//! (foreign traces): events come by their start, a mark says how far they are, and the window of a
//! device runs from its first start to its last end.
//!
//! What happens at a mark is in [`crate::settle`], how far time is final in [`crate::watermark`],
//! what becomes final in [`crate::timeline::device`], the report in [`crate::assemble`].

use crate::map::HashMap;

use crate::classify::{Classifier, Kind};
use crate::defect::{Defect, DefectLog, Table};
use crate::event::{Event, Launch, Range, RangeKind, Work, WorkKind};
use crate::graphs::Place;
use crate::ids::{DeviceKey, NameId, Ns, ProcessKey};
use crate::limits::{Capacities, NAME_IDS, ORDINALS, WORKERS};
use crate::names::{Named, Names, SET_NAME, copy_name};
use crate::process::{Attachment, Drain, Phase, Process, RawWork};
use crate::ranges::Ranges;
use crate::report::Report;
use crate::slice::Slice;
use crate::steps::Named as NamedStep;
use crate::timeline::device::{Device, Spent};
use crate::timeline::sweep::Gap;
use crate::{assemble, idle, settle};

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
    pub(crate) device_keys: Vec<DeviceKey>,
    device_index: HashMap<DeviceKey, usize>,
    pub(crate) processes: Vec<Process>,
    process_index: HashMap<ProcessKey, usize>,
    pub(crate) names: Names,
    pub(crate) defects: DefectLog,
    pub(crate) limit: Option<u64>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) spent: Vec<Spent>,
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
            device_index: HashMap::default(),
            processes: Vec::new(),
            process_index: HashMap::default(),
            names: Names::new(Classifier::default()),
            defects: DefectLog::default(),
            limit: None,
            gaps: Vec::new(),
            spent: Vec::new(),
            slices: None,
            ranges: Ranges::default(),
        }
    }

    /// Names that come from here on are classified by `classifier`; what came before stays.
    pub fn classify_by(&mut self, classifier: Classifier) {
        self.names.classify_by(classifier);
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
            Event::Unopened { process, ordinal } => self.unopened(process, ordinal),
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
                    if let Some(process) = self.launching(index) {
                        process.whereabouts.slept(&blocked);
                    }
                }
            }
            Event::Sampled(sampled) => {
                let index = self.process(sampled.process);
                if let Some(process) = index.and_then(|index| self.launching(index)) {
                    process.whereabouts.sampled(&sampled);
                }
            }
            Event::SleepStack { process, tid, signature, stack } => {
                let index = self.process(process);
                if let Some(process) = index.and_then(|index| self.launching(index)) {
                    process.whereabouts.sleeps_in(tid, signature, stack);
                }
            }
            Event::Range(range) => self.range(&range),
            Event::Label { process, id, text } => {
                if let Some(index) = self.process(process) {
                    self.ranges.label(&mut self.processes[index].ranges, id, text);
                }
            }
            Event::Graph(event) => {
                if let Some(index) = self.process(event.process) {
                    self.processes[index].graphs.change(&event);
                }
            }
            Event::CaptureStack { process, entry, stack } => {
                if let Some(index) = self.process(process) {
                    self.processes[index].graphs.stack(entry, stack);
                }
            }
            Event::LaunchStack { process, correlation, stack } => {
                self.batch(process, |process| {
                    process.batch.stacks.push((correlation, stack));
                });
            }
            // What is live is nobody's time: `crate::memory`.
            Event::Memory(_) => {}
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

    /// Entry of the oldest launch of a process that is open for longer than launches are waited for, and not proven done:
    /// what it launched runs, waits, or lost its record.
    pub fn oldest_open(&self, process: ProcessKey) -> Option<Ns> {
        let index = *self.process_index.get(&process)?;
        let open = &self.processes.get(index)?.unfinished;
        open.iter().map(|open| Ns(open.enter)).min()
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

    /// The process, if it may launch: idle time asks about no other's threads.
    fn launching(&mut self, index: usize) -> Option<&mut Process> {
        self.processes.get_mut(index).filter(|process| !process.attachments.is_empty())
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
        let again = process.attachments.iter_mut().find(|known| known.ordinal == ordinal);
        if let Some(attachment) = again {
            attachment.opened = true;
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
        process.attachments.push(Attachment {
            ordinal,
            device: known,
            worker,
            drain,
            used: false,
            opened: true,
        });
    }

    fn unopened(&mut self, process: ProcessKey, ordinal: u32) {
        let Some(index) = self.process(process) else {
            return;
        };
        let attachments = &mut self.processes[index].attachments;
        if let Some(known) = attachments.iter_mut().find(|known| known.ordinal == ordinal) {
            known.opened = false;
        }
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
            place: Place { graph: work.graph, node: work.graph_node, source: work.source_node },
            start: work.start.0,
            end: work.end.0,
            named,
            is_kernel: matches!(work.kind, WorkKind::Kernel { .. }),
            to_host: matches!(work.kind, WorkKind::Memcpy { copy_kind: 2, .. }),
            grid_x: work.grid_x,
        };
        self.batch(work.process, |process| process.batch.works.push(raw));
    }
}
