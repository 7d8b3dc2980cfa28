//! Every fixed capacity, with the reason for its value.

/// `true_one`, or under Miri, which carries a program out ten thousand times slower, one that it can fill.
const fn scaled(true_one: u32, for_miri: u32) -> u32 {
    if cfg!(miri) { for_miri } else { true_one }
}

/// Slots of the record ring, 64 bytes each (16 MiB). One worker writes at most about 40 000
/// records/s (kernels, launches, synchronisations), so this holds the 3 s an agent may take to
/// be noticed missing, twice over.
pub const RING_SLOTS: usize = 1 << scaled(18, 8);

/// Bytes of the kernel-name area: 20 000 distinct names at the 200-byte average of
/// real vLLM names. A worker that compiles more than that reports `names_full`.
pub const NAMES_BYTES: usize = 1 << scaled(22, 15);

/// Longest kernel name kept, bytes. The longest seen in vLLM's libraries is 5.8 kB.
pub const NAME_MAX: usize = 8 << 10;

/// Entries of the graph table, 40 bytes each (20 MiB). vLLM's default captures about 70 batch sizes
/// twice, whole and in pieces, of up to 1 500 nodes each, and every node appears twice (created,
/// cloned): at most 420 000.
pub const GRAPH_ENTRIES: usize = 1 << scaled(19, 13);

/// Of those, entries that nodes, graphs and executable graphs may take. The rest is kept for updates
/// of executable graphs: one that found no room would leave nodes with stacks that are not theirs.
pub const GRAPH_NODE_ENTRIES: usize = GRAPH_ENTRIES - (1 << 12);

/// Words of the area of capture stacks (4 MiB): 8 000 different ones of 64 frames. Batch sizes and
/// layers share theirs, so a vLLM worker has some hundred.
pub const CAPTURE_WORDS: usize = 1 << scaled(19, 10);

/// Devices one process can show. CUDA itself allows 64.
pub const DEVICES: usize = 64;

/// Loss counters, one per producing thread; threads beyond share the last one. A vLLM worker has
/// fewer than 16 threads that produce.
pub const PRODUCERS: usize = 64;

/// Threads with sampling state of their own; a thread beyond is counted and never stack-sampled.
pub const SAMPLED_THREADS: usize = 128;

/// Launch functions (kernels, graphs) a thread distinguishes when it spreads its stack samples.
/// More of them share slots, which costs variance, not truth.
pub const SAMPLED_FUNCTIONS: usize = 512;

/// Places of one unwound stack, Python's and native ones and the kernel's. vLLM's deepest have 160;
/// twice the frames of Python that are taken leaves as much for native ones.
pub const STACK_FRAMES: usize = 2 * PYTHON_FRAMES;

/// Python frames taken of one stack. Recursion deeper than this is cut at the root, and says so.
pub const PYTHON_FRAMES: usize = 256;

/// Kernel frames taken of one stack. A system call's deepest paths have about 30.
pub const KERNEL_FRAMES: usize = 32;

/// Bytes of a thread's stack taken at most. vLLM's need 28 kB at most (p99 20 kB).
pub const STACK_COPY_BYTES: usize = 32 << 10;

/// Of so many callbacks of the shim one is timed: a clock read costs as much as half a callback.
pub const CALLBACKS_PER_TIMED: u32 = 64;

/// Records a producer may reserve at once; bounds how far one stalled producer can hold the ring.
pub const BATCH: usize = 64;

/// Processes the kernel programs may be told to watch: workers of a full node, many times over.
pub const TARGETS: u32 = 4096;

/// Bytes of the kernel programs' ring buffer: 1 200 stacks of the usual 14 kB. Eight workers at
/// 100 stacks/s and thread and 64 busy CPUs at 99 Hz write about 8 000 a second, and the agent
/// reads every 50 ms or when woken.
pub const RING_BYTES: u32 = 16 << 20;

/// Bytes of the ring buffer of sleeps: 18 000 of them. A thread tells at most 5 000 a second, so this
/// is 36 threads that do nothing else, for the 100 ms between two looks.
pub const WAITS_BYTES: u32 = 1 << 20;

/// Bytes of a kernel function's name as the kernel prints it: 511 of the name itself, two numbers and a
/// module.
pub const KERNEL_SYMBOL_BYTES: u32 = 640;

/// Threads that can be inside a launch call at one time in verification mode. A thread enters the
/// table for the length of a call, so this is a bound on concurrency, far above any host's CPUs.
pub const VERIFY_THREADS: u32 = 1 << 14;

/// Threads that launch, beside the first thread of each process; and threads of watched processes
/// that can sleep at one time. A vLLM worker launches from two or three threads and has up to some
/// hundred in all, so this is a node of eight several times over.
pub const SLEEPERS: u32 = 4 * TARGETS;

/// Places of scratch memory a CPU has to put a stack together in: one for the clock, one for
/// context switches, and two for probe points, whose programs other threads can preempt. A third
/// one at the same time is rarer than one stack in a million, and counted.
pub const SCRATCH_PLACES: u32 = 4;

/// Stacks of one sleeping thread taken in a second at most. One costs some 10 us, so this bounds the
/// cost at half a thousandth of the thread's time.
pub const OFF_CPU_STACKS: u64 = 50;

/// How long a place that a thread sleeps at goes without another stack, ns. Time of sleep is told
/// exactly for each place; its stacks only say where that is.
pub const OFF_CPU_STACK_EVERY_NS: u64 = 1_000_000_000;

/// Pairs of a thread and a place it sleeps at that are remembered, the latest ones. Forgetting one costs
/// a stack too many. Threads that sleep have a handful each.
pub const SLEEP_PLACES: u32 = 4 * SLEEPERS;

/// Stacks of memory calls a process takes in a second at most; one costs some 10 us. Caching allocators ask the driver
/// some hundred times while a server starts and hardly ever later. What allocates from a pool at every step is beyond it,
/// and told without stacks for the rest of the second.
pub const MEMORY_STACKS: u32 = 500;

/// First touches of pages that are taken on a CPU before the chance of the next halves. It doubles ten times a second,
/// so at any steady rate some 80 to 160 a second are taken.
pub const TOUCHES_A_STEP: u64 = 8;
