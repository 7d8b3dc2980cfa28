//! The table through which the simulated libraries reach each other.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::callback::{DOMAINS, IDS};
use crate::frame::Frame;
use crate::work::{ApiRecord, MemoryRecord, Settlement, SyncRecord, Work};

/// Changes with any type of this crate that crosses a library boundary.
pub const ABI: u32 = 1;

/// Where the driver stands in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// `cuInit` has not got as far as devices.
    Before,
    /// Inside `InitializeInjection`, with devices to come.
    Injecting,
    Ready,
    /// `cuInit` finds no device.
    NoDevice,
    /// A child of a process that had called `cuInit`.
    Forked,
}

/// Owned by the simulated libcuda.
#[derive(Debug)]
#[repr(C)]
pub struct Channel {
    pub abi: u32,
    /// One bit per callback id and domain: somebody wants it.
    pub enabled: [[AtomicU64; IDS / 64]; DOMAINS],
    /// One bit per activity kind.
    pub kinds: AtomicU64,
    /// The simulated libcupti, once one has been called.
    pub profiler: AtomicPtr<Profiler>,
    pub host: Host,
}

/// What libcuda offers.
#[derive(Debug)]
#[repr(C)]
pub struct Host {
    pub state: extern "C" fn() -> State,
    /// Opens a call: correlation id, ENTER callback. Not 0: the call must return that error.
    pub enter: extern "C" fn(*mut Frame) -> i32,
    /// Closes it: EXIT callback, truth.
    pub exit: extern "C" fn(*mut Frame, result: i32),
    pub settle: extern "C" fn(*const Settlement),
    /// Gives back `count` of [`Work::module`].
    pub release: extern "C" fn(module: usize, count: u64),
    /// Number of a context, 0 for no context.
    pub context_id: extern "C" fn(context: usize) -> u32,
    /// Device ordinal of a context, negative for no context.
    pub context_device: extern "C" fn(context: usize) -> i32,
    /// Number of a stream, 0 for no stream.
    pub stream_id: extern "C" fn(context: usize, stream: usize, per_thread: u8) -> u32,
    pub graph_id: extern "C" fn(graph: usize) -> u32,
    pub graph_node_id: extern "C" fn(node: usize) -> u64,
    pub graph_exec_id: extern "C" fn(exec: usize) -> u32,
    /// A `CUfunction` of a kernel that exists by being named, for the runtime's registrations.
    pub function: extern "C" fn(name: *const c_char) -> usize,
    /// Name of a function as its records show it, or null.
    pub function_name: extern "C" fn(function: usize) -> *const c_char,
}

/// What libcupti offers.
#[derive(Debug)]
#[repr(C)]
pub struct Profiler {
    /// Calls the subscriber.
    pub callback: extern "C" fn(domain: u32, cbid: u32, data: *const c_void),
    /// Called on the launching thread, with no lock held, before work is submitted.
    pub prepare: extern "C" fn(),
    /// Takes work in launch order per stream. Returns 1 when it wants to hear of the call's exit.
    pub submit: extern "C" fn(work: *const Work, count: usize) -> u32,
    /// The outermost call `sequence` has returned at `time`.
    pub call_exit: extern "C" fn(sequence: u64, time: u64),
    pub api: extern "C" fn(*const ApiRecord),
    pub memory: extern "C" fn(*const MemoryRecord),
    pub sync: extern "C" fn(*const SyncRecord),
}

impl Channel {
    pub const fn new(host: Host) -> Self {
        Self {
            abi: ABI,
            enabled: [const { [const { AtomicU64::new(0) }; IDS / 64] }; DOMAINS],
            kinds: AtomicU64::new(0),
            profiler: AtomicPtr::new(std::ptr::null_mut()),
            host,
        }
    }

    /// Whether a callback is wanted.
    pub fn wants(&self, domain: u32, cbid: u32) -> bool {
        let word = self.enabled.get(domain as usize).and_then(|ids| ids.get(cbid as usize / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (cbid % 64) & 1 == 1)
    }

    /// Whether records of an activity kind are wanted.
    pub fn records(&self, kind: u32) -> bool {
        self.kinds.load(Ordering::Relaxed) >> (kind % 64) & 1 == 1
    }

    /// The profiler, if libcupti has been called.
    pub fn profiler(&self) -> Option<&'static Profiler> {
        let profiler = self.profiler.load(Ordering::Acquire);
        // SAFETY: libcupti only ever stores the address of a static of its own, and no simulated
        // library can be unloaded (they are linked with `-z nodelete`).
        unsafe { profiler.as_ref() }
    }
}
