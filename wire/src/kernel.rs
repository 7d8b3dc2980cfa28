//! Records the kernel programs emit into their ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::{KERNEL_FRAMES, STACK_FRAMES};

/// Values of the first word of every record.
pub mod event_kind {
    pub const LAUNCH_STACK: u32 = 1;
    pub const CPU_SAMPLE: u32 = 2;
    pub const EXEC: u32 = 3;
    pub const EXIT: u32 = 4;
    pub const WAIT: u32 = 5;
    pub const CAPTURE_STACK: u32 = 8;
    pub const OFF_CPU_STACK: u32 = 9;
    pub const MEMORY_STACK: u32 = 10;
    pub const PAGE_STACK: u32 = 11;
    /// What a stack is unwound from. Never leaves the agent: it holds bytes of a user's stack.
    pub const STACK_COPY: u32 = 16;
}

/// Weight at the probe point that no launch has: a graph node was made, and `key` is the position
/// of its entry in the graph table.
pub const WEIGHT_CAPTURE: u32 = 0;

/// Weight at the probe point that no launch has: memory was taken, the first argument is the serial number of its
/// `MemoryRecord`, and `key` its address or handle.
pub const WEIGHT_MEMORY: u32 = u32::MAX;

/// What a stack is unwound from, as the kernel programs copy it. Behind this head come
/// `python_frames` [`PythonFrame`]s, then `stack_bytes` bytes of the thread's stack.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackCopy {
    /// `event_kind::STACK_COPY`.
    pub kind: u32,
    /// Kind of the stack: `LAUNCH_STACK`, `CPU_SAMPLE`, `CAPTURE_STACK`, `OFF_CPU_STACK`, `MEMORY_STACK` or `PAGE_STACK`.
    pub of: u32,
    /// `CLOCK_MONOTONIC` ns.
    pub time_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    /// Launch only: correlation id, weight, the shim's thread number. Page: pages that it stands for, in the second.
    pub correlation: u32,
    pub weight: u32,
    pub thread: u32,
    pub cpu: u32,
    /// As in [`StackEvent`].
    pub key: u64,
    /// Bits of [`stack_flag`].
    pub flags: u32,
    /// Number of the system call the thread is in, -1 for none.
    pub syscall: i32,
    /// Entries of `kernel` that hold an address, leaf first.
    pub kernel_frames: u32,
    pub python_frames: u32,
    /// One of [`python_walk`].
    pub python: u32,
    pub stack_bytes: u32,
    /// Address of the first of the stack bytes.
    pub stack_start: u64,
    /// The thread's registers in user mode, by DWARF number; the last is the instruction pointer.
    pub registers: [u64; REGISTERS],
    pub kernel: [u64; KERNEL_FRAMES],
}

/// General-purpose registers 0 to 15 by DWARF number (System V ABI, AMD64, figure 3.36) and the
/// instruction pointer, 16.
pub const REGISTERS: usize = 17;

/// One frame of the Python interpreter, leaf first. Nothing in it is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonFrame {
    /// Address of the code object, as the frame has it (3.14: with its tag bits).
    pub code: u64,
    /// 3.11 on: address of the instruction; before: `f_lasti`. The top byte holds the frame's `owner`,
    /// bit 55 its `is_entry`.
    pub instruction: u64,
}

/// Bit of [`PythonFrame::instruction`]: CPython 3.11's `is_entry`.
pub const PYTHON_ENTRY: u64 = 1 << 55;

/// How the walk over Python's frames ended.
pub mod python_walk {
    /// The process has no known interpreter.
    pub const NONE: u32 = 0;
    /// Every frame was read.
    pub const WHOLE: u32 = 1;
    /// The thread runs no Python.
    pub const NO_THREAD_STATE: u32 = 2;
    /// There are more frames than are taken.
    pub const TRUNCATED: u32 = 3;
    /// A frame could not be read.
    pub const FAULT: u32 = 4;
}

/// Bits of [`StackCopy::flags`] and [`StackEvent::flags`].
pub mod stack_flag {
    /// The thread holds Python's global interpreter lock.
    pub const HOLDS_GIL: u32 = 1 << 0;
    /// The thread was in the kernel.
    pub const IN_KERNEL: u32 = 1 << 1;
    /// The stack goes on behind the bytes that were copied: it is longer than is taken.
    pub const STACK_LONGER: u32 = 1 << 2;
    /// First of the four bits that say why a thread slept (`wait_kind`), in a [`StackEvent`].
    pub const WAIT_KIND_SHIFT: u32 = 8;
    pub const WAIT_KIND_MASK: u32 = 0xf << WAIT_KIND_SHIFT;
}

/// Where a process's Python keeps what the walk reads: offsets in bytes. The value of the map of
/// interpreters; user space fills it in from the version, the binary, or what CPython publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonLayout {
    /// From the thread pointer to the word that holds the address of the thread's state.
    pub thread_state: i64,
    /// Addresses of the lock's `locked` (32 bits) and `last_holder`; 0: not known.
    pub gil_locked: u64,
    pub gil_holder: u64,
    /// In the thread's state: the pointer to the current frame, or to the `_PyCFrame` that has it.
    pub frame: u32,
    /// In `_PyCFrame`: the pointer to the current frame; [`NO_OFFSET`]: there is none between.
    pub cframe: u32,
    /// In a frame.
    pub code: u32,
    pub previous: u32,
    pub instruction: u32,
    /// Width of `instruction`: 8, or 4 for 3.10's `f_lasti`.
    pub instruction_bytes: u32,
    /// In a frame, one byte each; [`NO_OFFSET`]: the version has none.
    pub owner: u32,
    pub entry: u32,
}

/// No such field.
pub const NO_OFFSET: u32 = u32::MAX;

/// An unwound stack: of a launch or a capture at the shim's probe point, of a thread on the CPU, or
/// of one that went to sleep. Made by the agent from a [`StackCopy`].
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
    /// Launch only: correlation id, weight, the shim's thread number. Memory: serial number for the first. Page: pages
    /// of 4 KiB that it stands for, for the second.
    pub correlation: u32,
    pub weight: u32,
    pub thread: u32,
    pub cpu: u32,
    /// Launch: function handle. Capture: position in the graph table. Sleep: its signature. Memory: address or handle. Page:
    /// the address that was touched.
    pub key: u64,
    /// Bits of [`stack_flag`].
    pub flags: u32,
    pub reserved: u32,
    /// Places, leaf first: instruction pointers, and what the agent has numbered itself (`place`).
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

/// A process that ended, with how: its first words are a [`ProcessEvent`], which earlier versions wrote here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExitEvent {
    /// `event_kind::EXIT`.
    pub kind: u32,
    pub tgid: u32,
    pub time_ns: u64,
    /// As `wait` tells it: the signal in the low seven bits, 128 for a core, the exit code in the next eight.
    pub status: u32,
    /// 1: `status` could be read.
    pub known: u32,
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
    /// Tells sleeps at different places of the code from each other; [`StackEvent::key`] of stacks taken
    /// at that place. 0: not known.
    pub signature: u64,
}

/// Signature of a sleep that began before its process was watched. The kernel programs' own are odd.
pub const SLEPT_BEFORE: u64 = 2;

/// Values of the map of watched processes: what is told of one.
pub mod watched {
    /// Everything.
    pub const STACKS: u32 = 1;
    /// Which threads sleep, and when the process ends.
    pub const THREADS_ONLY: u32 = 2;
    /// As `THREADS_ONLY`, and stacks of launches and of threads on a CPU, none of sleeping ones.
    pub const ON_CPU_ONLY: u32 = 3;
}

/// Shortest sleep that is told, ns. A gap of a few launch latencies needs no thread state to be
/// explained, and a worker that polls with shorter sleeps would fill the buffer with them.
pub const WAIT_MIN_NS: u64 = 200_000;

/// Shortest sleep that is told of threads with stacks that neither launch nor are a process's first, ns,
/// unless the agent asks for another. A server's pool threads sleep for microseconds by the thousand.
pub const OFF_CPU_MIN_NS: u64 = 1_000_000;

/// Name of the global that holds the agent's wish beside [`OFF_CPU_MIN_NS`].
pub const OFF_CPU_MIN_NAME: &str = "OFF_CPU_MIN_NS";

/// A thread that sleeps, as the kernel programs keep it; the key is its thread id.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Sleeper {
    /// `CLOCK_MONOTONIC` ns.
    pub since_ns: u64,
    pub tgid: u32,
    /// 1: told while it sleeps, too, because idle time is explained by it.
    pub told: u32,
    /// As in [`WaitEvent`].
    pub signature: u64,
    /// Processor time the thread had had by then, ns; 0: not known.
    pub ran_ns: u64,
}

/// What the programs on `sched_switch` need to know of this kernel's `task_struct`.
pub mod task {
    /// Name of the global that holds the offset of `pid`, bytes.
    pub const PID_OFFSET: &str = "TASK_PID_OFFSET";
    /// Name of the global that holds the offset of `se.sum_exec_runtime`, bytes.
    pub const RAN_OFFSET: &str = "TASK_RAN_OFFSET";
    /// Name of the global that holds the offset of `exit_code`, bytes; 0: not known.
    pub const EXIT_CODE_OFFSET: &str = "TASK_EXIT_CODE_OFFSET";
    /// Name of the global that holds the offset of `thread.fsbase`, bytes.
    pub const FSBASE_OFFSET: &str = "TASK_FSBASE_OFFSET";
}

/// Indices of the per-CPU counter array.
pub mod counter {
    /// Stack events that found the ring buffer full.
    pub const RING_FULL: u32 = 0;
    /// Launch and capture stacks taken.
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
    /// Stacks given up because other programs on this CPU were taking one, in every place there is.
    pub const SCRATCH_BUSY: u32 = 9;
    /// Stacks of sleeping threads taken.
    pub const OFF_CPU_STACKS: u32 = 10;
    /// Stacks of sleeping threads given up because the thread had used up its budget of them.
    pub const OFF_CPU_OVER_BUDGET: u32 = 11;
    /// Sleeps of threads with stacks that were too short to be told, and the ns they lasted.
    pub const SHORT_SLEEPS: u32 = 12;
    pub const SHORT_SLEEP_NS: u32 = 13;
    /// Sleeps whose end was not seen: the thread went to sleep again, and no switch to it was told. The
    /// processor time it had in between says when it woke.
    pub const SLEEP_ENDS_UNSEEN: u32 = 14;
    /// Stacks of first touches of pages taken.
    pub const PAGE_STACKS: u32 = 15;
    pub const COUNT: u32 = 16;
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
