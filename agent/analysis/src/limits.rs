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

    /// Of a trace whose reader marks how far it is every 50 000 events; 256 times that, for a
    /// reader that does not. The largest public traces have 10^7 records.
    pub(crate) const WHOLE: Self =
        Self { events: 1 << 24, pending: 1 << 24, launches: 1 << 24, samples: 1 << 16 };
}

/// Streams of one device. A vLLM worker uses fewer than 32.
pub(crate) const STREAMS: usize = 4096;

/// Executed graphs of one process whose size is remembered. vLLM captures about 70.
pub(crate) const GRAPHS: usize = 1 << 16;

/// Entries of one process's graph table: as many as a shim keeps.
pub(crate) const GRAPH_ENTRIES: usize = 1 << 19;

/// Of those, entries that nodes may take: the rest is kept for updates, without which nodes would be
/// followed to the wrong stack.
pub(crate) const GRAPH_NODE_ENTRIES: usize = GRAPH_ENTRIES - (1 << 12);

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

/// Threads of one process whose waiting is remembered. A vLLM process has fewer than 200, of which
/// a handful launch or decide.
pub(crate) const THREADS: usize = 1024;

/// Waits of one thread not yet forgotten: 5 s (the hold limit) of waits 200 us apart, twice over.
pub(crate) const THREAD_SPANS: usize = 1 << 16;

/// How long samples and sleeps of threads are kept for idle time that is not decided yet, ns: twice the
/// hold limit.
pub(crate) const WHEREABOUTS_NS: u64 = 2 * HOLD_NS;

/// Samples and sleeps of one process kept at once (3 MiB): 64 busy CPUs at 99 samples a second for
/// all of that time, twice over.
pub(crate) const WHEREABOUTS: usize = 1 << 17;

/// Places at which the threads of one process sleep, each with its latest stack (1.5 MiB). A vLLM
/// process has some hundred.
pub(crate) const SLEEP_STACKS: usize = 1 << 16;

/// A thread that runs for at most this long between two sleeps only looks whether there is
/// something to do, ns. A look at a queue takes microseconds; Python's own wake-up some tens.
pub(crate) const POLL_NS: u64 = 100_000;

/// Longest time from a launch's entry (or the device's running dry, if later) to the start of its
/// work that is taken for the way to the device, ns. Published figures for an idle GPU are 3 to
/// 10 us; what takes twice the worst of them waits for something.
pub(crate) const LAUNCH_LATENCY_NS: u64 = 20_000;

/// The same for a graph launched while the device is idle, whose nodes are uploaded first, ns.
pub(crate) const GRAPH_LATENCY_NS: u64 = 60_000;

/// Idle time for which no launch is known yet is given a cause when it is this old, ns: so counters
/// lag by no more. A gap longer than that of which no thread state is known has an unknown cause:
/// no step of a busy server spends that long between two launches.
pub(crate) const IDLE_COMMIT_NS: u64 = 100_000_000;

/// Longest idle gaps kept per device, with their evidence. More than anyone reads.
pub(crate) const GAPS: usize = 100;

/// Causes told apart within one gap; beyond, its last part grows. Sums are not affected.
pub(crate) const GAP_PARTS: usize = 32;

/// Stacks of the launching thread told apart within one gap: 2.5 s of samples that all differ. Time
/// beyond counts as not sampled.
pub(crate) const GAP_STACKS: usize = 256;

/// Of those, kept with a gap that is over: those it spent most in. More than anyone reads.
pub(crate) const GAP_STACKS_KEPT: usize = 8;

/// Distinct range names and shapes of a session. A model of 100 layers with its operators and their
/// shapes has some 10 000.
pub(crate) const LABELS: usize = 1 << 18;

/// Distinct combinations of open ranges at a launch: modules times operators times shapes.
pub(crate) const RANGES: usize = 1 << 18;

/// Ranges of one kind open at once on one thread. Python gives up at 1000 frames, of which few are
/// modules or operators.
pub(crate) const RANGE_DEPTH: usize = 512;
