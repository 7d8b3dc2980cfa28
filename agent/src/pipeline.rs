//! The one path from what was seen to a [`Capture`]: live sessions, our recordings and foreign
//! traces are all fed as [`Input`]s and come out the same way.
//!
//! Decides nothing about time (that is `analysis`) and does no IO. It decodes, keeps the stack
//! and symbol tables, and counts what it has to refuse.

mod host;
mod input;
mod memory;
mod merge;
mod stacks;
mod timeline;
mod twins;
mod windows;

use std::collections::{BTreeMap, HashMap};

use analysis::classify::Classifier;
use analysis::compare::Figures;
use analysis::decode::{self, KernelEvent};
use analysis::defect::Defect;
use analysis::event::{Blocked, Event, ProcessInfo, Sampled};
use analysis::ids::{Ns, ProcessKey, Thread};
use analysis::report::Report;
use analysis::session::{Mode, Options, Session};

use host::{Host, Taken};
pub use input::{Input, Start, Symbol};
use memory::{Memory, Page};
pub use merge::merge;
use stacks::StackTable;
pub use stacks::Unresolved;
use timeline::Timeline;
pub use timeline::{CpuSample, Pieces};
use twins::Twins;
use windows::Cutter;

use crate::capture::{Capture, CaptureInfo, NameStyle, ProcessCounters};
use crate::perf::Reading;
use crate::stack::refined;

/// Sentences kept. Arbitrary, only bounds memory and the reader's patience.
const NOTES_MAX: usize = 256;

/// Processes known at once: workers of a full node, many times over.
const PROCESSES_MAX: usize = 1 << 16;

/// Launching threads whose kernel number is told. A worker launches from two or three.
const THREADS_MAX: usize = 1 << 16;

/// A thread whose name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnnamedThread {
    pub process: ProcessKey,
    pub pid: u32,
    pub thread: Thread,
}

/// Feeds a session and keeps what its outputs need.
#[derive(Debug)]
pub struct Pipeline {
    session: Session,
    info: CaptureInfo,
    stacks: StackTable,
    twins: Twins,
    host: Host,
    processes: HashMap<ProcessKey, ProcessInfo>,
    counters: BTreeMap<ProcessKey, Reading>,
    /// The process that had this PID last.
    by_pid: HashMap<u32, ProcessKey>,
    /// Kernel's number of a shim's thread, as the session was told.
    threads: HashMap<(ProcessKey, u32), Thread>,
    threads_refused: u64,
    notes_refused: u64,
    processes_refused: u64,
    cpu_without_stack: u64,
    /// `Some`: the observation is cut into windows.
    cutter: Option<Cutter>,
    timeline: Timeline,
    memory: Memory,
}

impl Pipeline {
    /// For live rings and our recordings.
    pub fn marked() -> Self {
        Self::new(Mode::Marked)
    }

    /// For foreign traces, which have no marks.
    pub fn whole() -> Self {
        Self::new(Mode::Whole)
    }

    fn new(mode: Mode) -> Self {
        Self {
            session: Session::new(Options { mode, start: None }),
            info: CaptureInfo::default(),
            stacks: StackTable::default(),
            twins: Twins::default(),
            host: Host::default(),
            processes: HashMap::new(),
            counters: BTreeMap::new(),
            by_pid: HashMap::new(),

            threads: HashMap::new(),
            threads_refused: 0,
            notes_refused: 0,
            processes_refused: 0,
            cpu_without_stack: 0,
            cutter: None,
            timeline: Timeline::default(),
            memory: Memory::default(),
        }
    }

    /// With these rules for the names of kernels instead of the built-in ones.
    #[must_use]
    pub fn classified_by(mut self, classifier: Classifier) -> Self {
        self.session.classify_by(classifier);
        self
    }

    /// From here on the observation is cut into windows, for [`Pipeline::finish_windows`].
    pub fn cut_windows(&mut self) {
        self.cutter.get_or_insert_default();
    }

    /// Takes one input. Never fails: what is wrong becomes a defect of the report or a note.
    pub fn feed(&mut self, input: Input) {
        match input {
            Input::Start(Start { command, source, started_unix, cpu_hz, memory_step_ns }) => {
                self.memory.step(memory_step_ns);
                self.info.command = command;
                self.info.source = source;
                self.info.started_unix = started_unix;
                self.info.cpu_hz = cpu_hz;
            }
            Input::Device { device, info } => {
                self.info.simulated |= info.simulated;
                self.ingest(Event::Device { device, info });
            }
            Input::Process { process, info } => self.introduce(process, info),
            Input::Ordinal { process, ordinal, device } => {
                self.session.ingest(Event::Ordinal { process, ordinal, device });
            }
            Input::Unopened { process, ordinal } => {
                self.session.ingest(Event::Unopened { process, ordinal });
            }
            Input::Name { process, id, name } => {
                self.session.ingest(Event::Name { process, id, name });
            }
            Input::Records { process, payloads } => {
                for payload in &payloads {
                    match decode::record(process, payload) {
                        Ok(event) => self.ingest(event),
                        Err(defect) => self.session.note(defect),
                    }
                }
                self.cut();
            }
            Input::Graphs { process, first, entries } => {
                // A recording may claim positions that no table has.
                for (position, words) in (first..u32::MAX).zip(&entries) {
                    match decode::graph_entry(process, position, words) {
                        Ok(event) => self.session.ingest(event),
                        Err(defect) => self.session.note(defect),
                    }
                }
            }
            Input::CaptureStack { process, entries, addresses } => {
                if let Some(stack) = self.stacks.intern(process, addresses) {
                    for entry in entries {
                        self.session.ingest(Event::CaptureStack { process, entry, stack });
                    }
                }
            }
            Input::KernelEvent(bytes) => match decode::kernel_event(&bytes) {
                Ok(event) => self.kernel_event(event),
                Err(defect) => self.session.note(defect),
            },
            Input::Symbols { process, symbols } => {
                self.stacks.add_symbols(process, symbols);
                for same in self.twins.named(process, &self.stacks) {
                    self.memory.unite(same);
                }
            }
            Input::Counters { process, reading } => {
                // A process that is not introduced has no row to stand in.
                if self.processes.contains_key(&process) {
                    self.counters.insert(process, reading);
                }
            }
            Input::ThreadName { process, thread, name } => self.host.name((process, thread), name),
            Input::Resident { process, at, resident } => {
                self.memory.resident(process, at, resident);
            }
            Input::PagesGone { process, at, pages } => self.memory.gone(process, at, &pages),
            Input::Clock(at) => self.memory.at(at),
            Input::Note(note) => self.note(note),
            Input::Attached { process, at } => {
                self.memory.attached(process, at);
                self.session.ingest(Event::Attached { process, at });
            }
            Input::Ended { process, at } => {
                self.memory.ended(process, at);
                self.session.ingest(Event::Ended { process, at });
            }
            Input::Limit(end) => {
                self.host.limit(end);
                self.session.limit_end(end);
            }
            Input::Foreign(event) => {
                // Only a mark makes time final.
                let mark = matches!(event, Event::Mark(_));
                self.ingest(event);
                if mark {
                    self.cut();
                }
            }
        }
    }

    fn cut(&mut self) {
        if let Some(cutter) = &mut self.cutter {
            cutter.look(&self.session);
        }
    }

    fn ingest(&mut self, event: Event) {
        self.timeline.watch(&event);
        match &event {
            Event::Memory(call) => self.memory.call(call),
            Event::Mark(mark) => self.memory.process_at(mark.process, mark.flush),
            _ => {}
        }
        self.session.ingest(event);
    }

    /// Addresses seen since the last call that no symbols were fed for. Whoever observes live
    /// answers with [`Input::Symbols`] while the process is there.
    pub fn take_unresolved(&mut self) -> Vec<Unresolved> {
        self.stacks.take_unresolved(|process| self.processes.get(&process).map(|info| info.pid))
    }

    /// Threads met since the last call that have no name yet. Whoever observes live answers with
    /// [`Input::ThreadName`] where a thread has a name of its own.
    pub fn take_unnamed_threads(&mut self) -> Vec<UnnamedThread> {
        let threads = self.host.take_unasked().into_iter();
        let told = threads.filter_map(|(process, thread)| {
            let pid = self.processes.get(&process)?.pid;
            Some(UnnamedThread { process, pid, thread })
        });
        told.collect()
    }

    /// The instant up to which every device is final, if any is.
    pub fn watermark(&self) -> Option<Ns> {
        self.session.watermark()
    }

    /// Entry of the oldest launch of a process that is open for longer than launches are waited for.
    pub fn oldest_open(&self, process: ProcessKey) -> Option<Ns> {
        self.session.oldest_open(process)
    }

    /// As the report of [`Pipeline::capture`], without names, kernels and stacks: cheap, whatever
    /// was seen.
    pub fn summary(&self) -> Report {
        self.session.summary()
    }

    /// What is final so far, for live views. Counters only grow from one call to the next.
    pub fn capture(&self) -> Capture {
        let mut info = self.info.clone();
        let refused = [
            (
                self.stacks.refused(),
                "stacks found the stack table full: their time hangs under other stacks",
            ),
            (
                self.stacks.symbols_refused(),
                "addresses found the symbol table full: they show as numbers",
            ),
            (
                self.processes_refused,
                "processes found the process table full: they are not counted",
            ),
            (
                self.threads_refused,
                "launching threads found the thread table full: idle time behind their launches is explained without their state",
            ),
            (
                self.host.refused().samples,
                "CPU samples found the table of stacks by thread full: they are left out",
            ),
            (
                self.host.refused().places,
                "sleeps found the table of places full: their time stands under [stack not taken]",
            ),
            (
                self.host.refused().threads,
                "sleeps found the table of threads full: they are left out",
            ),
            (
                self.host.refused().stacks,
                "stacks of sleeping threads found their table full: the others share their time",
            ),
            (self.memory.refused(), "processes found no room: their memory is not counted"),
            (self.cpu_without_stack, "CPU samples came without a stack: they are left out"),
            (self.notes_refused, "further notes are not listed"),
        ];
        info.notes.extend(
            refused
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, text)| format!("{count} {text}")),
        );
        let (cpu, stacks) = (self.host.cpu(), self.stacks.resolved());
        let waits = self.host.waits(|stack, reason| {
            stacks.get(&stack).map_or(reason, |stack| refined(reason, &stack.frames))
        });
        Capture {
            info,
            report: self.session.report(),
            gil: host::gil(&cpu, &waits),
            stacks,
            cpu,
            waits,
            names: NameStyle::default(),

            counters: self
                .counters
                .iter()
                .map(|(&process, reading)| ProcessCounters { process, reading: reading.clone() })
                .collect(),
            memory: self.memory.tell(),
            threads: self.host.names().clone(),
            processes: self.processes.clone(),
        }
    }

    /// Ends the session: nothing more will come.
    pub fn finish(mut self) -> Capture {
        self.end();
        self.capture()
    }

    /// Ends the session and tells its windows, too: none unless [`Pipeline::cut_windows`] came first.
    pub fn finish_windows(mut self) -> (Capture, Vec<Figures>) {
        self.session.finish();
        self.cut();
        let windows = self.cutter.as_ref().map(Cutter::windows).unwrap_or_default();
        (self.capture(), windows)
    }

    /// As [`Pipeline::finish`], for who takes the last pieces of the timeline first.
    pub fn end(&mut self) {
        self.session.finish();
    }

    fn introduce(&mut self, process: ProcessKey, info: ProcessInfo) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&process) {
            self.processes_refused += 1;
            return;
        }
        self.by_pid.insert(info.pid, process);
        self.processes.insert(process, info.clone());
        self.session.ingest(Event::Process { process, info });
    }

    fn kernel_event(&mut self, event: KernelEvent) {
        match event {
            KernelEvent::LaunchStack { tgid, tid, thread, correlation, addresses, .. } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                self.name_thread(process, thread, Thread(tid));
                // Without addresses or room the sample is missing, and the session counts that.
                if let Some(stack) = self.stacks.intern(process, addresses) {
                    self.session.ingest(Event::LaunchStack { process, correlation, stack });
                }
            }
            KernelEvent::CaptureStack { tgid, entry, addresses } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                // Without a stack the node's kernels say that it was not taken.
                if let Some(stack) = self.stacks.intern(process, addresses) {
                    self.session.ingest(Event::CaptureStack { process, entry, stack });
                }
            }
            KernelEvent::MemoryStack { tgid, tid, at, serial, addresses, .. } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                self.memory.at(at);
                // Without a stack the memory is there all the same.
                if let Some(stack) = self.stacks.intern(process, addresses) {
                    let first = self.twins.first(process, stack);
                    self.memory.stack(process, serial, (first, Thread(tid)));
                }
            }
            KernelEvent::PageStack { tgid, tid, at, address, pages, addresses } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                // Pages without a stack are in the whole.
                if let Some(stack) = self.stacks.intern(process, addresses) {
                    let stack = self.twins.first(process, stack);
                    let page = Page { thread: Thread(tid), stack, address, pages };
                    self.memory.touched(process, at, page);
                }
            }
            KernelEvent::CpuSample { tgid, tid, at, cpu, holds_gil, addresses } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                match self.stacks.intern(process, addresses) {
                    Some(stack) => {
                        let tid = Thread(tid);
                        self.host.sampled((process, tid), at, stack, holds_gil);
                        self.timeline.sample(CpuSample { process, tid, cpu, at, stack });
                        self.session.ingest(Event::Sampled(Sampled { process, tid, at, stack }));
                    }
                    None => self.cpu_without_stack += 1,
                }
            }
            KernelEvent::Wait { tgid, tid, from, to, signature } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                let blocked = Blocked { process, tid, from, to, signature };
                self.host.waited(&blocked);
                if self.host.explains(&blocked, tgid) {
                    self.session.ingest(Event::Blocked(blocked));
                }
            }
            KernelEvent::OffCpuStack { tgid, tid, at, signature, reason, holds_gil, addresses } => {
                let Some(process) = self.process_of(tgid) else {
                    return;
                };
                // Without a stack its time says that none was taken.
                if let Some(stack) = self.stacks.intern(process, addresses) {
                    let taken = Taken { signature, stack, reason, holds_gil };
                    let tid = Thread(tid);
                    self.host.taken((process, tid), at, taken);
                    self.session.ingest(Event::SleepStack { process, tid, signature, stack });
                }
            }
            // Discovery and the end of processes are told by `Process` and `Ended`.
            KernelEvent::Exec { .. } | KernelEvent::Exit { .. } => {}
        }
    }

    /// Only launch stacks know both numbers of a thread.
    fn name_thread(&mut self, process: ProcessKey, thread: u32, tid: Thread) {
        let key = (process, thread);
        if self.threads.get(&key) == Some(&tid) {
            return;
        }
        if self.threads.len() >= THREADS_MAX && !self.threads.contains_key(&key) {
            self.threads_refused += 1;
            return;
        }
        self.threads.insert(key, tid);
        self.session.ingest(Event::Thread { process, thread, tid });
        for blocked in self.host.launches((process, tid)) {
            self.session.ingest(Event::Blocked(blocked));
        }
    }

    fn process_of(&mut self, pid: u32) -> Option<ProcessKey> {
        let process = self.by_pid.get(&pid).copied();
        if process.is_none() {
            self.session.note(Defect::UnknownProcess { count: 1 });
        }
        process
    }

    fn note(&mut self, note: String) {
        if self.info.notes.contains(&note) {
            return;
        }
        if self.info.notes.len() < NOTES_MAX {
            self.info.notes.push(note);
        } else {
            self.notes_refused += 1;
        }
    }
}

#[cfg(test)]
mod tests;
