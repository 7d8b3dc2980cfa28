//! The shared memory of one shim: layout, control and stats pages, and the 64-byte records.
//!
//! ```text
//! offset 0        Header      written once by the shim before the mapping is visible
//!        4096     Control     written by the agent
//!        8192     Stats       written by the shim (two pages)
//!        16384    RingCursors head (shim), tail (agent), each on its own cache line
//!        20480    records     RING_SLOTS x 64 bytes
//!        ...      names       NAMES_BYTES, append-only
//!        ...      graphs      GRAPH_ENTRIES x 40 bytes, append-only
//!        ...      captures    GRAPH_ENTRIES x 4 bytes, written by the agent
//!        ...      stacks      CAPTURE_WORDS x 8 bytes, append-only, written by the agent
//! ```
//! A shim that found no usable CUPTI keeps only the first [`SMALL_BYTES`] (flag `STATS_ONLY`).

mod memory;

use core::sync::atomic::{AtomicU32, AtomicU64};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use memory::{MEMORY_STACK, MemoryRecord, NO_DEVICE, memory_operation, memory_place};

use crate::limits::{CAPTURE_WORDS, DEVICES, GRAPH_ENTRIES, NAMES_BYTES, PRODUCERS, RING_SLOTS};

/// Name of the memfd; `/proc/PID/maps` shows it as `/memfd:warplens-ring (deleted)`.
pub const MEMFD_NAME: &str = "warplens-ring";

/// First eight bytes of the mapping.
pub const MAGIC: u64 = u64::from_le_bytes(*b"WARPLENS");

/// Symbol of the shim's probe point: `(correlation, weight, thread, key)` in argument registers.
pub const PROBE_SYMBOL: &str = "warplens_probe_launch";

/// Symbol that only the simulated CUDA exports.
pub const SIMULATOR_SYMBOL: &str = "warplens_simulated_cuda";

pub const PAGE: usize = 4096;
pub const HEADER_OFFSET: usize = 0;
pub const CONTROL_OFFSET: usize = PAGE;
pub const STATS_OFFSET: usize = 2 * PAGE;
pub const CURSORS_OFFSET: usize = 4 * PAGE;
/// Size of a `STATS_ONLY` mapping: header, control, stats.
pub const SMALL_BYTES: usize = CURSORS_OFFSET;
pub const RING_OFFSET: usize = 5 * PAGE;
pub const SLOT_BYTES: usize = 64;
pub const NAMES_OFFSET: usize = RING_OFFSET + RING_SLOTS * SLOT_BYTES;
pub const GRAPHS_OFFSET: usize = NAMES_OFFSET + NAMES_BYTES;
pub const GRAPH_ENTRY_BYTES: usize = 40;
/// One `u32` per graph entry: where in the stack area the stack lies under which the entry was made,
/// as a word position; 0: nobody took it.
pub const CAPTURES_OFFSET: usize =
    (GRAPHS_OFFSET + GRAPH_ENTRIES * GRAPH_ENTRY_BYTES).next_multiple_of(PAGE);
/// Stacks: a word with the number of frames, then as many instruction pointers, leaf first. Word 0
/// stays free.
pub const CAPTURE_STACKS_OFFSET: usize = CAPTURES_OFFSET + GRAPH_ENTRIES * size_of::<u32>();
/// Size of a full mapping.
pub const TOTAL_BYTES: usize = CAPTURE_STACKS_OFFSET + CAPTURE_WORDS * size_of::<u64>();

/// `Header::flags`: the CUDA driver in this process is the simulator.
pub const FLAG_SIMULATED: u32 = 1;
/// `Header::flags`: no ring, names or graphs follow the stats page.
pub const FLAG_STATS_ONLY: u32 = 2;
/// `Header::flags`: the process had no CUDA driver, and so has no device. From version 5 on.
pub const FLAG_NO_DRIVER: u32 = 4;

/// Start of the mapping. All offsets are the constants of this module: a reader compares
/// `wire_version` and `total_bytes` and trusts no other number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    pub magic: u64,
    pub wire_version: u32,
    pub flags: u32,
    pub total_bytes: u64,
    /// When the driver loaded the shim, `CLOCK_MONOTONIC` ns.
    pub loaded_ns: u64,
    /// The process as it sees itself (its own PID namespace).
    pub pid: u32,
    pub reserved: u32,
    /// Version text of the shim, NUL-padded.
    pub shim_version: [u8; 32],
}

/// What a shim may do; each level includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Not subscribed to CUPTI, every activity kind off.
    Dormant = 0,
    /// Subscribed to graph, module and context resource callbacks only.
    Watching = 1,
    /// Every kernel, copy, launch and synchronisation recorded.
    Counting = 2,
    /// And launches sampled into the probe point.
    Stacks = 3,
}

impl Level {
    /// The level of a word in shared memory; an unknown word is `None`.
    pub fn from_word(word: u32) -> Option<Self> {
        [Self::Dormant, Self::Watching, Self::Counting, Self::Stacks]
            .into_iter()
            .find(|&level| level as u32 == word)
    }
}

/// What the agent asks. Written by the one agent that holds the lock on the memfd.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Control {
    /// Counts up at least once a second while an agent is there. A counter, not a time.
    pub heartbeat: AtomicU64,
    /// A [`Level`].
    pub level: AtomicU32,
    /// Stacks per second and thread the agent wants, at level `Stacks`.
    pub stack_rate: AtomicU32,
    /// PID of the agent, for messages only.
    pub agent_pid: AtomicU32,
    /// Counts observers. Stack sampling starts over when it changes, so that each of them sees every
    /// function's first launch.
    pub observer: AtomicU32,
    /// Bits of [`feature`]: what the shim is to leave off, also while no agent is there. From version 4 on.
    pub without: AtomicU32,
    /// Bits of [`tell`]: what the shim is to tell beside its level, from `Watching` on. From version 5 on.
    pub tell: AtomicU32,
}

/// What a shim tells when it is asked to (`Control::tell`).
pub mod tell {
    /// Every call that takes or gives back memory of a device, of the virtual-memory API or pinned memory, as
    /// [`MemoryRecord`](super::MemoryRecord)s.
    pub const MEMORY: u32 = 1;
    /// Blocks of the host's heap, sampled by bytes, as [`MemoryRecord`](super::MemoryRecord)s.
    pub const HEAP: u32 = 2;
}

/// What a shim can leave off (`Control::without`).
pub mod feature {
    /// Being armed again after it was disarmed: correlation ids of a CUPTI's later sessions may be wrong.
    pub const REARMING: u32 = 1;
    /// Callbacks on graphs and their nodes.
    pub const GRAPHS: u32 = 2;
    /// Stand-ins for CUPTI's functions, by which another profiler is noticed.
    pub const NEIGHBOURS: u32 = 4;
    /// Telling CUPTI that its buffers come zeroed.
    pub const ZEROED_BUFFERS: u32 = 8;
}

/// Why a shim is off or less than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OffReason {
    None = 0,
    /// `WARPLENS_LEVEL=off` or the like.
    Configured = 1,
    CuptiMissing = 2,
    CuptiIncomplete = 3,
    /// The first CUPTI call answered with an error; `Stats::cupti_error` has it.
    CuptiRefused = 4,
    /// Another tool is CUPTI's subscriber (error 39).
    CuptiTaken = 5,
    /// The system refused a thread, a mapping or a page the shim needs.
    System = 6,
    /// A Rust panic was caught at the boundary.
    Panicked = 7,
    /// The agent has it left off (`Control::without`). From version 4 on.
    Withheld = 8,
    /// The process has no CUDA driver: nothing but its heap can be told. From version 5 on.
    NoDriver = 9,
}

impl OffReason {
    pub fn from_word(word: u32) -> Option<Self> {
        [
            Self::None,
            Self::Configured,
            Self::CuptiMissing,
            Self::CuptiIncomplete,
            Self::CuptiRefused,
            Self::CuptiTaken,
            Self::System,
            Self::Panicked,
            Self::Withheld,
            Self::NoDriver,
        ]
        .into_iter()
        .find(|&reason| reason as u32 == word)
    }
}

/// One device as the worker numbers it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct DeviceEntry {
    /// The 16 UUID bytes, as two little-endian words.
    pub uuid: [AtomicU64; 2],
    /// [`DEVICE_KNOWN`] once `uuid` is written, with [`DEVICE_UNOPENED`] while the process has no primary context there.
    pub known: AtomicU64,
}

/// Of [`DeviceEntry::known`]: the UUID is written.
pub const DEVICE_KNOWN: u64 = 1;
/// Of [`DeviceEntry::known`]: the process has no primary context on the device, so no work. Not set where that is not
/// known. From version 4 on.
pub const DEVICE_UNOPENED: u64 = 2;

/// What the shim did, lost and refused. Counters only grow.
#[derive(Debug)]
#[repr(C)]
pub struct Stats {
    /// Level in force.
    pub level: AtomicU32,
    /// An [`OffReason`].
    pub off_reason: AtomicU32,
    /// The CUPTI error behind `off_reason`, or 0.
    pub cupti_error: AtomicU32,
    /// `cuptiGetVersion`'s answer, or 0.
    pub cupti_version: AtomicU32,
    /// `cuDriverGetVersion`'s answer, or 0.
    pub driver_version: AtomicU32,
    /// Set once the driver exported [`SIMULATOR_SYMBOL`].
    pub simulated: AtomicU32,
    /// Counts level changes to `Counting` or above.
    pub armings: AtomicU64,
    /// End of the latest arming, `CLOCK_MONOTONIC` ns: every launch after it is recorded.
    pub armed_ns: AtomicU64,
    /// Turns of the shim's control thread; stands still when that thread is stuck.
    pub turns: AtomicU64,
    /// Kernel and graph launch calls that succeeded, captured ones included, nested ones counted
    /// once, while the shim was armed. Copies are no launches.
    pub launches: AtomicU64,
    /// Of those, graph launches.
    pub graph_launches: AtomicU64,
    /// Launch calls the driver refused.
    pub launches_failed: AtomicU64,
    /// Launches that passed the probe point.
    pub stacks_sampled: AtomicU64,
    /// Activity records seen in completed buffers.
    pub activities: AtomicU64,
    /// Activity records of kinds nobody asked for.
    pub activities_foreign: AtomicU64,
    /// Time spent in the completion callback, ns: the shim's own cost per record.
    pub completion_ns: AtomicU64,
    /// Records CUPTI says it dropped.
    pub cupti_dropped: AtomicU64,
    /// Buffer requests answered with the discard buffer.
    pub buffers_refused: AtomicU64,
    /// Records written to the discard buffer.
    pub activities_discarded: AtomicU64,
    /// Names that found the area full.
    pub names_full: AtomicU64,
    /// Graph entries that found the table full.
    pub graphs_full: AtomicU64,
    /// Threads beyond `SAMPLED_THREADS`.
    pub threads_unslotted: AtomicU64,
    /// Panics caught at the boundary.
    pub panics: AtomicU64,
    /// Callbacks ignored because they came re-entrantly or out of order.
    pub callbacks_ignored: AtomicU64,
    /// Records that found the ring full, per producer.
    pub lost: [AtomicU64; PRODUCERS],
    pub devices: [DeviceEntry; DEVICES],
    /// How often CUPTI was left to another tool that asked for it. From version 4 on, as all that follows.
    pub yields: AtomicU64,
    /// Time spent in launch and synchronisation callbacks, ns. Estimated: stacks that were taken are timed, and of the
    /// rest one callback in [`CALLBACKS_PER_TIMED`](crate::limits::CALLBACKS_PER_TIMED), which stands for that many.
    pub callback_ns: AtomicU64,
    /// Memory records made, whether the ring had room or not. From version 5 on, as all that follows.
    pub memory_calls: AtomicU64,
    /// Bytes between two samples of the heap, on average; 0: it is not sampled, [`HEAP_CLOSED`]: it cannot be.
    pub heap_mean: AtomicU64,
    /// Samples of the heap that found no room and are not told.
    pub heap_refused: AtomicU64,
    /// 1: the heap is sampled but for what Python's own allocator hands out, whose functions another tool has exchanged.
    pub heap_without_python: AtomicU64,
}

/// `Stats::heap_mean`: the allocator's functions are not where they could be stood in for.
pub const HEAP_CLOSED: u64 = u64::MAX;

/// Reserve and commit positions. They only grow; slot = position % `RING_SLOTS`.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Cursor {
    pub position: AtomicU64,
    pub reserved: [AtomicU64; 7],
}

/// The cursors page: ring head and tail, and the fill of the append-only areas.
#[derive(Debug)]
#[repr(C)]
pub struct Cursors {
    /// Next position to reserve. Written by the shim.
    pub head: Cursor,
    /// Next position to read. Written by the agent.
    pub tail: Cursor,
    /// Bytes used in the names area. Written by the shim.
    pub names: Cursor,
    /// Entries used in the graph table. Written by the shim.
    pub graphs: Cursor,
    /// Words used in the stack area. Written by the agent.
    pub captures: Cursor,
}

/// One slot: seven words of payload and a stamp, `position + 1` once committed.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Slot {
    pub payload: [AtomicU64; 7],
    pub stamp: AtomicU64,
}

/// One entry of the graph table: five words, `kind_and_type` written last and never 0.
#[derive(Debug)]
#[repr(C)]
pub struct GraphSlot {
    /// Node or exec id the entry is about.
    pub node: AtomicU64,
    /// Node it was cloned from, or 0.
    pub original_node: AtomicU64,
    /// Graph id in the low half, original graph id in the high half.
    pub graphs: AtomicU64,
    /// `CLOCK_MONOTONIC` ns.
    pub time_ns: AtomicU64,
    /// [`graph_kind`] in the low half, CUDA's node type in the high half.
    pub kind_and_type: AtomicU64,
}

/// Values of the low half of `GraphSlot::kind_and_type`.
pub mod graph_kind {
    pub const NODE_CREATED: u32 = 1;
    /// By instantiation, by cloning a graph, or into a graph that it is a child of.
    pub const NODE_CLONED: u32 = 2;
    /// With all its nodes; they have no entries of their own for that.
    pub const GRAPH_DESTROYED: u32 = 4;
    pub const EXEC_CREATED: u32 = 5;
    pub const EXEC_DESTROYED: u32 = 6;
    /// `cuGraphExecUpdate`: its nodes became those of another graph, one by one. Which became which
    /// CUPTI tells in the work records from 13.4 on only.
    pub const EXEC_UPDATED: u32 = 7;
}

const _: () = {
    assert!(size_of::<Header>() <= PAGE);
    assert!(size_of::<Control>() <= PAGE);
    assert!(size_of::<Stats>() <= CURSORS_OFFSET - STATS_OFFSET);
    assert!(size_of::<Cursors>() <= PAGE);
    assert!(size_of::<Slot>() == SLOT_BYTES);
    assert!(size_of::<GraphSlot>() == GRAPH_ENTRY_BYTES);
    assert!(CAPTURE_STACKS_OFFSET.is_multiple_of(PAGE) && TOTAL_BYTES.is_multiple_of(PAGE));
    assert!(CAPTURE_WORDS <= u32::MAX as usize && GRAPH_ENTRIES <= u32::MAX as usize);
    assert!(RING_SLOTS.is_power_of_two());
};

/// Values of `RecordHead::kind`.
pub mod record_kind {
    pub const KERNEL: u16 = 1;
    pub const MEMCPY: u16 = 2;
    pub const MEMSET: u16 = 3;
    pub const LAUNCH: u16 = 4;
    pub const LAUNCH_FAILED: u16 = 5;
    pub const SYNC: u16 = 6;
    pub const MARK: u16 = 7;
    /// From version 5 on.
    pub const MEMORY: u16 = 8;
}

/// Payload of a slot before it is given a type.
pub type Payload = [u64; 7];

/// `KernelRecord::flags`, `CopyRecord::flags`: `graph_node` is the node that the executed one was made
/// from or last updated by, not the executed one.
pub const WORK_SOURCE_NODE: u8 = 1;

/// A kernel that ran. `start_ns == end_ns == 0`: CUPTI had no timestamps for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelRecord {
    pub kind: u16,
    pub producer: u16,
    pub flags: u32,
    /// `CLOCK_MONOTONIC` ns.
    pub start_ns: u64,
    pub end_ns: u64,
    /// Node of the executed graph, or its source with [`WORK_SOURCE_NODE`], or 0.
    pub graph_node: u64,
    pub correlation: u32,
    /// Name id: offset / 8 of its entry in the names area; 0 = the area was full.
    pub name: u32,
    pub stream: u32,
    /// Executed graph, or 0.
    pub graph: u32,
    pub device: u16,
    /// Blocks along x; `u16::MAX` for that and more.
    pub grid_x: u16,
    pub context: u32,
}

/// A copy or a set that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CopyRecord {
    pub kind: u16,
    pub producer: u16,
    /// CUPTI's copyKind; 0 for a set.
    pub copy_kind: u8,
    pub source_kind: u8,
    pub destination_kind: u8,
    pub flags: u8,
    pub start_ns: u64,
    pub end_ns: u64,
    pub graph_node: u64,
    pub correlation: u32,
    pub bytes_low: u32,
    pub stream: u32,
    pub graph: u32,
    pub device: u16,
    /// Bits 32..48 of the byte count.
    pub bytes_high: u16,
    pub context: u32,
}

/// `LaunchRecord::flags`: this launch passes the probe point when it returns.
pub const LAUNCH_SAMPLED: u32 = 1;
/// `LaunchRecord::flags`: a graph launch; its kernels come as many records.
pub const LAUNCH_GRAPH: u32 = 2;
/// `LaunchRecord::flags`: a copy or a set, not a kernel.
pub const LAUNCH_COPY: u32 = 4;
/// `LaunchRecord::callback`, `SyncRecord::callback`: the id belongs to the driver domain.
pub const CALLBACK_DRIVER: u32 = 1 << 31;

/// The entry of an outermost launch call, written before the driver sees it: a kernel that
/// starts before a [`MarkRecord`]'s time has its launch in front of that mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LaunchRecord {
    pub kind: u16,
    pub producer: u16,
    pub flags: u32,
    pub enter_ns: u64,
    /// First argument that names what is launched (function or executable graph handle).
    pub function: u64,
    /// Thread, as the shim numbers them; stack events carry the same number beside the TID.
    pub thread: u32,
    /// Launches of this function a sampled launch stands for, including itself.
    pub weight: u32,
    pub correlation: u32,
    /// Callback id, with [`CALLBACK_DRIVER`].
    pub callback: u32,
    pub context: u32,
    pub reserved: u32,
    pub reserved2: u64,
}

/// `LaunchFailedRecord::flags`: the launch went into a graph under capture; nothing ran.
pub const FAILED_CAPTURED: u32 = 1;

/// The launch with this correlation id will have no work record: the driver refused it, or it was
/// captured into a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LaunchFailedRecord {
    pub kind: u16,
    pub producer: u16,
    pub flags: u32,
    pub correlation: u32,
    pub callback: u32,
    /// `CUresult` or `cudaError_t`; 0 for a captured one.
    pub result: u32,
    pub reserved: u32,
    pub reserved2: [u64; 4],
}

/// `SyncRecord::flags`: what was waited for.
pub const SYNC_CONTEXT: u32 = 1;
pub const SYNC_STREAM: u32 = 2;
pub const SYNC_EVENT: u32 = 3;

/// A synchronisation call that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyncRecord {
    pub kind: u16,
    pub producer: u16,
    pub flags: u32,
    pub enter_ns: u64,
    pub exit_ns: u64,
    /// Stream or event handle, or 0.
    pub handle: u64,
    pub correlation: u32,
    pub callback: u32,
    pub thread: u32,
    pub context: u32,
    pub result: u32,
    pub reserved: u32,
}

/// `MarkRecord::flags`: the shim is armed from `armed_ns` on.
pub const MARK_ARMED: u32 = 1;
/// `MarkRecord::flags`: last mark of an arming; no launch is recorded after it.
pub const MARK_LAST: u32 = 2;

/// End of a complete flush. Whatever CUPTI could deliver of the time before `flush_ns` is in
/// front of this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MarkRecord {
    pub kind: u16,
    pub producer: u16,
    pub flags: u32,
    /// Read before the flush began, `CLOCK_MONOTONIC` ns.
    pub flush_ns: u64,
    /// `Stats::armed_ns` of this arming.
    pub armed_ns: u64,
    /// Records the shim failed to write so far, all producers, and records written to the
    /// discard buffer.
    pub lost: u64,
    /// Records CUPTI dropped so far.
    pub cupti_dropped: u64,
    /// `Stats::launches` at `flush_ns`.
    pub launches: u64,
    pub reserved: u64,
}

const _: () = {
    assert!(size_of::<KernelRecord>() == size_of::<Payload>());
    assert!(size_of::<CopyRecord>() == size_of::<Payload>());
    assert!(size_of::<LaunchRecord>() == size_of::<Payload>());
    assert!(size_of::<LaunchFailedRecord>() == size_of::<Payload>());
    assert!(size_of::<SyncRecord>() == size_of::<Payload>());
    assert!(size_of::<MarkRecord>() == size_of::<Payload>());
};
