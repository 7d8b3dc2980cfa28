//! One observed worker: asks for a level, keeps the heartbeat, drains the ring.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use wire::limits::{DEVICES, GRAPH_ENTRIES, NAMES_BYTES, PRODUCERS, RING_SLOTS};
use wire::ring::{Consumer, Next};
use wire::shim::{
    Cursor, DEVICE_KNOWN, DEVICE_UNOPENED, FLAG_NO_DRIVER, FLAG_SIMULATED, Level, OffReason,
    Payload, record_kind,
};

use super::captures::{Captures, GraphNews};
use super::clock::Shift;
use super::{Location, Memory, OpenError};

/// A record reserved and not committed for this long, in a ring half full, is given up: its
/// producer is stuck or gone.
const STALL_LIMIT: Duration = Duration::from_secs(2);

/// A worker's ring, owned by this agent.
#[derive(Debug)]
pub struct WorkerRing {
    pid: u32,
    /// The mapping as `map_files` names it.
    link: PathBuf,
    memory: Arc<Memory>,
    position: u64,
    known_names: HashSet<u32>,
    captures: Captures,
    shift: Shift,
    stalled_since: Option<Instant>,
    /// Slots given up because their producer never committed.
    abandoned: u64,
}

/// Beats for a ring as long as somebody owns it.
#[derive(Debug)]
pub struct Pulse {
    memory: Weak<Memory>,
}

impl Pulse {
    /// [`WorkerRing::beat`]; `false` where nobody owns the ring any more.
    pub fn beat(&self) -> bool {
        self.memory.upgrade().is_some_and(|memory| {
            beat(&memory);
            true
        })
    }
}

fn beat(memory: &Memory) {
    memory.control().heartbeat.fetch_add(1, Ordering::Release);
}

/// What the shim says about itself. Untrusted; for display and comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub simulated: bool,
    pub level: Option<Level>,
    pub off_reason: Option<OffReason>,
    pub cupti_error: u32,
    pub cupti_version: u32,
    pub driver_version: u32,
    pub armed_ns: u64,
    pub armings: u64,
    pub launches: u64,
    pub graph_launches: u64,
    pub launches_failed: u64,
    pub stacks_sampled: u64,
    pub activities: u64,
    /// Time the shim spent in its completion callback, ns.
    pub completion_ns: u64,
    pub cupti_dropped: u64,
    pub lost: u64,
    pub discarded: u64,
    pub names_full: u64,
    pub graphs_full: u64,
    pub panics: u64,
    /// How often CUPTI was left to another tool.
    pub yields: u64,
    /// Time spent in launch and synchronisation callbacks, ns, estimated. 0 from a shim of wire version 3.
    pub callback_ns: u64,
    /// Bytes between two samples of the heap, on average; 0: it is not sampled, [`wire::shim::HEAP_CLOSED`]: it cannot be.
    pub heap_mean: u64,
    /// Samples of the heap that found no room.
    pub heap_refused: u64,
    /// 1: Python's own allocator is not looked into, because another tool has exchanged its functions.
    pub heap_without_python: u64,
}

impl WorkerRing {
    /// Becomes the owner of the ring at `location`.
    pub fn attach(location: &Location) -> Result<Self, OpenError> {
        let memory = Arc::new(Memory::open(location, true)?);
        let mut ring = Self {
            pid: location.pid,
            link: location.links.first().cloned().unwrap_or_default(),
            memory,
            position: 0,
            known_names: HashSet::new(),
            captures: Captures::default(),
            shift: Shift::of(location.pid),
            stalled_since: None,
            abandoned: 0,
        };
        ring.check_positions()?;
        ring.captures = Captures::new(ring.memory.graphs());
        ring.memory.control().observer.fetch_add(1, Ordering::Relaxed);
        if let Some(consumer) = ring.consumer(None) {
            ring.position = consumer.position();
        }
        Ok(ring)
    }

    /// Positions no shim reaches are told at once; lies told later only yield nonsense records.
    fn check_positions(&self) -> Result<(), OpenError> {
        let Some((cursors, _)) = self.memory.ring() else {
            return Ok(());
        };
        let load = |cursor: &Cursor| cursor.position.load(Ordering::Acquire);
        let what = if load(&cursors.head).wrapping_sub(load(&cursors.tail)) > RING_SLOTS as u64 {
            "at a position that cannot be"
        } else if load(&cursors.names) > NAMES_BYTES as u64 {
            "fuller of names than it is large"
        } else if load(&cursors.graphs) > GRAPH_ENTRIES as u64 {
            "fuller of graph nodes than it is large"
        } else {
            return Ok(());
        };
        Err(OpenError::Suspicious { pid: self.pid, what })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The process still has this ring: it has not become another program by `exec`.
    pub fn is_mapped(&self) -> bool {
        match fs::metadata(&self.link) {
            Ok(found) => self.memory.identity() == Some((found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Without the right to follow the link, that it is there has to do.
            Err(_) => fs::symlink_metadata(&self.link).is_ok(),
        }
    }

    /// Slots given up because their producer never committed.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Asks the shim for a level and a stack rate (per second and thread). One that sleeps tells nothing besides, whoever
    /// wakes it.
    pub fn ask(&self, level: Level, stack_rate: u32) {
        let control = self.memory.control();
        if level == Level::Dormant {
            control.tell.store(0, Ordering::Relaxed);
        }
        control.stack_rate.store(stack_rate, Ordering::Relaxed);
        control.level.store(level as u32, Ordering::Relaxed);
        self.beat();
    }

    /// Asks the shim to leave these [`wire::shim::feature`]s off, and no others.
    pub fn leave_off(&self, features: u32) {
        self.memory.control().without.store(features, Ordering::Relaxed);
    }

    /// Asks the shim to tell these [`wire::shim::tell`]s beside its level, and no others.
    pub fn ask_to_tell(&self, what: u32) {
        self.memory.control().tell.store(what, Ordering::Relaxed);
    }

    /// Says that the agent is there. At least once a second.
    pub fn beat(&self) {
        beat(&self.memory);
    }

    /// For a thread that beats while this one's is held up.
    pub fn pulse(&self) -> Pulse {
        Pulse { memory: Arc::downgrade(&self.memory) }
    }

    /// Entries of the graph table since the last call. Those of nodes that records already read
    /// refer to are among them.
    pub fn graph_news(&mut self) -> GraphNews {
        let Self { memory, captures, shift, .. } = self;
        let mut news = memory.graphs().map(|area| captures.read(area)).unwrap_or_default();
        for [.., time_ns, _kind] in &mut news.entries {
            *time_ns = shift.to_kernel(*time_ns);
        }
        news
    }

    /// Keeps the stack under which a graph entry was made, for agents after this one.
    pub fn keep_capture(&mut self, entry: u32, addresses: &[u64]) {
        let Self { memory, captures, .. } = self;
        if let Some(area) = memory.graphs() {
            captures.keep(area, entry, addresses);
        }
    }

    /// Capture stacks that found no room beside the graph table.
    pub fn captures_refused(&self) -> u64 {
        self.captures.refused()
    }

    /// Moves up to `limit` records to `records`, and the names they use for the first time to `names`.
    pub fn drain(
        &mut self,
        limit: usize,
        records: &mut Vec<Payload>,
        names: &mut Vec<(u32, String)>,
    ) {
        let mut give_up = false;
        let stalled_since = self.stalled_since;
        let mut stalled = None;
        let first = records.len();
        let Some(mut consumer) = self.consumer(Some(self.position)) else {
            return;
        };
        while records.len() - first < limit {
            match consumer.peek() {
                Next::Record(payload) => {
                    records.push(payload);
                    consumer.advance();
                }
                Next::Empty => break,
                Next::Pending => {
                    let now = Instant::now();
                    let since = stalled_since.unwrap_or(now);
                    let half_full = consumer.backlog() > RING_SLOTS as u64 / 2;
                    if half_full && now.duration_since(since) > STALL_LIMIT && !give_up {
                        give_up = true;
                        consumer.advance();
                        continue;
                    }
                    stalled = Some(since);
                    break;
                }
            }
        }
        consumer.release();
        let position = consumer.position();
        // Records read in this turn show that the stalled one was committed.
        let moved = records.len() > first;
        self.stalled_since =
            if moved && !give_up { stalled.map(|_| Instant::now()) } else { stalled };
        self.position = position;
        self.abandoned += u64::from(give_up);
        self.finish_records(&mut records[first..], names);
    }

    /// Moves everything that is left. Only for a process that writes no more: what is reserved and
    /// not committed is given up.
    pub fn drain_rest(&mut self, records: &mut Vec<Payload>, names: &mut Vec<(u32, String)>) {
        let first = records.len();
        let Some(mut consumer) = self.consumer(Some(self.position)) else {
            return;
        };
        let mut abandoned = 0;
        // A ring's worth bounds what a mapping shared with somebody else can feed us.
        for _ in 0..RING_SLOTS {
            match consumer.peek() {
                Next::Record(payload) => records.push(payload),
                Next::Pending => abandoned += 1,
                Next::Empty => break,
            }
            consumer.advance();
        }
        consumer.release();
        self.position = consumer.position();
        self.abandoned += abandoned;
        self.finish_records(&mut records[first..], names);
    }

    /// Brings records to the kernel's clock and looks up the names they use for the first time.
    fn finish_records(&mut self, records: &mut [Payload], names: &mut Vec<(u32, String)>) {
        for payload in records {
            self.shift.apply(payload);
            if let Some(id) = kernel_name(payload)
                && !self.known_names.contains(&id)
                && let Some(name) = self.memory.name(id)
            {
                self.known_names.insert(id);
                names.push((id, name));
            }
        }
    }

    fn consumer(&self, position: Option<u64>) -> Option<Consumer<'_>> {
        let (cursors, slots) = self.memory.ring()?;
        match position {
            None => Consumer::new(cursors, slots),
            Some(position) => Consumer::at(cursors, slots, position),
        }
    }

    /// UUIDs of the worker's devices by ordinal, as far as the shim knows them.
    pub fn devices(&self) -> Vec<WorkerDevice> {
        devices(&self.memory)
    }

    /// Its process had a CUDA driver when the shim was brought in.
    pub fn has_driver(&self) -> bool {
        self.memory.header().flags & FLAG_NO_DRIVER == 0
    }

    /// What the stats page says.
    pub fn status(&self) -> Status {
        status(&self.memory)
    }
}

/// A device as a worker numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerDevice {
    pub ordinal: u32,
    pub uuid: [u8; 16],
    /// The worker has, or may have, a context there.
    pub opened: bool,
}

/// The devices a worker sees, of any ring, owned or not.
pub fn devices(memory: &Memory) -> Vec<WorkerDevice> {
    let entries = &memory.stats().devices;
    let device = |(ordinal, entry): (u32, &wire::shim::DeviceEntry)| {
        let known = entry.known.load(Ordering::Acquire);
        let words = [0, 1].map(|word: usize| entry.uuid[word].load(Ordering::Relaxed));
        (known & DEVICE_KNOWN != 0).then(|| WorkerDevice {
            ordinal,
            uuid: zerocopy::transmute!(words),
            opened: known & DEVICE_UNOPENED == 0,
        })
    };
    (0_u32..).zip(entries.iter().take(DEVICES)).filter_map(device).collect()
}

/// What the stats page of any ring says, owned or not.
pub fn status(memory: &Memory) -> Status {
    let stats = memory.stats();
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Status {
        simulated: memory.header().flags & FLAG_SIMULATED != 0,
        level: Level::from_word(stats.level.load(Ordering::Acquire)),
        off_reason: OffReason::from_word(stats.off_reason.load(Ordering::Relaxed)),
        cupti_error: stats.cupti_error.load(Ordering::Relaxed),
        cupti_version: stats.cupti_version.load(Ordering::Relaxed),
        driver_version: stats.driver_version.load(Ordering::Relaxed),
        armed_ns: load(&stats.armed_ns),
        armings: load(&stats.armings),
        launches: load(&stats.launches),
        graph_launches: load(&stats.graph_launches),
        launches_failed: load(&stats.launches_failed),
        stacks_sampled: load(&stats.stacks_sampled),
        activities: load(&stats.activities),
        completion_ns: load(&stats.completion_ns),
        cupti_dropped: load(&stats.cupti_dropped),
        lost: stats.lost.iter().take(PRODUCERS).map(load).fold(0, u64::saturating_add),
        discarded: load(&stats.activities_discarded),
        names_full: load(&stats.names_full),
        graphs_full: load(&stats.graphs_full),
        panics: load(&stats.panics),
        yields: load(&stats.yields),
        callback_ns: load(&stats.callback_ns),
        heap_mean: load(&stats.heap_mean),
        heap_refused: load(&stats.heap_refused),
        heap_without_python: load(&stats.heap_without_python),
    }
}

/// The name id of a kernel record. Only routes; `analysis::decode` gives the record its type.
fn kernel_name(payload: &Payload) -> Option<u32> {
    let kind = payload[0] & u64::from(u16::MAX);
    let id = u32::try_from(payload[4] >> 32).ok()?;
    (kind == u64::from(record_kind::KERNEL) && id != 0).then_some(id)
}
