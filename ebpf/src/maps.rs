//! Every map: key, writer, reader, worst-case size.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use wire::kernel::{PythonLayout, Sleeper, VerifyCounts, counter};
use wire::limits::{
    self, RING_BYTES, SCRATCH_PLACES, SLEEPERS as SLEEPERS_MAX, TARGETS, VERIFY_THREADS,
    WAITS_BYTES,
};

use crate::scratch::Place;
use crate::touch::Chance;

/// Sleeps of threads. Written by `sched`, read by the agent. `WAITS_BYTES` once. Not among the other
/// records: a program on a uprobe may be preempted in the middle of one, which hides all behind it,
/// and a sleep must be seen before the launch it explains.
#[map]
pub static WAITS: RingBuf = RingBuf::with_byte_size(WAITS_BYTES, 0);

/// Other records for the agent. Written by every program, read by the agent. `RING_BYTES` once.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Watched processes: TGID -> `wire::kernel::watched`. Written by the agent, and by `process` when one ends. A hash
/// because TGIDs go up to 4 194 304. Worst case `TARGETS` x 64 bytes = 256 KiB.
#[map]
pub static WATCHED: HashMap<u32, u32> = HashMap::with_max_entries(TARGETS, 0);

/// A thread and a place it sleeps at. The TGID tells threads of one number from each other.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SleepPlace {
    pub tid: u32,
    pub tgid: u32,
    pub signature: u64,
}

/// When the last stack of a sleep was taken, ns. Only `sleep` uses it. Forgets its oldest; a hash
/// because signatures are anything. `SLEEP_PLACES` x 88 bytes = 5.5 MiB.
#[map]
pub static SLEEP_PLACES: LruHashMap<SleepPlace, u64> =
    LruHashMap::with_max_entries(limits::SLEEP_PLACES, 0);

/// Budgets of stacks: thread id -> until when it is used up, ns. Only `sleep` uses it. Forgets its oldest.
/// `SLEEPERS` x 80 bytes = 1.3 MiB.
#[map]
pub static SLEEP_BUDGETS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(SLEEPERS_MAX, 0);

/// Interpreters: TGID -> where its Python keeps what the walk reads. Written by the agent, and by `process` when
/// one ends or executes. A hash as `WATCHED`. Worst case `TARGETS` x 112 bytes = 448 KiB.
#[map]
pub static PYTHONS: HashMap<u32, PythonLayout> = HashMap::with_max_entries(TARGETS, 0);

/// Where stacks are put together: `SCRATCH_PLACES` a CPU, one after the other; the loader makes as many as the
/// host can have CPUs. Not per CPU in the kernel's sense, where a value ends at 32 KiB. 166 KiB a CPU.
#[map]
pub static SCRATCH: Array<Place> = Array::with_max_entries(SCRATCH_PLACES, 0);

/// How many programs want a place of this CPU: who makes it one has it (`scratch`). 8 bytes a place.
#[map]
pub static BUSY: PerCpuArray<u64> = PerCpuArray::with_max_entries(SCRATCH_PLACES, 0);

/// What the kernel calls the address that was asked for last. Written by `symbol`, which only the agent runs, and
/// read by it. `KERNEL_SYMBOL_BYTES` once.
#[map]
pub static KERNEL_SYMBOL: Array<[u8; limits::KERNEL_SYMBOL_BYTES as usize]> =
    Array::with_max_entries(1, 0);

/// How likely a page's first touch is taken. Only `touch` uses it. 24 bytes a CPU.
#[map]
pub static TOUCHES: PerCpuArray<Chance> = PerCpuArray::with_max_entries(1, 0);

/// `wire::kernel::counter`, per CPU. Written by every program, read by the agent.
/// `COUNT` x 8 bytes a CPU.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// Processes in verification mode: TGID -> counts. Entries made and removed by the agent, counted
/// by `verify`. Allocated before it is used, since kernels before 6.1 write a warning with a stack into
/// their log where a probe's program has a map that is not; so not per CPU either, which would be 12 MiB
/// on 96 CPUs. Worst case `TARGETS` x 96 bytes = 384 KiB.
#[map]
pub static VERIFY: HashMap<u32, VerifyCounts> = HashMap::with_max_entries(TARGETS, 0);

/// Entry of an outermost launch call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    pub sp: u64,
    /// The word at `sp`.
    pub return_address: u64,
}

/// Threads inside an outermost launch call: TGID and TID -> its entry. Only `verify` and, at a
/// thread's end, `process` use it. Worst case `VERIFY_THREADS` x 80 bytes = 1.3 MiB.
#[map]
pub static IN_LAUNCH: HashMap<u64, Call> = HashMap::with_max_entries(VERIFY_THREADS, 0);

/// Threads that launch: thread id -> TGID. Written by `launch`, emptied by `process`, read by
/// `sched`. A hash because thread ids go up to 4 194 304. Worst case `SLEEPERS` x 64 bytes = 1 MiB.
#[map]
pub static LAUNCHERS: HashMap<u32, u32> = HashMap::with_max_entries(SLEEPERS_MAX, 0);

/// Threads that sleep: thread id -> since when. Written by `sched` and, at a thread's end, by
/// `process`; read by the agent, which is not told of a sleep before its end. Worst case
/// `SLEEPERS` x 80 bytes = 1.3 MiB.
#[map]
pub static SLEEPERS: HashMap<u32, Sleeper> = HashMap::with_max_entries(SLEEPERS_MAX, 0);
