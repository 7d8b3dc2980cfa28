//! The virtual device: when launched work starts and ends, and what it does to memory.
//!
//! ```text
//! start = max(now + launch latency, end of the stream's work, events waited for)
//! end   = start + duration
//! ```
//! Streams of a device run concurrently. All times are known at launch, in `CLOCK_MONOTONIC`. Memory is
//! copied and set when the work is launched; nothing else runs on the device that could tell.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;

use sim_channel::work::{Outcome, kind};
use sim_channel::{Work, clock, lock};
use sim_truth::{Entry, WorkKind};

use crate::api::{self, Call};
use crate::capture;
use crate::config;
use crate::context;
use crate::error::{Cu, CuError, INVALID_VALUE};
use crate::graph::Graph;
use crate::host::CHANNEL;
use crate::memory::{self, Family};
use crate::module::Function;
use crate::stream::Stream;
use crate::{resource, timer, truth};

/// What a stream or a graph node can be told to do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Kernel(Kernel),
    Copy(Copy2d),
    Set(Set2d),
    Host(HostFunction),
    /// A graph node that only orders others.
    Empty,
    /// A graph node that stands for a graph, the parent's own copy.
    Child(Arc<Graph>),
}

#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) function: Arc<Function>,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared: u32,
    /// CUPTI's launch type: 0 regular, 1 cooperative.
    pub(crate) launch_type: u8,
}

/// A copy of `height` rows of `width` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy2d {
    pub(crate) to: u64,
    pub(crate) from: u64,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) to_pitch: u64,
    pub(crate) from_pitch: u64,
}

/// A set of `height` rows of `width` elements of 1, 2 or 4 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set2d {
    pub(crate) to: u64,
    pub(crate) value: u32,
    pub(crate) element: u64,
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) pitch: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct HostFunction {
    pub(crate) function: extern "C" fn(*mut c_void),
    pub(crate) data: usize,
}

/// Where a piece of work belongs in a graph; zeros outside one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GraphPlace {
    pub(crate) graph: u32,
    pub(crate) node: u64,
    pub(crate) source_graph: u32,
    pub(crate) source_node: u64,
    /// Where the program says the node was made.
    pub(crate) site: u32,
}

/// A stream as records name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) device: u32,
    pub(crate) context: u32,
    pub(crate) stream: u32,
    pub(crate) priority: i32,
}

thread_local! {
    /// Start and duration prescribed for this thread's next launch.
    static PRESCRIBED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// Prescribes the next launch, copy or set of this thread: `start` in `CLOCK_MONOTONIC` ns, taken
/// literally unless the stream is busy by then or it is already past.
pub(crate) fn prescribe(start: u64, duration: u64) {
    PRESCRIBED.set(Some((start, duration)));
}

/// Gives work to a stream, or to the graph that is being captured from it. Returns when it ends.
pub(crate) fn launch(call: &Call, stream: &Arc<Stream>, task: &Task) -> Result<u64, CuError> {
    if let Some(end) = capture::take(stream, task)? {
        api::mark_captured();
        return Ok(end);
    }
    if let Task::Kernel(kernel) = task {
        announce_implicit(&kernel.function)?;
    }
    let wanted = task.activity().is_some_and(|kind| CHANNEL.records(kind));
    let profiler = CHANNEL.profiler().filter(|_| wanted);
    if let Some(profiler) = profiler {
        (profiler.prepare)();
    }
    task.apply()?;
    let prescribed = PRESCRIBED.take();
    let mut state = lock(&stream.state);
    let now = clock::now();
    let (earliest, duration) =
        prescribed.unwrap_or_else(|| (now + config::get().launch_latency, task.duration()));
    let start = stream.ready(&state, earliest.max(now));
    let end = start + duration;
    stream.extend(&mut state, end);
    let Some(mut work) =
        task.work(call, stream.place(), GraphPlace::default(), Span { launched: now, start, end })
    else {
        if let Task::Host(host) = *task {
            timer::at(end, move || host.run());
        }
        return Ok(end);
    };
    record(&mut work, task, wanted);
    if let Some(profiler) = profiler {
        hold_name(task);
        // Under the stream's lock, so that records keep the order of launches.
        if (profiler.submit)(&raw const work, 1) != 0 {
            api::want_exit();
        }
    }
    Ok(end)
}

/// When a piece of work was launched, starts and ends, ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) launched: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Numbers a piece of work and writes it into the truth.
pub(crate) fn record(work: &mut Work, task: &Task, wanted: bool) {
    work.sequence = truth::next_work();
    let Some(writer) = truth::writer() else {
        return;
    };
    let (kind, name) = match task {
        Task::Kernel(kernel) => (WorkKind::Kernel, kernel.function.truth_name),
        Task::Copy(_) => (WorkKind::Copy, 0),
        Task::Set(_) | Task::Host(_) | Task::Empty | Task::Child(_) => (WorkKind::Set, 0),
    };
    writer.append(&Entry::Work(sim_truth::Work {
        sequence: work.sequence,
        call: work.call,
        start_ns: work.start,
        end_ns: work.end,
        graph_node: work.graph_node,
        bytes: work.bytes,
        correlation: work.correlation,
        name,
        device: work.device,
        context: work.context,
        stream: work.stream,
        graph: work.graph,
        site: work.site,
        kind,
    }));
    if !wanted {
        writer.append(&Entry::Settled(sim_truth::Settled {
            work: work.sequence,
            clock_offset: 0,
            outcome: sim_truth::Outcome::NotEnabled,
        }));
    }
}

/// The truth's word for what became of a record.
pub(crate) fn outcome(outcome: Outcome) -> sim_truth::Outcome {
    match outcome {
        Outcome::Delivered => sim_truth::Outcome::Delivered,
        Outcome::Zeroed => sim_truth::Outcome::Zeroed,
        Outcome::Dropped => sim_truth::Outcome::Dropped,
        Outcome::Incomplete => sim_truth::Outcome::Incomplete,
    }
}

/// Keeps a kernel's name alive until its record is gone.
pub(crate) fn hold_name(task: &Task) {
    if let Task::Kernel(kernel) = task {
        kernel.function.module.hold();
    }
}

/// Kernels that exist by being named belong to a module that a context loads at first use.
pub(crate) fn announce_implicit(function: &Function) -> Cu {
    if function.module.implicit {
        let context = context::current()?;
        if !context.named_loaded.swap(true, std::sync::atomic::Ordering::Relaxed) {
            resource::module(sim_channel::callback::resource::MODULE_LOADED, 1, &[]);
        }
    }
    Ok(())
}

impl Stream {
    /// How records name the stream.
    pub(crate) fn place(&self) -> Place {
        Place {
            device: self.device,
            context: self.context_id,
            stream: self.id,
            priority: self.priority,
        }
    }
}

impl HostFunction {
    /// Calls it.
    pub(crate) fn run(self) {
        (self.function)(std::ptr::with_exposed_provenance_mut(self.data));
    }
}

impl Task {
    /// The activity kind its record has; `None` where there is no record.
    pub(crate) fn activity(&self) -> Option<u32> {
        match self {
            Self::Kernel(_) => Some(if CHANNEL.records(kind::KERNEL) {
                kind::KERNEL
            } else {
                kind::CONCURRENT_KERNEL
            }),
            Self::Copy(_) => Some(kind::MEMCPY),
            Self::Set(_) => Some(kind::MEMSET),
            Self::Host(_) | Self::Empty | Self::Child(_) => None,
        }
    }

    /// How long it takes, ns. Rates are about those of an H100 on `PCIe` 5.
    pub(crate) fn duration(&self) -> u64 {
        match self {
            Self::Kernel(kernel) => kernel.function.next_duration(),
            Self::Copy(copy) => {
                let gigabytes_per_second = match copy.kinds().0 {
                    1 | 2 => 50,
                    10 => 200,
                    _ => 1500,
                };
                1_500 + copy.bytes() / gigabytes_per_second
            }
            Self::Set(set) => 1_200 + set.bytes() / 2000,
            Self::Host(_) => 5_000,
            Self::Empty | Self::Child(_) => 0,
        }
    }

    /// The record-to-be.
    pub(crate) fn work(
        &self,
        call: &Call,
        place: Place,
        graph: GraphPlace,
        span: Span,
    ) -> Option<Work> {
        let mut work = Work {
            kind: self.activity()?,
            device: place.device,
            context: place.context,
            stream: place.stream,
            correlation: call.correlation,
            graph: graph.graph,
            graph_node: graph.node,
            source_graph: graph.source_graph,
            registers: 0,
            copy_kind: 0,
            source_kind: 0,
            source_node: graph.source_node,
            launched: span.launched,
            start: span.start,
            end: span.end,
            bytes: 0,
            name: std::ptr::null(),
            module: 0,
            grid: [0; 3],
            block: [0; 3],
            dynamic_shared: 0,
            priority: place.priority,
            value: 0,
            destination_kind: 0,
            launch_type: 0,
            flags: 0,
            padding: 0,
            site: graph.site,
            reserved: 0,
            sequence: 0,
            call: call.sequence,
        };
        match self {
            Self::Kernel(kernel) => {
                work.name = kernel.function.name();
                work.module = kernel.function.module.number;
                work.grid = kernel.grid;
                work.block = kernel.block;
                work.dynamic_shared = kernel.dynamic_shared;
                work.launch_type = kernel.launch_type;
                work.registers = 32;
            }
            Self::Copy(copy) => {
                (work.copy_kind, work.source_kind, work.destination_kind) = copy.kinds();
                work.bytes = copy.bytes();
                work.flags = 1;
            }
            Self::Set(set) => {
                work.bytes = set.bytes();
                work.value = set.value;
                work.destination_kind = memory_kind(set.to);
                work.flags = 1;
            }
            Self::Host(_) | Self::Empty | Self::Child(_) => {}
        }
        Some(work)
    }

    /// Does to memory what the work does.
    pub(crate) fn apply(&self) -> Cu {
        match self {
            Self::Copy(copy) => copy.apply(),
            Self::Set(set) => set.apply(),
            Self::Kernel(_) | Self::Host(_) | Self::Empty | Self::Child(_) => Ok(()),
        }
    }
}

impl Copy2d {
    /// A copy of one row.
    pub(crate) fn flat(to: u64, from: u64, bytes: u64) -> Self {
        Self { to, from, width: bytes, height: 1, to_pitch: bytes, from_pitch: bytes }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.width * self.height
    }

    /// CUPTI's copy kind, source and destination memory kind.
    fn kinds(&self) -> (u8, u8, u8) {
        let (from, to) = (memory_kind(self.from), memory_kind(self.to));
        let on_device = |kind: u8| kind == 3 || kind == 5;
        let devices = || {
            let device = |address| memory::block(address).map(|block| block.device);
            device(self.from) != device(self.to)
        };
        let kind = match (on_device(from), on_device(to)) {
            (false, true) => 1,
            (true, false) => 2,
            (true, true) if devices() => 10,
            (true, true) => 8,
            (false, false) => 9,
        };
        (kind, from, to)
    }

    fn apply(&self) -> Cu {
        check(self.to, span(self.width, self.height, self.to_pitch))?;
        check(self.from, span(self.width, self.height, self.from_pitch))?;
        if self.bytes() > config::get().touch_max {
            return Ok(());
        }
        for row in 0..self.height {
            let to = pointer(self.to + row * self.to_pitch);
            let from = pointer(self.from + row * self.from_pitch);
            let width = usize::try_from(self.width).unwrap_or(0);
            // SAFETY: device ranges were checked against the allocation table above and lie in the
            // range `memory` mapped; host ranges are the C caller's word, as with the real driver.
            unsafe { std::ptr::copy(from.cast_const(), to, width) };
        }
        Ok(())
    }
}

impl Set2d {
    pub(crate) fn bytes(&self) -> u64 {
        self.element * self.width * self.height
    }

    fn apply(&self) -> Cu {
        check(self.to, span(self.element * self.width, self.height, self.pitch))?;
        if self.bytes() > config::get().touch_max {
            return Ok(());
        }
        let pattern = self.value.to_le_bytes();
        let element = usize::try_from(self.element).unwrap_or(1).clamp(1, 4);
        for row in 0..self.height {
            let start = pointer(self.to + row * self.pitch);
            let length = usize::try_from(self.width).unwrap_or(0) * element;
            // SAFETY: the range was checked against the allocation table above and lies in the range
            // `memory` mapped, which is always initialised (zeros or data); no Rust value lives there.
            let bytes = unsafe { std::slice::from_raw_parts_mut(start, length) };
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = pattern[index % element];
            }
        }
        Ok(())
    }
}

/// Bytes from the first to the last one of some rows.
fn span(width: u64, height: u64, pitch: u64) -> u64 {
    if height == 0 { 0 } else { (height - 1) * pitch + width }
}

/// Fails when a range begins in memory of ours and does not fit there.
fn check(address: u64, length: u64) -> Cu {
    if address == 0 && length > 0 {
        return Err(INVALID_VALUE);
    }
    let Some(block) = memory::block(address) else {
        return Ok(());
    };
    let unmapped = block.family == Family::Reserved && memory::mapping(address).is_none();
    let beyond = address + length > block.address + block.size;
    if unmapped || (beyond && block.family != Family::Registered) {
        return Err(INVALID_VALUE);
    }
    Ok(())
}

/// CUPTI's kind of the memory at an address.
fn memory_kind(address: u64) -> u8 {
    match memory::block(address).map(|block| block.family) {
        None => 1,
        Some(Family::Host | Family::Registered) => 2,
        Some(Family::Device | Family::Pool | Family::Reserved) => 3,
        Some(Family::Managed) => 5,
    }
}

fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0))
}
