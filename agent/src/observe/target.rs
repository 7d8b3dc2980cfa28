//! One observed process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use analysis::event::ProcessInfo;
use analysis::ids::ProcessKey;
use wire::shim::{Level, SIMULATOR_SYMBOL};

use super::guard::{Guard, Tally};
use super::observer::Neighbour;
use super::touched::Touched;
use crate::govern::OomWatch;
use crate::govern::faults::Applied;
use crate::logs::LogSource;
use crate::perf::Counters;
use crate::proc::{self, Discovery, Residence};
use crate::shim::{WorkerRing, library_with};

/// How long a ring's records wait for the UUIDs of its devices.
const UUID_PATIENCE: Duration = Duration::from_secs(2);

/// How long a process may take until it calls itself by its final name: a worker does when its
/// process groups are set up, which waits for every rank of its node to start.
const TITLE_PATIENCE: Duration = Duration::from_mins(2);

/// Why a process is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// The selection covers it.
    Selected,
    /// It is the engine core of a selected worker: whether it sleeps says why the worker does.
    Engine,
}

/// What is known of a process's Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Python {
    /// It was not looked for since the process executed its program, or was not set up.
    Unknown,
    /// The kernel programs walk it.
    Walked,
    /// There is none, or one that cannot be read.
    None,
}

/// The counters of what a process does.
#[derive(Debug)]
pub(super) enum Counting {
    NotYet,
    Since(Counters),
    /// They cannot be had.
    Never,
}

/// What is asked of a shim, unless a guard has it rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) level: Level,
    /// Stacks per second and thread.
    pub(super) rate: u32,
    /// Bits of [`wire::shim::tell`].
    pub(super) tell: u32,
}

/// A process under observation.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) key: ProcessKey,
    pub(super) pid: u32,
    /// Tells a reused PID.
    pub(super) start_time: u64,
    pub(super) interest: Interest,
    /// As it was last described.
    pub(super) info: ProcessInfo,
    pub(super) ring: Option<WorkerRing>,
    pub(super) simulated: bool,
    /// Ordinals the pipeline knows.
    pub(super) ordinals: Vec<u32>,
    /// Those of them where the process has no context, as the pipeline knows it.
    pub(super) unopened: Vec<u32>,
    /// When it was first seen armed: only then can records wait for the names of devices.
    pub(super) armed: Option<Instant>,
    pub(super) since: Instant,
    pub(super) verified: bool,
    pub(super) asked: Asked,
    /// The shim's own thread, once it was looked for.
    pub(super) shim_thread: Option<u32>,
    pub(super) oom: Option<OomWatch>,
    pub(super) residence: Residence,
    pub(super) touched: Touched,
    /// Where its own log is, of one with a ring.
    pub(super) logs: Arc<Vec<LogSource>>,
    pub(super) guard: Guard,
    /// Came since the guard's last turn.
    pub(super) came: Tally,
    /// By CUPTI's count at that turn.
    pub(super) cupti_dropped: u64,
    /// How often the guard started over.
    pub(super) rearms: u64,
    pub(super) neighbour: Neighbour,
    pub(super) python: Python,
    /// Looks for Python that found none.
    pub(super) python_looks: u32,
    pub(super) counting: Counting,
    /// What is in force for it of known faults, and by the operator.
    pub(super) faults: Vec<Applied>,
    /// Nothing more will come: waiting for device names is pointless.
    pub(super) ends: bool,
}

impl Target {
    pub(super) fn new(
        key: ProcessKey,
        info: ProcessInfo,
        start_time: u64,
        interest: Interest,
        ring: Option<WorkerRing>,
        asked: Asked,
        ceiling: Level,
    ) -> Self {
        let pid = info.pid;
        let status = ring.as_ref().map(WorkerRing::status);
        let cupti_dropped = status.as_ref().map_or(0, |status| status.cupti_dropped);
        let simulated = status.as_ref().is_some_and(|status| status.simulated)
            // The shim is in the process's hands; the driver's own marker is looked up, too.
            || (status.is_some() && matches!(library_with(pid, SIMULATOR_SYMBOL, "libcuda.so"), Ok(Some(_))));
        Self {
            key,
            pid,
            start_time,
            interest,
            info,
            ring,
            simulated,
            ordinals: Vec::new(),
            unopened: Vec::new(),
            armed: None,
            since: Instant::now(),
            verified: false,
            asked,
            shim_thread: None,
            oom: OomWatch::of(pid),
            residence: Residence::new(pid),
            touched: Touched::default(),
            logs: Arc::default(),
            guard: Guard::new(ceiling.min(Level::Counting)),
            came: Tally::default(),
            cupti_dropped,
            rearms: 0,
            neighbour: Neighbour::of(status.as_ref()),
            python: Python::Unknown,
            python_looks: 0,
            counting: Counting::NotYet,
            faults: Vec::new(),
            ends: false,
        }
    }

    /// Asks the shim for what was decided; where a guard has it rest, for that as far as it goes.
    pub(super) fn ask(&self) {
        if let Some(ring) = &self.ring {
            let Asked { level, rate, tell } = self.asked;
            ring.ask_to_tell(tell);
            if self.guard.holds() {
                ring.ask(level.min(Level::Watching), 0);
            } else {
                ring.ask(level, rate);
            }
        }
    }

    /// The process is there and is the one we met.
    pub(super) fn lives(&self) -> bool {
        proc::runs_since(self.pid, self.start_time)
    }

    /// Its description where that differs from the last one.
    pub(super) fn renamed(&mut self, node: &Discovery) -> Option<ProcessInfo> {
        // What is known of members of servers costs nothing to ask for.
        if node.find(self.pid).is_none() && self.since.elapsed() > TITLE_PATIENCE {
            return None;
        }
        let mut info = node.describe(self.pid);
        // Whose frontend died is of the same server still.
        if self.info.server != 0 {
            info.server = self.info.server;
        }
        // A process that is gone calls itself nothing.
        if info == self.info || info.title.is_empty() {
            return None;
        }
        self.info = info.clone();
        Some(info)
    }

    /// Records may be fed: their devices are known, or will not be.
    pub(super) fn ready(&self) -> bool {
        // Without a driver there are no devices to wait for.
        let no_driver = self.ring.as_ref().is_some_and(|ring| !ring.has_driver());
        self.ends || no_driver || !self.ordinals.is_empty() || self.is_nameless()
    }

    /// Records wait for the names of devices, and the driver does not tell them.
    pub(super) fn is_nameless(&self) -> bool {
        self.armed.is_some_and(|armed| self.ends || armed.elapsed() > UUID_PATIENCE)
    }
}
