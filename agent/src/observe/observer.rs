//! The observation's one thread of control.

mod counting;
mod drain;
mod evidence;
mod faults;
mod flight;
mod govern;
mod guards;
mod losses;
mod meet;
mod neighbours;
mod python;
mod refused;
mod servers;
mod shimless;
mod sleepers;
mod weighing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use analysis::classify::Classifier;
use analysis::ids::{Ns, ProcessKey};
use thiserror::Error;
use wire::kernel::WaitEvent;
use wire::shim::{Level, OffReason};
use zerocopy::IntoBytes;

use super::clock::now;
use super::devices::Devices;
use super::keeper::Keeper;
use super::priority::Priority;
use super::select::Selection;
use super::standing::Standing;
use super::target::{Interest, Target};
use super::verify::Verification;
use crate::bpf::Bpf;
use crate::collect::Paces;
use crate::commands::{one_line as chain, screen};
use crate::flight::{Limits, Recorder};
use crate::govern::Governor;
use crate::govern::faults::Faults;
use crate::pipeline::{Input, Pipeline, Start, Symbol, UnnamedThread};
use crate::proc::{self, Discovery};
use crate::recording::{WriteError, Writer};
use crate::shim::{WorkerDevice, WorkerRing};
use crate::stack::{Maker, Place};
use crate::switch::{Looks, Turned};
use crate::symbols::{KernelNames, Symbols};
use evidence::Looker;
pub use evidence::{Evidence, Hanging, WorkerLogs};
use flight::Endings;
pub use flight::{Ending, HowEnded};
pub use guards::Guarded;
pub use losses::Drops;
pub(super) use neighbours::Neighbour;
use refused::Refusals;
pub use refused::{Refused, reason_text};
pub use shimless::Shimless;

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
    /// The rules for names of kernels.
    pub classifier: Classifier,
    /// Stacks are taken where shims pass their probe point.
    pub stacks: bool,
    /// What of memory is told; `None`: nothing.
    pub memory: Option<Watched>,
    /// How much of the latest past is kept in memory; `None`: nothing.
    pub flight: Option<Limits>,
}

/// Memory that is watched: what the kernel counts of every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// How often what is live is written down.
    pub step: Duration,
    /// And of CUDA every call that takes some or gives some back.
    pub calls: bool,
    /// And the host's heap, sampled.
    pub heap: bool,
    /// And who touches new pages, sampled.
    pub touches: bool,
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
    kernel_names: KernelNames,
    maker: Maker,
    targets: Vec<Target>,
    devices: Devices,
    next_key: u32,
    last_beat: Option<Instant>,
    clock_told: Option<Ns>,
    last_scan: Option<Instant>,
    last_count: Option<Instant>,
    last_weigh: Option<Instant>,
    /// What there is on this node.
    node: Discovery,
    refused: Refusals,
    ended: Vec<u32>,
    verifications: Vec<Verification>,
    /// Of targets that ended.
    past_drops: Drops,
    guarded: Guarded,
    yields: u64,
    governor: Option<Governor>,
    faults: Faults,
    paces: Paces,
    alerts: Vec<String>,
    standing: Standing,
    switch: Looks,
    priority: Arc<Priority>,
    /// Until the workers are let go.
    keeper: Option<Keeper>,
    flight: Option<Recorder>,
    endings: Endings,
    evidence: Looker,
}

impl Observer {
    /// The calling thread comes before ordinary ones from here on, while the observer lives. `bpf`: the loaded programs, or `None` where they cannot be had (the caller says why in a note).
    pub fn new(
        settings: Settings,
        start: Start,
        bpf: Option<Bpf>,
        writer: Option<Writer>,
    ) -> Result<Self, ObserveError> {
        let pipeline = Pipeline::marked().classified_by(settings.classifier.clone());
        let priority = Arc::new(Priority::start());
        priority.raise();
        let flight = settings.flight.map(Recorder::new);
        let keeper = Keeper::start(bpf.as_ref().map(Bpf::intake), Arc::clone(&priority));
        let mut observer = Self {
            settings,
            pipeline,
            writer,
            bpf,
            symbols: Symbols::new(),
            kernel_names: KernelNames::new(),
            maker: Maker::new(),
            targets: Vec::new(),
            devices: Devices::default(),
            next_key: 0,
            last_beat: None,
            clock_told: None,
            last_scan: None,
            last_count: None,
            last_weigh: None,
            node: Discovery::new(),
            refused: Refusals::default(),
            ended: Vec::new(),
            verifications: Vec::new(),
            past_drops: Drops::default(),
            guarded: Guarded::default(),
            yields: 0,
            governor: None,
            faults: Faults::read(Vec::new()),
            paces: Paces::default(),
            alerts: Vec::new(),
            standing: Standing::of_this_thread(),
            switch: Looks::default(),
            priority,
            keeper: Some(keeper),
            flight,
            endings: Endings::default(),
            evidence: Looker::default(),
        };
        observer.feed(Input::Start(start))?;
        observer.note_missing()?;
        observer.start_cpu_sampling()?;
        observer.start_touches()?;
        Ok(observer)
    }

    /// Adds a sentence to every output.
    pub fn note(&mut self, text: String) -> Result<(), ObserveError> {
        self.feed(Input::Note(text))
    }

    /// One round: heartbeat, look for processes, drain rings and kernel events, name addresses. To be called by the
    /// thread that made this observer: it comes before ordinary ones.
    pub fn turn(&mut self) -> Result<(), ObserveError> {
        if let Some(keeper) = &self.keeper {
            keeper.turn();
        }
        self.heed_the_switch()?;
        let due = self.last_scan.is_none_or(|at| at.elapsed() >= self.settings.scan_every);
        if due && !self.switch.is_off() {
            self.last_scan = Some(Instant::now());
            self.scan()?;
        }
        if self.last_beat.is_none_or(|at| at.elapsed() >= BEAT_EVERY) {
            self.last_beat = Some(Instant::now());
            self.rings().for_each(WorkerRing::beat);
        }
        self.drain()?;
        self.turn_cpu_sampling()?;
        self.turn_touches()?;
        self.count()?;
        self.weigh()?;
        self.guard()?;
        self.look_at_neighbours()?;
        self.hear_of_devices()?;
        self.govern(false)?;
        self.look_for_hangs();
        self.bury_the_dead()?;
        self.name_addresses()?;
        self.turn_flight();
        Ok(())
    }

    /// The operator switched everything off: nothing is observed.
    pub fn is_switched_off(&self) -> bool {
        self.switch.is_off()
    }

    /// Lets go of everything while the operator says so.
    fn heed_the_switch(&mut self) -> Result<(), ObserveError> {
        match self.switch.look() {
            Some(Turned::Off) => {
                let sentence = self.switch.sentence();
                screen::say(&format!("warplens: {sentence}"));
                while !self.targets.is_empty() {
                    self.release(0)?;
                }
                self.note(format!("{sentence}."))
            }
            Some(Turned::On) => {
                // Everything is to be met again, also what did not change since.
                self.node = Discovery::new();
                self.last_scan = None;
                screen::say("warplens: switched on again");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Tells of the threads that sleep still, each up to this instant: a thread that sleeps through is not
    /// heard of otherwise.
    pub fn look_at_sleepers(&mut self) -> Result<(), ObserveError> {
        let Some(bpf) = &self.bpf else {
            return Ok(());
        };
        let mut sleeping: Vec<WaitEvent> = Vec::new();
        let looked = bpf.all_sleepers(now().0, |wait| sleeping.push(wait));
        sleeping
            .into_iter()
            .try_for_each(|wait| self.feed(Input::KernelEvent(wait.as_bytes().to_vec())))?;
        looked.or_else(|error| {
            self.note(format!("Threads that slept on were not seen: {}.", chain(&error)))
        })
    }

    /// Nothing after `end` is reported.
    pub fn limit(&mut self, end: Ns) -> Result<(), ObserveError> {
        self.look_at_sleepers()?;
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
        self.refused.list()
    }

    /// Rings whose shim is not at the level asked for, with the reason. Empty once all are armed.
    pub fn unarmed(&self) -> Vec<Refused> {
        let below = |ring: &&WorkerRing| ring.status().level < Some(self.settings.level);
        // A guard's own doing has a note of its own.
        let awake = self.targets.iter().filter(|target| !target.guard.rests());
        awake
            .filter_map(|target| target.ring.as_ref())
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

    /// Living targets of the selection.
    pub fn targets_left(&self) -> usize {
        self.targets.iter().filter(|target| target.interest == Interest::Selected).count()
    }

    /// Living processes of the selection that have no ring, and no shim that says why.
    pub fn ringless(&self) -> Vec<u32> {
        let of = |target: &&Target| target.interest == Interest::Selected && target.ring.is_none();
        self.targets.iter().filter(of).map(|target| target.pid).collect()
    }

    /// Looks for processes and rings at the next turn, whenever it was done last.
    pub fn look_at_once(&mut self) {
        self.last_scan = None;
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

    /// Lets go of every worker. What was seen may still be named, by [`Observer::name`].
    pub fn let_go(&mut self) -> Result<(), ObserveError> {
        if self.keeper.take().is_none() {
            return Ok(());
        }
        self.count_all()?;
        for verification in self.verifications() {
            self.note(verification.to_string())?;
        }
        self.leave_governor();
        self.rings().for_each(|ring| ring.ask(Level::Dormant, 0));
        if let Some(note) = self.standing.note(self.priority.is_raised()) {
            self.note(note)?;
        }
        self.note_losses()?;
        self.bpf = None;
        // Everybody waits for names from here on.
        if let Some(thread) = self.symbols.thread() {
            self.priority.raise_thread(thread);
        }
        Ok(())
    }

    /// Whoever holds it keeps the calling thread, if it is the observing one, before ordinary ones.
    pub fn priority(&self) -> Arc<Priority> {
        Arc::clone(&self.priority)
    }

    /// Names what was seen, for up to `limit`; how many addresses are left.
    pub fn name(&mut self, limit: Duration) -> Result<u64, ObserveError> {
        let named = self.symbols.answers(limit);
        self.feed_names(named)?;
        Ok(self.symbols.open())
    }

    /// Lets go of every worker and closes the recording. What has no name yet stays without.
    pub fn finish(mut self) -> Result<Pipeline, ObserveError> {
        self.let_go()?;
        self.name(Duration::ZERO)?;
        self.symbols.give_up();
        self.name(Duration::ZERO)?;
        self.note_unnamed()?;
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        Ok(self.pipeline)
    }

    /// Somebody asked for stacks, of the CPU or of launches.
    fn wants_stacks(&self) -> bool {
        self.settings.cpu_hz > 0 || self.settings.level >= Level::Stacks
    }

    /// Stacks are taken that may go through Python: those, and of calls that take memory.
    fn wants_python(&self) -> bool {
        let calls = self.settings.memory.is_some_and(|watched| watched.calls || watched.heap);
        self.wants_stacks() || (calls && self.settings.stacks)
    }

    fn rings(&self) -> impl Iterator<Item = &WorkerRing> {
        self.targets.iter().filter_map(|target| target.ring.as_ref())
    }

    fn feed(&mut self, input: Input) -> Result<(), ObserveError> {
        if let Some(writer) = &mut self.writer {
            writer.write(&input)?;
        }
        if let Some(flight) = &mut self.flight {
            flight.take(&input, now());
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

    fn turn_cpu_sampling(&mut self) -> Result<(), ObserveError> {
        match self.bpf.as_mut().map_or(Ok(()), Bpf::turn_cpu_sampling) {
            Ok(()) => Ok(()),
            Err(error) => self.note(format!("CPUs were not sampled: {}.", chain(&error))),
        }
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
        for WorkerDevice { ordinal, uuid, opened } in ring.devices() {
            let told = target.ordinals.contains(&ordinal);
            let was_unopened = target.unopened.contains(&ordinal);
            if told && !(was_unopened && opened) {
                continue;
            }
            let (device, unseen) = self.devices.by_uuid(uuid, target.simulated);
            inputs.extend(unseen.map(|info| Input::Device { device, info }));
            inputs.push(Input::Ordinal { process, ordinal, device });
            if !told {
                target.ordinals.push(ordinal);
            }
            if opened {
                target.unopened.retain(|unopened| *unopened != ordinal);
            } else {
                target.unopened.push(ordinal);
                inputs.push(Input::Unopened { process, ordinal });
            }
        }
        if target.armed.is_none() && ring.status().armings > 0 {
            target.armed = Some(Instant::now());
        }
        if target.ordinals.is_empty() && ring.memory().is_full() && target.is_nameless() {
            // The driver does not name its devices: the first one is most likely the only one used.
            let (device, info) = self.devices.unnamed(target.simulated);
            target.ordinals.push(0);
            inputs.push(Input::Device { device, info });
            inputs.push(Input::Ordinal { process, ordinal: 0, device });
        }
        inputs.into_iter().try_for_each(|input| self.feed(input))
    }

    fn verification(&self, target: &Target) -> Option<Verification> {
        if !target.verified {
            return None;
        }
        let counts = self.bpf.as_ref()?.verify_counts(target.pid).ok().flatten()?;
        Some(Verification::new(target.pid, &counts, &target.ring.as_ref()?.status()))
    }

    fn name_addresses(&mut self) -> Result<(), ObserveError> {
        for UnnamedThread { process, pid, thread } in self.pipeline.take_unnamed_threads() {
            if let Some(name) = proc::thread_name(pid, thread.0) {
                self.feed(Input::ThreadName { process, thread, name })?;
            }
        }
        for unresolved in self.pipeline.take_unresolved() {
            let of = |wanted: fn(Place) -> bool| -> Vec<u64> {
                let bits = unresolved.addresses.iter().copied();
                bits.filter(|&bits| wanted(Place::from_bits(bits))).collect()
            };
            let python = of(|place| matches!(place, Place::Python(_)));
            let kernel = of(|place| matches!(place, Place::Kernel(_)));
            let user = of(|place| !matches!(place, Place::Python(_) | Place::Kernel(_)));
            let mut symbols: Vec<Symbol> = self.maker.name_python(&python);
            symbols.extend(self.kernel_names.resolve(self.bpf.as_mut(), &kernel));
            symbols.extend(self.symbols.ask(unresolved.process, unresolved.pid, &user));
            if !symbols.is_empty() {
                self.feed(Input::Symbols { process: unresolved.process, symbols })?;
            }
        }
        self.name(Duration::ZERO).map(|_open| ())
    }

    fn feed_names(&mut self, named: Vec<(ProcessKey, Vec<Symbol>)>) -> Result<(), ObserveError> {
        named
            .into_iter()
            .try_for_each(|(process, symbols)| self.feed(Input::Symbols { process, symbols }))
    }
}
