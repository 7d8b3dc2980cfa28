//! What a pipeline is fed: one enum for a live session and for a recording of it.
//!
//! Bytes that crossed a trust boundary (ring records, kernel events) stay raw here; the pipeline
//! decodes them, so that live and replay meet the same decoder.

use analysis::decode::GraphWords;
use analysis::event::{DeviceInfo, Event, ProcessInfo};
use analysis::ids::{DeviceKey, Ns, ProcessKey, Thread};
use analysis::memory::Resident;
use wire::shim::Payload;

use crate::capture::Frame;
use crate::perf::Reading;

/// How the observation began. Comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Command that made it, such as `record`.
    pub command: String,
    /// The host's name, or the file.
    pub source: String,
    /// Wall clock, seconds since the epoch; `None` where unknown.
    pub started_unix: Option<u64>,
    /// CPU samples per second and processor; 0 when the CPU is not sampled.
    pub cpu_hz: u32,
    /// How often what is live of memory is written down, ns; 0: once a second.
    pub memory_step_ns: u64,
}

/// The frames of one code address of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub address: u64,
    /// Innermost inlined function first; never empty.
    pub frames: Vec<Frame>,
}

/// One thing that was seen or learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Start(Start),
    Device {
        device: DeviceKey,
        info: DeviceInfo,
    },
    Process {
        process: ProcessKey,
        info: ProcessInfo,
    },
    Ordinal {
        process: ProcessKey,
        ordinal: u32,
        device: DeviceKey,
    },
    /// The process has no context there, until `Ordinal` comes for it again.
    Unopened {
        process: ProcessKey,
        ordinal: u32,
    },
    Name {
        process: ProcessKey,
        id: u32,
        name: String,
    },
    /// The process's ring is read from here on. Comes before its records.
    Attached {
        process: ProcessKey,
        at: Ns,
    },
    /// Ring records of one process, in ring order.
    Records {
        process: ProcessKey,
        payloads: Vec<Payload>,
    },
    /// Entries of a process's graph table that follow each other; `first` is the position of the
    /// first of them. Come before records of what they tell of.
    Graphs {
        process: ProcessKey,
        first: u32,
        entries: Vec<GraphWords>,
    },
    /// A stack, leaf first, that an earlier agent left with these entries of the graph table.
    CaptureStack {
        process: ProcessKey,
        entries: Vec<u32>,
        addresses: Vec<u64>,
    },
    /// One record of the kernel programs' ring buffer.
    KernelEvent(Vec<u8>),
    /// What addresses of a process mean. May come before or after the stacks that use them.
    Symbols {
        process: ProcessKey,
        symbols: Vec<Symbol>,
    },
    /// What a process did since its counters were opened. A later one replaces it.
    Counters {
        process: ProcessKey,
        reading: Reading,
    },
    /// What the kernel counts of a process's memory.
    Resident {
        process: ProcessKey,
        at: Ns,
        resident: Resident,
    },
    /// Pages whose first touch was told are there no more, or belong to somebody who touched them again.
    PagesGone {
        process: ProcessKey,
        at: Ns,
        /// Their addresses.
        pages: Vec<u64>,
    },
    /// It is so late, whether anything happened or not. Time of memory goes by it.
    Clock(Ns),
    /// A sentence for every output: what could not be seen and why.
    Note(String),
    /// What a thread calls itself.
    ThreadName {
        process: ProcessKey,
        thread: Thread,
        name: String,
    },
    Ended {
        process: ProcessKey,
        at: Ns,
    },
    /// The observation ends here: nothing after it is reported.
    Limit(Ns),
    /// An event of a foreign trace, which has no wire bytes. Never part of a recording.
    Foreign(Event),
}
