//! Every fixed capacity and time limit of a session, with the reason for its value.

/// How long a launch without its record holds the watermark, ns. The protocol's number: longer
/// than any kernel of a server that still answers.
pub(crate) const HOLD_NS: u64 = 5_000_000_000;

/// Streams that show a record this soon after arming must show a launch of ours before the
/// device counts as drained, ns. The protocol's number.
pub(crate) const DRAIN_STREAMS_NS: u64 = 1_000_000_000;

/// When a device is assumed drained without proof, ns after arming. The protocol's number.
pub(crate) const DRAIN_ASSUMED_NS: u64 = 5_000_000_000;

/// Marks without another record after which a graph launch is settled. The protocol's number.
pub(crate) const QUIET_MARKS: u64 = 3;

/// The same for a graph that is known to have more nodes than records came: a node that runs or
/// waits for a peer for 2 s is likelier than a graph that shrank.
pub(crate) const QUIET_MARKS_INCOMPLETE: u64 = 20;

/// Marks a sampled launch waits for its stack, and a stack for its launch: 5 s, far more than
/// the two transports drift apart.
pub(crate) const STACK_MARKS: u64 = 50;

/// Capacities that depend on when time becomes final.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacities {
    /// Events of one process between two marks.
    pub(crate) events: usize,
    /// Work records of one device before the watermark.
    pub(crate) pending: usize,
    /// Launches of one process without their record.
    pub(crate) launches: usize,
    /// Sampled launches of one process in flight.
    pub(crate) samples: usize,
}

impl Capacities {
    /// Between marks that come ten times a second.
    pub(crate) const MARKED: Self = Self {
        // A ring of 2^18 records, many times over.
        events: 1 << 22,
        // 100 s at the 40 000 records/s of a busy worker.
        pending: 1 << 22,
        // Twice what a busy worker launches within the hold limit.
        launches: 1 << 19,
        // 100 a second and thread, 16 threads, 5 s, eight times over.
        samples: 1 << 16,
    };

    /// A trace that becomes final only at its end. Each is about 20 GB of memory at worst; the
    /// largest public traces have 10^7 records.
    pub(crate) const WHOLE: Self =
        Self { events: 1 << 28, pending: 1 << 28, launches: 1 << 28, samples: 1 << 28 };
}

/// Streams of one device. A vLLM worker uses fewer than 32.
pub(crate) const STREAMS: usize = 4096;

/// Executed graphs of one process whose size is remembered. vLLM captures about 70.
pub(crate) const GRAPHS: usize = 1 << 16;

/// Distinct kernel names of a session: the names area of a shim holds about 20 000.
pub(crate) const NAMES: usize = 1 << 17;

/// Name ids of one process: entries of at least 8 bytes in the 4 MiB names area.
pub(crate) const NAME_IDS: usize = 1 << 19;

/// Distinct (process, kernel, graph) of one device: 70 graphs of 200 kernels, 16 times over.
pub(crate) const CELLS: usize = 1 << 18;

/// Distinct stacks under one (process, kernel, graph). Launch sites of one kernel are few.
pub(crate) const STACKS: usize = 4096;

/// Devices one process numbers. CUDA allows 64.
pub(crate) const ORDINALS: usize = 64;

/// Processes attached to one device; bounds the worker number in a sweep's event.
pub(crate) const WORKERS: usize = 1 << 15;

/// Unfinished launches told apart; more are merged into one region. Arbitrary, bounds work per mark.
pub(crate) const UNFINISHED: usize = 64;

/// Invalid records of one device told apart; more are merged into one region per stream, of which
/// there are at most `STREAMS`, so that merging always frees room.
pub(crate) const INVALID: usize = 2 * STREAMS;

/// Context-wide synchronisations remembered as proof of a drained device: 5 s of a step loop.
pub(crate) const SYNCS: usize = 1 << 14;
