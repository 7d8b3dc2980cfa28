//! Work that has been launched and whose record is not out yet, per stream and in launch order; and
//! what shall become of each record.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim_channel::random::{Random, mix};
use sim_channel::{Work, lock};

use crate::config;

/// Shards keep launches of different streams out of each other's way.
const SHARDS: usize = 16;

/// Decided at launch, so that it does not depend on when anybody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Plain,
    Drop,
    /// No timestamps: the device had no room for them.
    Exhausted,
    /// No timestamps, if the stream's previous launch ended only after this one's call had returned.
    ZeroAfter {
        previous_end: u64,
    },
}

/// A record to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) work: Work,
    pub(crate) fate: Fate,
    /// Not handed out before this time, ns.
    pub(crate) held_until: u64,
    /// One record for a whole graph launch.
    pub(crate) whole_graph: bool,
}

/// A launch as the one after it in the stream sees it.
#[derive(Clone, Copy, Debug)]
struct Previous {
    correlation: u32,
    end: u64,
    /// Every record of it will come, with timestamps.
    sound: bool,
}

#[derive(Debug, Default)]
struct Stream {
    waiting: VecDeque<Queued>,
    last: Option<Previous>,
    before: Option<Previous>,
}

struct Shard {
    /// Not hashed: a thread's first hash asks the system for random numbers, where it may be cancelled, and libcuda holds
    /// the stream's lock.
    streams: BTreeMap<(u32, u32), Stream>,
    random: Option<Random>,
}

static QUEUES: [Mutex<Option<Shard>>; SHARDS] = [const { Mutex::new(None) }; SHARDS];
static WAITING: AtomicU64 = AtomicU64::new(0);
/// Graph nodes launched since the device's room for timestamps was made.
static NODES: AtomicU64 = AtomicU64::new(0);
/// Calls with a record that may lose its timestamps, and when they returned.
static EXITS: Mutex<Option<BTreeMap<u64, Option<u64>>>> = Mutex::new(None);

/// Records that are waiting.
pub(crate) fn waiting() -> u64 {
    WAITING.load(Ordering::Acquire)
}

/// Takes the work of one launch. Returns whether the exit time of its call is needed.
pub(crate) fn push(works: &[Work], whole_graph: bool) -> bool {
    let mut candidate = false;
    for work in works {
        let index = (work.context.wrapping_mul(31) + work.stream) as usize % SHARDS;
        let mut shard = lock(&QUEUES[index]);
        let shard = shard.get_or_insert_with(|| Shard {
            streams: BTreeMap::new(),
            random: Some(Random::new(config::get().seed ^ mix(index as u64 + 1))),
        });
        let Shard { streams, random } = shard;
        let stream = streams.entry((work.context, work.stream)).or_default();
        let queued = stream.admit(work, whole_graph, random.as_mut(), candidate);
        if let Fate::ZeroAfter { .. } = queued.fate {
            candidate = true;
            lock(&EXITS).get_or_insert_default().insert(work.call, None);
        }
        stream.waiting.push_back(queued);
    }
    WAITING.fetch_add(works.len() as u64, Ordering::AcqRel);
    candidate
}

/// Notes when a call returned.
pub(crate) fn call_exit(sequence: u64, time: u64) {
    if let Some(exit) = lock(&EXITS).as_mut().and_then(|exits| exits.get_mut(&sequence)) {
        *exit = Some(time);
    }
}

/// Kernel records are switched on: the device makes room for timestamps.
pub(crate) fn make_room() {
    if config::get().exhaust.is_some_and(|exhaust| !exhaust.forever) {
        NODES.store(0, Ordering::Relaxed);
    }
}

/// Whether this is a graph node for whose timestamps the device has no room.
fn exhausted(work: &Work) -> bool {
    config::get().exhaust.is_some_and(|exhaust| {
        work.graph_node != 0 && NODES.fetch_add(1, Ordering::Relaxed) >= exhaust.nodes
    })
}

/// Whether a record keeps its timestamps: decided once the work has ended or nobody waits any more.
pub(crate) fn keeps_times(queued: &Queued) -> bool {
    let previous_end = match queued.fate {
        Fate::ZeroAfter { previous_end } => previous_end,
        Fate::Exhausted => return false,
        Fate::Plain | Fate::Drop => return true,
    };
    let exit = lock(&EXITS).as_mut().and_then(|exits| exits.remove(&queued.work.call)).flatten();
    // Without an exit the call is still open although the work, and so the previous launch, is over.
    exit.is_none_or(|exit| previous_end <= exit)
}

/// Takes out what has ended by `now`, or everything. In launch order within a stream.
pub(crate) fn take(now: u64, everything: bool) -> Vec<Queued> {
    let mut taken = Vec::new();
    for queue in &QUEUES {
        let mut shard = lock(queue);
        let Some(shard) = shard.as_mut() else {
            continue;
        };
        for stream in shard.streams.values_mut() {
            let ended = stream.waiting.iter().take_while(|queued| queued.work.end <= now).count();
            let count = if everything { stream.waiting.len() } else { ended };
            taken.extend(stream.waiting.drain(..count));
        }
    }
    WAITING.fetch_sub(taken.len() as u64, Ordering::AcqRel);
    taken
}

impl Stream {
    /// Decides what becomes of a record; at most one of a call may lose its timestamps.
    fn admit(
        &mut self,
        work: &Work,
        whole_graph: bool,
        random: Option<&mut Random>,
        one_already: bool,
    ) -> Queued {
        if self.last.is_none_or(|last| last.correlation != work.correlation) {
            self.before = self.last.take();
        }
        let last = self.last.get_or_insert(Previous {
            correlation: work.correlation,
            end: 0,
            sound: true,
        });
        last.end = last.end.max(work.end);
        let mut queued = Queued { work: *work, fate: Fate::Plain, held_until: 0, whole_graph };
        let Some(random) = random else { return queued };
        let config = config::get();
        let previous = self.before.filter(|before| before.sound && before.end > work.launched);
        if random.chance(config.drop_permille) {
            queued.fate = Fate::Drop;
            last.sound = false;
        } else if exhausted(work) {
            queued.fate = Fate::Exhausted;
            last.sound = false;
        } else if random.chance(config.zero_permille)
            && !one_already
            && let Some(previous) = previous
        {
            queued.fate = Fate::ZeroAfter { previous_end: previous.end };
            last.sound = false;
        }
        if random.chance(config.late_permille) {
            queued.held_until = work.end + random.below(config.late_max_ns + 1);
        }
        queued
    }
}
