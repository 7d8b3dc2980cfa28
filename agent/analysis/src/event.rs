//! What a session is fed, in domain types. Live rings, our recordings and foreign traces all
//! become these events; nothing downstream knows which it was.

use crate::ids::{Correlation, DeviceKey, Ns, ProcessKey, StackId, Thread};
use crate::memory::What;

/// One thing that was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device exists. Comes before anything that runs on it.
    Device {
        device: DeviceKey,
        info: DeviceInfo,
    },
    /// A process is observed. Comes before anything it did.
    Process {
        process: ProcessKey,
        info: ProcessInfo,
    },
    /// The process numbers `device` as `ordinal`, and may work there. Comes before records that use the ordinal.
    Ordinal {
        process: ProcessKey,
        ordinal: u32,
        device: DeviceKey,
    },
    /// The process has no context on the device it numbers so, until `Ordinal` comes for it again.
    Unopened {
        process: ProcessKey,
        ordinal: u32,
    },
    /// Whoever feeds the session reads the process's records from here on: what an earlier reader
    /// took is not known. Comes before its records; without it all of them are taken to come.
    Attached {
        process: ProcessKey,
        at: Ns,
    },
    /// `id` means `name` in this process from here on. Comes before records that use the id.
    Name {
        process: ProcessKey,
        id: u32,
        name: String,
    },
    Work(Work),
    Launch(Launch),
    /// The launch leads to no work: the driver refused it, or it was captured into a graph.
    LaunchFailed {
        process: ProcessKey,
        correlation: Correlation,
        captured: bool,
    },
    /// A synchronisation call that returned.
    Sync(Sync),
    /// The shim's thread number `thread` is the kernel's thread `tid`.
    Thread {
        process: ProcessKey,
        thread: u32,
        tid: Thread,
    },
    /// A thread did not run.
    Blocked(Blocked),
    /// A thread ran, and where.
    Sampled(Sampled),
    /// Sleeps of a thread with this signature begin in this stack.
    SleepStack {
        process: ProcessKey,
        tid: Thread,
        signature: u64,
        stack: StackId,
    },
    /// An operator, annotation or other named stretch of a host thread, as a trace shows it.
    Range(Range),
    /// What a range's `label` means in this process from here on.
    Label {
        process: ProcessKey,
        id: u32,
        text: String,
    },
    /// Something happened to a CUDA graph.
    Graph(GraphEvent),
    /// The stack under which entry `entry` of the process's graph table was made.
    CaptureStack {
        process: ProcessKey,
        entry: u32,
        stack: StackId,
    },
    /// The stack of a sampled launch.
    LaunchStack {
        process: ProcessKey,
        correlation: Correlation,
        stack: StackId,
    },
    /// A call that took memory or gave it back.
    Memory(MemoryCall),
    Mark(Mark),
    /// The process is gone; nothing more will come from it.
    Ended {
        process: ProcessKey,
        at: Ns,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Index shown to users.
    pub index: u32,
    /// `GPU-...`, or `SIM-...` for a simulated device; `None` where a trace does not tell.
    pub uuid: Option<String>,
    pub simulated: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    pub pid: u32,
    /// Title without arguments, such as `VLLM::Worker_TP0`.
    pub title: String,
    /// `frontend`, `script`, `api_server`, `coordinator`, `engine_core`, `worker` or `process`.
    pub role: String,
    /// Rank text from the title, such as `TP0`; empty when there is none.
    pub rank: String,
    /// Which processes make one server: the PID of the first of them. 0: not known, the process
    /// stands for itself.
    pub server: u32,
    pub service: Service,
}

/// What a process serves, and where. Empty where not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// As clients and vLLM's own metrics name it.
    pub model: String,
    /// vLLM's own label: the data-parallel rank.
    pub engine: String,
    /// Id of the container.
    pub container: String,
    pub pod: String,
    /// Of the pod.
    pub namespace: String,
}

/// What ran on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// Name id of this process.
    Kernel {
        name: u32,
    },
    Memcpy {
        bytes: u64,
        copy_kind: u8,
    },
    Memset {
        bytes: u64,
    },
}

/// A kernel, copy or set that ran. `start == end == 0` or `end < start` is an invalid record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub process: ProcessKey,
    /// As the process numbers devices.
    pub ordinal: u32,
    pub context: u32,
    pub stream: u32,
    pub correlation: Correlation,
    /// Executed graph and its node, 0 outside graphs.
    pub graph: u32,
    pub graph_node: u64,
    /// Node of the graph that the executed graph was made from, as CUPTI 13.4 and later tell it;
    /// 0: not told.
    pub source_node: u64,
    /// Blocks along x, at most 65 535; 0: not told.
    pub grid_x: u16,
    pub start: Ns,
    pub end: Ns,
    pub kind: WorkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchKind {
    Kernel,
    Graph,
    Copy,
}

/// A launch call, at its entry. A work record with the same correlation follows (several for a graph).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pub process: ProcessKey,
    pub correlation: Correlation,
    pub kind: LaunchKind,
    pub enter: Ns,
    /// When the call returned; `None` where only entries are recorded.
    pub exit: Option<Ns>,
    /// The shim's thread number; a trace's own number for the thread.
    pub thread: u32,
    pub function: u64,
    /// `Some(weight)`: a stack was asked for, standing for `weight` launches of this function.
    pub sampled: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    Context,
    Stream,
    Event,
}

/// A synchronisation call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sync {
    pub process: ProcessKey,
    pub context: u32,
    pub scope: SyncScope,
    pub enter: Ns,
    pub exit: Ns,
    pub thread: u32,
    /// It returned success.
    pub succeeded: bool,
}

/// A thread was off the CPU because it waited. The same wait may be told in several pieces, each
/// beginning where the thread went to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub process: ProcessKey,
    pub tid: Thread,
    pub from: Ns,
    /// Until when it is known to have waited.
    pub to: Ns,
    /// Tells places of the code from each other; 0: not known.
    pub signature: u64,
}

/// A thread was on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    pub process: ProcessKey,
    pub tid: Thread,
    pub at: Ns,
    pub stack: StackId,
}

/// What made a [`Range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeKind {
    /// A framework operator, such as `aten::mm`.
    Operator,
    /// A range the program named: `record_function`, NVTX.
    Annotation,
    /// A module of the model, such as `LlamaDecoderLayer_3`.
    Module,
}

impl RangeKind {
    pub const ALL: [Self; 3] = [Self::Operator, Self::Annotation, Self::Module];

    /// The spelling in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Annotation => "annotation",
            Self::Module => "module",
        }
    }
}

/// A named stretch of one host thread. Ranges of a thread nest; they come by start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub process: ProcessKey,
    /// As [`Launch::thread`].
    pub thread: u32,
    pub kind: RangeKind,
    pub start: Ns,
    pub end: Ns,
    /// Label id of the name.
    pub label: u32,
    /// Label id of the input shapes; 0: not told.
    pub shapes: u32,
}

/// What happened to a graph. Ids are CUPTI's, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphChange {
    /// A node was added to a graph, by capture or by hand.
    NodeCreated {
        node: u64,
        graph: u32,
    },
    /// A node was cloned, by instantiation or by cloning a graph.
    NodeCloned {
        node: u64,
        graph: u32,
        original_node: u64,
        original_graph: u32,
    },
    NodeDestroyed {
        node: u64,
        graph: u32,
    },
    GraphDestroyed {
        graph: u32,
    },
    ExecCreated {
        exec: u32,
        graph: u32,
    },
    ExecDestroyed {
        exec: u32,
    },
    /// Every node of `exec` became a node of `graph`.
    ExecUpdated {
        exec: u32,
        graph: u32,
    },
}

/// One entry of a process's graph table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphEvent {
    pub process: ProcessKey,
    /// Position in the table.
    pub entry: u32,
    pub at: Ns,
    pub change: GraphChange,
}

/// A call that took memory of a device, of the virtual-memory API or pinned memory, or gave it back, and succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCall {
    pub process: ProcessKey,
    /// Numbers the calls of a process without gaps; what is missing was lost.
    pub serial: u32,
    /// Its stack was taken, under this number.
    pub has_stack: bool,
    /// The shim's thread number.
    pub thread: u32,
    pub context: u32,
    /// As the process numbers devices; `None`: that of the context.
    pub ordinal: Option<u32>,
    /// Of what gives memory back the call's entry, of what takes it its return.
    pub time: Ns,
    pub what: What,
}

/// End of a flush of one process: everything CUPTI could deliver about the time before `flush`
/// has been fed; what it could not has its launch fed. In a trace only `flush` has a meaning:
/// everything that starts before it has been fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub process: ProcessKey,
    pub flush: Ns,
    /// Launches entered from here on are recorded.
    pub armed: Ns,
    /// Records lost so far in this process, by us or by CUPTI.
    pub lost: u64,
    /// No launch after this mark is recorded until the next arming.
    pub last: bool,
}
