//! A finished observation: the report and what is needed to draw it. Every output reads this.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::ids::{ProcessKey, StackId, Thread};
use analysis::memory::live::{Counts, Held, Of, Unseen};
use analysis::memory::{Finding, Place, Resident};
use analysis::report::Report;
use analysis::wait::WaitReason;

use crate::perf::Reading;

/// What a frame is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// C, C++, Rust and whatever else the processor runs in user mode.
    #[default]
    Native,
    Python,
    Kernel,
    /// No code: says something about the stack, such as where it was cut.
    Remark,
}

/// One frame of a symbolised stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    pub language: Language,
    /// Demangled function, or `module+0xoffset` where no symbol covers the address; of Python
    /// `module.qualname`.
    pub function: String,
    /// File name of the mapped object, without its folder; none of Python.
    pub module: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// A symbolised stack, root first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Shared: a server has thousands of frames and a million places where they stand.
    pub frames: Vec<Arc<Frame>>,
    /// The walk did not reach a thread's first function: frames are missing at the root.
    pub cut: bool,
}

/// Samples of one thread with one stack on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuStack {
    pub process: ProcessKey,
    pub thread: Thread,
    pub stack: StackId,
    pub samples: u64,
    /// Of these, samples in which the thread held Python's global interpreter lock.
    pub holding_gil: u64,
}

/// Time one thread slept with one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStack {
    pub process: ProcessKey,
    pub thread: Thread,
    /// `None`: no stack was taken where it slept.
    pub stack: Option<StackId>,
    pub reason: WaitReason,
    /// It slept with Python's global interpreter lock in its hands.
    pub holds_gil: bool,
    pub ns: u64,
}

/// One thread and Python's global interpreter lock. Threads that had nothing to do with it have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GilRow {
    pub process: ProcessKey,
    pub thread: Thread,
    pub samples_on_cpu: u64,
    /// Of these, samples in which it held the lock.
    pub samples_holding: u64,
    /// It slept until it got the lock.
    pub waited_ns: u64,
    /// It slept and kept the lock meanwhile: nobody else could run Python.
    pub held_off_cpu_ns: u64,
}

/// What one process did, by the kernel's and the processor's own counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCounters {
    pub process: ProcessKey,
    /// Since the process was met.
    pub reading: Reading,
}

/// Memory of one process: what its calls left allocated at the end, since they are told.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessMemory {
    pub process: ProcessKey,
    /// What leaks first; then every place that memory was taken from.
    pub findings: Vec<Finding>,
    /// What calls took, the most live bytes first.
    pub sites: Vec<LiveSite>,
    /// Who touched the pages first that are there, sampled: the same memory in part, and what no call told of. The most
    /// bytes first.
    pub touched: Vec<LiveSite>,
    /// Of the virtual-memory API.
    pub held: Held,
    /// As the kernel counted it last; `None` where nobody asked.
    pub resident: Option<Resident>,
    pub unseen: Unseen,
    /// Calls that took memory and whose stack was not taken.
    pub without_stack: u64,
    /// The process is gone.
    pub ended: bool,
}

/// What one piece of code took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSite {
    pub place: Place,
    pub of: Of,
    pub live: Counts,
    /// Since calls are told.
    pub allocated: Counts,
}

impl LiveSite {
    /// Of the code; `None`: not taken, or many pieces of code together.
    pub fn stack(&self) -> Option<StackId> {
        match self.of {
            Of::Site(stack) => stack,
            Of::Whole | Of::Others => None,
        }
    }
}

/// How outputs write names of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameStyle {
    /// As the symbols have them.
    #[default]
    Whole,
    /// Without template arguments and parameters, paths by their last parts.
    Short,
}

/// What was observed, how and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CaptureInfo {
    /// Command that made it, such as `record` or `analyze`.
    pub command: String,
    /// Where it came from: a file, or the host's name.
    pub source: String,
    /// Wall clock at the start, seconds since the epoch; `None` for foreign traces.
    pub started_unix: Option<u64>,
    pub simulated: bool,
    /// CPU samples per second and processor; 0 when the CPU was not sampled.
    pub cpu_hz: u32,
    /// What could not be seen and why, one sentence each; stands in every output.
    pub notes: Vec<String>,
}

/// Everything an output needs.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    pub info: CaptureInfo,
    pub report: Report,
    pub stacks: HashMap<StackId, Stack>,
    pub cpu: Vec<CpuStack>,
    /// Sleeps by thread and stack.
    pub waits: Vec<WaitStack>,
    pub gil: Vec<GilRow>,
    pub counters: Vec<ProcessCounters>,
    /// Of processes whose calls were told.
    pub memory: Vec<ProcessMemory>,
    pub names: NameStyle,
    /// Names of threads, where they are known.
    pub threads: HashMap<(ProcessKey, Thread), String>,
    /// Titles of the processes, for frames and tables.
    pub processes: HashMap<ProcessKey, analysis::event::ProcessInfo>,
}

impl CaptureInfo {
    /// Time one CPU sample stands for, ns; `None` when the CPU was not sampled.
    pub fn sample_ns(&self) -> Option<u64> {
        1_000_000_000_u64.checked_div(u64::from(self.cpu_hz))
    }
}

impl Capture {
    /// Whether calls that take memory were seen.
    pub fn has_memory_sites(&self) -> bool {
        self.memory.iter().any(|memory| !memory.sites.is_empty())
    }

    /// Whether first touches of pages were seen.
    pub fn has_touches(&self) -> bool {
        self.memory.iter().any(|memory| !memory.touched.is_empty())
    }

    /// Whether anything in it comes from the simulated CUDA: then every output says so.
    pub fn simulated(&self) -> bool {
        self.info.simulated || self.report.devices.iter().any(|device| device.info.simulated)
    }
}
