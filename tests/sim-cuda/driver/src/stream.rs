//! Streams: when the work in them ends, and how the legacy default stream holds them up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sim_channel::work::{SyncRecord, kind};
use sim_channel::{clock, lock};

use crate::api::Call;

use crate::capture::Capturing;
use crate::context;
use crate::error::{Cu, CuError, INVALID_HANDLE, NOT_READY, STREAM_CAPTURE_UNSUPPORTED};
use crate::host::CHANNEL;
use crate::pool::{Pool, Tag};
use crate::timer;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// 0 for default streams, which have no handle of their own.
    pub(crate) handle: usize,
    /// CUPTI's number.
    pub(crate) id: u32,
    pub(crate) context: usize,
    pub(crate) context_id: u32,
    pub(crate) device: u32,
    pub(crate) flags: u32,
    pub(crate) priority: i32,
    pub(crate) role: Role,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) state: Mutex<StreamState>,
}

/// How a stream relates to the legacy default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The legacy default stream itself.
    Null,
    /// Waits for it and is waited for.
    Blocking,
    /// Made with `CU_STREAM_NON_BLOCKING`.
    NonBlocking,
}

/// What changes while a stream is used.
#[derive(Debug, Default)]
pub(crate) struct StreamState {
    /// End of all work given to the stream, ns.
    pub(crate) tail: u64,
    pub(crate) capturing: Option<Capturing>,
}

/// Ends of work in a context, ns.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    null: AtomicU64,
    blocking: AtomicU64,
    any: AtomicU64,
}

/// Which default stream a null handle means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultStream {
    Legacy,
    PerThread,
}

const NON_BLOCKING: u32 = 1;
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

static STREAMS: Pool<Stream> = Pool::new(Tag::Stream);

/// Stream numbers: 7 is what the first default stream has in real traces.
static IDS: AtomicU32 = AtomicU32::new(7);

/// Draws a stream number.
pub(crate) fn next_id() -> u32 {
    IDS.fetch_add(1, Ordering::Relaxed)
}

/// A default stream for a context or a thread.
pub(crate) fn default_stream(
    context: usize,
    context_id: u32,
    device: u32,
    timeline: &Arc<Timeline>,
) -> Stream {
    Stream {
        handle: 0,
        id: next_id(),
        context,
        context_id,
        device,
        flags: 0,
        priority: 0,
        role: Role::Null,
        timeline: Arc::clone(timeline),
        state: Mutex::default(),
    }
}

/// Makes a stream in the current context.
pub(crate) fn create(flags: u32, priority: i32) -> Result<Arc<Stream>, CuError> {
    let context = context::current()?;
    let role = if flags & NON_BLOCKING == 0 { Role::Blocking } else { Role::NonBlocking };
    let (_, stream) = STREAMS.insert(|handle| Stream {
        handle,
        id: next_id(),
        context: context.handle,
        context_id: context.id,
        device: context.device,
        flags,
        priority,
        role,
        timeline: Arc::clone(&context.timeline),
        state: Mutex::default(),
    });
    Ok(stream)
}

/// The stream an argument means.
pub(crate) fn resolve(handle: usize, default: DefaultStream) -> Result<Arc<Stream>, CuError> {
    let per_thread = match handle {
        0 => default == DefaultStream::PerThread,
        LEGACY => false,
        PER_THREAD => true,
        _ => return STREAMS.get(handle),
    };
    let context = context::current()?;
    Ok(if per_thread { context.thread_stream() } else { Arc::clone(&context.null_stream) })
}

/// Makes a stream's handle invalid; its work goes on.
pub(crate) fn remove(handle: usize) -> Result<Arc<Stream>, CuError> {
    STREAMS.remove(handle).map_err(|_error| INVALID_HANDLE)
}

impl Stream {
    /// When work may start that is launched at the earliest at `earliest`.
    pub(crate) fn ready(&self, state: &StreamState, earliest: u64) -> u64 {
        let others = match self.role {
            Role::Null => self.timeline.blocking.load(Ordering::Relaxed),
            Role::Blocking => self.timeline.null.load(Ordering::Relaxed),
            Role::NonBlocking => 0,
        };
        earliest.max(state.tail).max(others)
    }

    /// Takes work into account that ends at `end`.
    pub(crate) fn extend(&self, state: &mut StreamState, end: u64) {
        state.tail = state.tail.max(end);
        let timeline = &self.timeline;
        match self.role {
            Role::Null => timeline.null.fetch_max(end, Ordering::Relaxed),
            Role::Blocking => timeline.blocking.fetch_max(end, Ordering::Relaxed),
            Role::NonBlocking => 0,
        };
        timeline.any.fetch_max(end, Ordering::Relaxed);
    }

    /// When everything in the stream will have run.
    pub(crate) fn tail(&self) -> u64 {
        let state = lock(&self.state);
        self.ready(&state, 0)
    }

    /// Waits for the stream.
    pub(crate) fn synchronize(&self, call: &Call) -> Cu {
        self.refuse_capture()?;
        wait_recorded(call, Awaited::Stream, self.context_id, self.id, self.tail());
        Ok(())
    }

    /// Whether the stream is idle.
    pub(crate) fn query(&self) -> Cu {
        self.refuse_capture()?;
        if clock::now() >= self.tail() { Ok(()) } else { Err(NOT_READY) }
    }

    /// Fails while the stream is being captured.
    pub(crate) fn refuse_capture(&self) -> Cu {
        if lock(&self.state).capturing.is_some() { Err(STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }
}

impl Timeline {
    /// When the whole context will be idle.
    pub(crate) fn tail(&self) -> u64 {
        self.any.load(Ordering::Relaxed)
    }
}

/// What a call waits for: CUPTI's synchronisation types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Event = 1,
    Stream = 3,
    Context = 4,
}

/// Waits for an instant of the virtual device and keeps a record of it.
pub(crate) fn wait_recorded(call: &Call, awaited: Awaited, context: u32, stream: u32, time: u64) {
    let start = clock::now();
    wait(time);
    if !CHANNEL.records(kind::SYNCHRONIZATION) {
        return;
    }
    let Some(profiler) = CHANNEL.profiler() else {
        return;
    };
    let record = SyncRecord {
        what: awaited as u32,
        correlation: call.correlation,
        start,
        end: clock::now(),
        context,
        stream,
        event: 0,
        padding: 0,
    };
    (profiler.sync)(&raw const record);
}

/// Waits for an instant of the virtual device, and for host functions due by then.
pub(crate) fn wait(time: u64) {
    clock::sleep_until(time);
    timer::settle(time);
}
