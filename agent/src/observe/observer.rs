//! The observation's one thread of control.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use analysis::ids::{Ns, ProcessKey};
use thiserror::Error;
use wire::shim::{Level, OffReason, Payload};

use super::clock::now;
use super::devices::Devices;
use super::select::Selection;
use super::target::{Target, TargetState};
use super::verify::Verification;
use crate::bpf::Bpf;
use crate::commands::one_line as chain;
use crate::pipeline::{Input, Pipeline, Start, Symbol};
use crate::proc;
use crate::recording::{WriteError, Writer};
use crate::shim::{self, WorkerRing};
use crate::symbols::Symbols;

/// Records taken from one ring in one turn: keeps a flood in one worker from starving the others.
const DRAIN_LIMIT: usize = 1 << 16;
/// Between heartbeats; the shim's limit is 3 s.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// What to observe and how closely.
#[derive(Clone, Debug)]
pub struct Settings {
    pub selection: Selection,
    /// Level asked of every shim.
    pub level: Level,
    /// Launch stacks per second and thread.
    pub stack_rate: u32,
    /// CPU samples per second and processor; 0 = none.
    pub cpu_hz: u32,
    /// Count launches by uprobes on the driver, too. Costs microseconds per launch.
    pub verify: bool,
    /// Between looks for new processes.
    pub scan_every: Duration,
}

/// What was lost on the way, over all workers since the observation began. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Records that found a ring full, no activity buffer, or a thread that never finished them.
    pub ring: u64,
    pub cupti: u64,
    pub names: u64,
    pub graphs: u64,
}

impl Drops {
    fn of(ring: &WorkerRing) -> Self {
        let status = ring.status();
        Self {
            ring: status.lost.saturating_add(status.discarded).saturating_add(ring.abandoned()),
            cupti: status.cupti_dropped,
            names: status.names_full,
            graphs: status.graphs_full,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            ring: self.ring.saturating_add(other.ring),
            cupti: self.cupti.saturating_add(other.cupti),
            names: self.names.saturating_add(other.names),
            graphs: self.graphs.saturating_add(other.graphs),
        }
    }
}

/// A ring that was found and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub pid: u32,
    /// A privilege is missing.
    pub privilege: bool,
    /// One line: what, where, what to do.
    pub reason: String,
}

/// What ends an observation.
#[derive(Debug, Error)]
pub enum ObserveError {
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// See the module's text.
pub struct Observer {
    settings: Settings,
    pipeline: Pipeline,
    writer: Option<Writer>,
    bpf: Option<Bpf>,
    symbols: Symbols,
    targets: Vec<Target>,
    /// Processes looked at that are not targets, by PID and start time.
    passed_over: HashMap<u32, u64>,
    devices: Devices,
    next_key: u32,
    last_beat: Option<Instant>,
    last_scan: Option<Instant>,
    refused: Vec<Refused>,
    ended: Vec<u32>,
    verifications: Vec<Verification>,
    /// Of targets that ended.
    past_drops: Drops,
    records: Vec<Payload>,
}

impl Observer {
    /// `bpf`: the loaded programs, or `None` where they cannot be had (the caller says why in a note).
    pub fn new(
        settings: Settings,
        start: Start,
        bpf: Option<Bpf>,
        writer: Option<Writer>,
    ) -> Result<Self, ObserveError> {
        let mut observer = Self {
            settings,
            pipeline: Pipeline::marked(),
            writer,
            bpf,
            symbols: Symbols::new(),
            targets: Vec::new(),
            passed_over: HashMap::new(),
            devices: Devices::default(),
            next_key: 0,
            last_beat: None,
            last_scan: None,
            refused: Vec::new(),
            ended: Vec::new(),
            verifications: Vec::new(),
            past_drops: Drops::default(),
            records: Vec::new(),
        };
        observer.feed(Input::Start(start))?;
        observer.start_cpu_sampling()?;
        Ok(observer)
    }

    /// Adds a sentence to every output.
    pub fn note(&mut self, text: String) -> Result<(), ObserveError> {
        self.feed(Input::Note(text))
    }

    /// One round: heartbeat, look for processes, drain rings and kernel events, name addresses.
    pub fn turn(&mut self) -> Result<(), ObserveError> {
        if self.last_scan.is_none_or(|at| at.elapsed() >= self.settings.scan_every) {
            self.last_scan = Some(Instant::now());
            self.scan()?;
        }
        if self.last_beat.is_none_or(|at| at.elapsed() >= BEAT_EVERY) {
            self.last_beat = Some(Instant::now());
            self.rings().for_each(WorkerRing::beat);
        }
        self.drain_kernel_events()?;
        for index in 0..self.targets.len() {
            self.drain_ring(index)?;
        }
        self.bury_the_dead()?;
        self.name_addresses()
    }

    /// Nothing after `end` is reported.
    pub fn limit(&mut self, end: Ns) -> Result<(), ObserveError> {
        self.feed(Input::Limit(end))
    }

    /// The instant up to which everything is final.
    pub fn watermark(&self) -> Option<Ns> {
        self.pipeline.watermark()
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Rings that were found and cannot be used.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Rings whose shim is not at the level asked for, with the reason. Empty once all are armed.
    pub fn unarmed(&self) -> Vec<Refused> {
        let below = |ring: &&WorkerRing| ring.status().level < Some(self.settings.level);
        self.rings()
            .filter(below)
            .map(|ring| {
                let status = ring.status();
                let off = status.off_reason.is_some_and(|reason| reason != OffReason::None);
                let reason = if off {
                    reason_text(status.off_reason, status.cupti_error)
                } else {
                    "its shim does not answer".to_owned()
                };
                Refused {
                    pid: ring.pid(),
                    privilege: false,
                    reason: format!("the ring of process {} is of no use: {reason}", ring.pid()),
                }
            })
            .collect()
    }

    /// PIDs of targets that ended.
    pub fn ended(&self) -> &[u32] {
        &self.ended
    }

    /// The kernel programs are loaded.
    pub fn has_programs(&self) -> bool {
        self.bpf.is_some()
    }

    /// Living targets.
    pub fn targets_left(&self) -> usize {
        self.targets.len()
    }

    /// Living targets.
    pub fn targets(&self) -> Vec<TargetState> {
        self.targets
            .iter()
            .map(|target| TargetState {
                pid: target.pid,
                title: proc::describe(target.pid).title,
                level: target.ring.as_ref().and_then(|ring| ring.status().level),
                simulated: target.simulated,
            })
            .collect()
    }

    /// Rings held by this observation.
    pub fn ring_count(&self) -> usize {
        self.rings().count()
    }

    /// Every ring has the level that was asked for, or says why not.
    pub fn armed(&self) -> bool {
        self.rings().map(WorkerRing::status).all(|status| {
            status.level >= Some(self.settings.level)
                || status.off_reason.is_some_and(|reason| reason != OffReason::None)
        })
    }

    /// What was lost on the way so far.
    pub fn drops(&self) -> Drops {
        self.rings().map(Drops::of).fold(self.past_drops, Drops::plus)
    }

    /// Counts of verification mode, of targets that ended and of those that live.
    pub fn verifications(&self) -> Vec<Verification> {
        let live = self.targets.iter().filter_map(|target| self.verification(target));
        self.verifications.iter().copied().chain(live).collect()
    }

    /// Lets go of every worker and closes the recording.
    pub fn finish(mut self) -> Result<Pipeline, ObserveError> {
        for verification in self.verifications() {
            self.note(verification.to_string())?;
        }
        self.note_losses()?;
        self.rings().for_each(|ring| ring.ask(Level::Dormant, 0));
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        Ok(self.pipeline)
    }

    fn rings(&self) -> impl Iterator<Item = &WorkerRing> {
        self.targets.iter().filter_map(|target| target.ring.as_ref())
    }

    fn feed(&mut self, input: Input) -> Result<(), ObserveError> {
        if let Some(writer) = &mut self.writer {
            writer.write(&input)?;
        }
        self.pipeline.feed(input);
        Ok(())
    }

    fn start_cpu_sampling(&mut self) -> Result<(), ObserveError> {
        let hz = self.settings.cpu_hz;
        let Some(bpf) = &mut self.bpf else {
            return Ok(());
        };
        if hz == 0 {
            return Ok(());
        }
        match bpf.start_cpu_sampling(hz) {
            Ok(_cpus) => Ok(()),
            Err(error) => self.note(format!("The CPU was not sampled: {}.", chain(&error))),
        }
    }

    /// Meets processes of the selection that were not met before.
    fn scan(&mut self) -> Result<(), ObserveError> {
        for pid in self.settings.selection.pids() {
            let Some(start_time) = proc::start_time(pid) else {
                continue;
            };
            let met = self.targets.iter().any(|target| {
                target.pid == pid
                    && target.start_time == start_time
                    // A process that had no ring may have initialised CUDA by now.
                    && (target.ring.is_some() || !matches!(shim::find(pid), Ok(Some(_))))
            });
            let passed = self.passed_over.get(&pid) == Some(&start_time)
                && !matches!(shim::find(pid), Ok(Some(_)));
            if !met && !passed && pid != std::process::id() {
                self.meet(pid, start_time)?;
            }
        }
        Ok(())
    }

    fn meet(&mut self, pid: u32, start_time: u64) -> Result<(), ObserveError> {
        let ring = match shim::find(pid) {
            Ok(Some(location)) => match WorkerRing::attach(&location) {
                Ok(ring) => Some(ring),
                Err(error) => {
                    // Somebody else's, or not to be trusted: said once, not tried each second.
                    self.refused.push(Refused {
                        pid,
                        privilege: error.is_privilege(),
                        reason: chain(&error),
                    });
                    self.passed_over.insert(pid, start_time);
                    self.note(format!(
                        "GPU work of process {pid} is not seen: {}.",
                        chain(&error)
                    ))?;
                    None
                }
            },
            // Gone, or not ours to look at.
            Err(_) => return Ok(()),
            Ok(None) => None,
        };
        if ring.is_none() && !self.settings.selection.covers_ringless() {
            self.passed_over.insert(pid, start_time);
            return Ok(());
        }
        let known = self.targets.iter().position(|target| target.pid == pid);
        let key = if let Some(index) = known {
            // Met without a ring: the same process goes on under the same key.
            self.targets.remove(index).key
        } else {
            self.next_key += 1;
            ProcessKey(self.next_key - 1)
        };
        self.feed(Input::Process { process: key, info: proc::describe(pid) })?;
        if ring.is_some() {
            self.feed(Input::Attached { process: key, at: now() })?;
        }
        let mut target = Target::new(key, pid, start_time, ring);
        self.attach_programs(&mut target)?;
        if let Some(ring) = &target.ring {
            if !ring.memory().is_full() {
                let status = ring.status();
                let reason = reason_text(status.off_reason, status.cupti_error);
                self.note(format!("GPU work of process {pid} is not seen: {reason}."))?;
            }
            ring.ask(self.settings.level, self.settings.stack_rate);
        }
        self.targets.push(target);
        Ok(())
    }

    /// Watches the process, puts the stack probe into its shim and, in verification mode, counts
    /// at its driver: all before the shim is asked for a level, so that nothing is missed.
    fn attach_programs(&mut self, target: &mut Target) -> Result<(), ObserveError> {
        let pid = target.pid;
        let Some(bpf) = &mut self.bpf else {
            return Ok(());
        };
        let mut problems = Vec::new();
        if let Err(error) = bpf.watch(pid) {
            problems.push(format!("Process {pid} is not sampled: {}.", chain(&error)));
        }
        if target.ring.is_some() {
            let library = shim::library_with(pid, wire::shim::PROBE_SYMBOL, "warplens");
            match library {
                Ok(Some(library)) => {
                    if let Err(error) = bpf.attach_probe(pid, &library) {
                        problems
                            .push(format!("No launch stacks of process {pid}: {}.", chain(&error)));
                    }
                }
                _ => problems.push(format!(
                    "No launch stacks of process {pid}: no library with the probe point is mapped."
                )),
            }
            if self.settings.verify {
                let driver = shim::library_with(pid, "cuLaunchKernel", "libcuda.so");
                match driver {
                    Ok(Some(driver)) => match bpf.attach_verify(pid, &driver) {
                        Ok(_probes) => target.verified = true,
                        Err(error) => problems
                            .push(format!("Process {pid} is not verified: {}.", chain(&error))),
                    },
                    _ => problems.push(format!(
                        "Process {pid} is not verified: no driver library is mapped."
                    )),
                }
            }
        }
        problems.into_iter().try_for_each(|problem| self.note(problem))
    }

    fn drain_kernel_events(&mut self) -> Result<(), ObserveError> {
        let Some(bpf) = &mut self.bpf else {
            return Ok(());
        };
        let mut events = Vec::new();
        bpf.poll(|bytes| events.push(bytes.to_vec()));
        events.into_iter().try_for_each(|bytes| self.feed(Input::KernelEvent(bytes)))
    }

    fn drain_ring(&mut self, index: usize) -> Result<(), ObserveError> {
        self.introduce_devices(index)?;
        let mut records = std::mem::take(&mut self.records);
        let mut names = Vec::new();
        records.clear();
        let Some(target) = self.targets.get_mut(index) else {
            return Ok(());
        };
        let (process, ready) = (target.key, target.ready());
        let ring = target.ring.as_mut().filter(|ring| ready && ring.memory().is_full());
        if let Some(ring) = ring {
            ring.drain(DRAIN_LIMIT, &mut records, &mut names);
        }
        for (id, name) in names {
            self.feed(Input::Name { process, id, name })?;
        }
        if !records.is_empty() {
            let payloads = std::mem::take(&mut records);
            self.feed(Input::Records { process, payloads })?;
        }
        self.records = records;
        Ok(())
    }

    /// Tells the pipeline which device an ordinal of this worker is.
    fn introduce_devices(&mut self, index: usize) -> Result<(), ObserveError> {
        let Some(target) = self.targets.get_mut(index) else {
            return Ok(());
        };
        let Some(ring) = &target.ring else {
            return Ok(());
        };
        let process = target.key;
        let mut inputs = Vec::new();
        for (ordinal, uuid) in ring.devices() {
            if target.ordinals.contains(&ordinal) {
                continue;
            }
            target.ordinals.push(ordinal);
            let (device, unseen) = self.devices.by_uuid(uuid, target.simulated);
            inputs.extend(unseen.map(|info| Input::Device { device, info }));
            inputs.push(Input::Ordinal { process, ordinal, device });
        }
        if target.ordinals.is_empty() && ring.memory().is_full() && target.ready() {
            // The driver does not name its devices: the first one is most likely the only one used.
            let (device, info) = self.devices.unnamed(target.simulated);
            target.ordinals.push(0);
            inputs.push(Input::Device { device, info });
            inputs.push(Input::Ordinal { process, ordinal: 0, device });
        }
        inputs.into_iter().try_for_each(|input| self.feed(input))
    }

    fn bury_the_dead(&mut self) -> Result<(), ObserveError> {
        while let Some(index) = self.targets.iter().position(|target| !target.lives()) {
            // The mapping outlives the process: what it wrote last is still there.
            self.drain_ring(index)?;
            let target = self.targets.remove(index);
            self.verifications.extend(self.verification(&target));
            self.ended.push(target.pid);
            self.past_drops =
                target.ring.as_ref().map(Drops::of).into_iter().fold(self.past_drops, Drops::plus);
            if let Some(bpf) = &mut self.bpf
                && let Err(error) = bpf.unwatch(target.pid)
            {
                self.note(format!("Process {} stays watched: {}.", target.pid, chain(&error)))?;
            }
            self.feed(Input::Ended { process: target.key, at: now() })?;
        }
        Ok(())
    }

    fn verification(&self, target: &Target) -> Option<Verification> {
        if !target.verified {
            return None;
        }
        let counts = self.bpf.as_ref()?.verify_counts(target.pid).ok().flatten()?;
        Some(Verification::new(target.pid, &counts, &target.ring.as_ref()?.status()))
    }

    fn name_addresses(&mut self) -> Result<(), ObserveError> {
        for unresolved in self.pipeline.take_unresolved() {
            let symbols: Vec<Symbol> = self.symbols.resolve(unresolved.pid, &unresolved.addresses);
            if !symbols.is_empty() {
                self.feed(Input::Symbols { process: unresolved.process, symbols })?;
            }
        }
        Ok(())
    }

    /// What rings, shims and kernel programs lost, as notes.
    fn note_losses(&mut self) -> Result<(), ObserveError> {
        let mut notes = Vec::new();
        for ring in self.rings() {
            let (pid, status) = (ring.pid(), ring.status());
            for (count, what) in [
                (status.lost, "records found the ring full"),
                (status.discarded, "records found no free activity buffer"),
                (status.cupti_dropped, "records were dropped by CUPTI"),
                (ring.abandoned(), "records were never completed by their thread"),
                (status.names_full, "kernels have no name: the name area is full"),
                (status.graphs_full, "graph nodes found the graph table full"),
                (status.panics, "panics were caught in the shim, which turned itself off"),
            ] {
                if count > 0 {
                    notes.push(format!("Process {pid}: {count} {what}."));
                }
            }
        }
        if let Some(bpf) = &self.bpf
            && let Ok(counters) = bpf.counters()
        {
            for (count, what) in [
                (counters.ring_full, "stacks found the kernel's ring buffer full"),
                (counters.stack_failed, "stacks could not be walked"),
            ] {
                if count > 0 {
                    notes.push(format!("{count} {what}."));
                }
            }
        }
        let losses = self.symbols.losses();
        for (count, what) in [
            (losses.files, "mapped files could not be opened: their frames show as offsets"),
            (
                losses.too_late,
                "addresses belong to processes that ended before they could be named",
            ),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}."));
            }
        }
        notes.into_iter().try_for_each(|note| self.note(note))
    }
}

fn reason_text(reason: Option<OffReason>, cupti_error: u32) -> String {
    match reason {
        Some(OffReason::Configured) => "its shim is switched off by WARPLENS_LEVEL".to_owned(),
        Some(OffReason::CuptiMissing) => "its shim found no libcupti; install the CUPTI package that fits its CUDA runtime, or set WARPLENS_CUPTI".to_owned(),
        Some(OffReason::CuptiIncomplete) => "its libcupti lacks functions the shim needs; 12.0 or later is supported".to_owned(),
        Some(OffReason::CuptiRefused) => format!("CUPTI refused with error {cupti_error}"),
        Some(OffReason::CuptiTaken) => "another profiler holds CUPTI in it".to_owned(),
        Some(OffReason::System) => "the system refused its shim memory or a thread".to_owned(),
        Some(OffReason::Panicked) => "its shim failed and turned itself off".to_owned(),
        Some(OffReason::None) | None => "its shim gives no reason".to_owned(),
    }
}
