//! Records the kernel programs emit into their ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::STACK_FRAMES;

/// Values of the first word of every record.
pub mod event_kind {
    pub const LAUNCH_STACK: u32 = 1;
    pub const CPU_SAMPLE: u32 = 2;
    pub const EXEC: u32 = 3;
    pub const EXIT: u32 = 4;
    pub const WAIT: u32 = 5;
}

/// A user stack: of a launch at the shim's probe point, or of a thread on the CPU.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackEvent {
    pub kind: u32,
    /// Frames that hold an address.
    pub frames: u32,
    /// `CLOCK_MONOTONIC` ns.
    pub time_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    /// Launch only: correlation id, weight, the shim's thread number.
    pub correlation: u32,
    pub weight: u32,
    pub thread: u32,
    pub cpu: u32,
    /// Launch only: function handle.
    pub key: u64,
    /// Instruction pointers, leaf first.
    pub addresses: [u64; STACK_FRAMES],
}

/// A process that executed a new program or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessEvent {
    pub kind: u32,
    pub tgid: u32,
    pub time_ns: u64,
}

/// A thread that slept: told when it runs again, and by the agent itself about a thread that
/// sleeps still. Pieces of one sleep have the same `from_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WaitEvent {
    pub kind: u32,
    pub tgid: u32,
    pub tid: u32,
    /// 1: it sleeps still, and `to_ns` is when somebody looked.
    pub open: u32,
    /// `CLOCK_MONOTONIC` ns: it went to sleep.
    pub from_ns: u64,
    /// It ran again, or was looked at.
    pub to_ns: u64,
}

/// Values of the map of watched processes: what is told of one.
pub mod watched {
    /// Everything.
    pub const STACKS: u32 = 1;
    /// Which threads sleep, and when the process ends.
    pub const THREADS_ONLY: u32 = 2;
}

/// Shortest sleep that is told, ns. A gap of a few launch latencies needs no thread state to be
/// explained, and a worker that polls with shorter sleeps would fill the buffer with them.
pub const WAIT_MIN_NS: u64 = 200_000;

/// A thread that sleeps, as the kernel programs keep it; the key is its thread id.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Sleeper {
    /// `CLOCK_MONOTONIC` ns.
    pub since_ns: u64,
    pub tgid: u32,
    pub reserved: u32,
}

/// What the programs on `sched_switch` need to know of this kernel's `task_struct`.
pub mod task {
    /// Name of the global that holds the offset of `pid`, bytes.
    pub const PID_OFFSET: &str = "TASK_PID_OFFSET";
}

/// Indices of the per-CPU counter array.
pub mod counter {
    /// Stack events that found the ring buffer full.
    pub const RING_FULL: u32 = 0;
    /// Launch stacks taken.
    pub const LAUNCH_STACKS: u32 = 1;
    /// CPU samples of watched processes taken.
    pub const CPU_SAMPLES: u32 = 2;
    /// Stacks the kernel could not walk at all.
    pub const STACK_FAILED: u32 = 3;
    /// Executions and ends of processes that found the ring buffer full.
    pub const PROCESS_EVENTS_LOST: u32 = 4;
    /// Launches counted in verification mode although the table of threads was full: nested
    /// calls of these may be counted twice.
    pub const VERIFY_UNTRACKED: u32 = 5;
    /// Sleeps told.
    pub const WAITS: u32 = 6;
    /// Sleeps that found the ring buffer full.
    pub const WAITS_LOST: u32 = 7;
    /// Threads that found no room among the sleepers, or among the threads whose sleep is told.
    pub const SLEEPERS_FULL: u32 = 8;
    pub const COUNT: u32 = 9;
}

/// What a verification probe sits on: the cookie it is attached with.
pub mod verify_cookie {
    pub const KERNEL: u64 = 1;
    pub const GRAPH: u64 = 2;
}

/// Counts of one process in verification mode, per CPU.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VerifyCounts {
    /// Kernel launch calls entered in the driver library.
    pub launches: u64,
    /// Graph launch calls entered.
    pub graph_launches: u64,
    /// Launch calls of either kind that returned an error.
    pub failed: u64,
    pub reserved: u64,
}
