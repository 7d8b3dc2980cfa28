//! CUPTI as the shim uses it: every function resolved at run time, every call guarded.

use std::ffi::c_void;
use std::ptr::null_mut;

use cupti_sys::function as f;
use cupti_sys::result::{CuptiResult, SUCCESS};

use crate::loader::Library;

/// The loaded library. Functions the shim cannot do without are plain, the rest optional.
#[derive(Debug)]
pub(crate) struct Cupti {
    get_version: f::GetVersion,
    subscribe: f::Subscribe,
    unsubscribe: f::Unsubscribe,
    enable_callback: f::EnableCallback,
    register_callbacks: f::ActivityRegisterCallbacks,
    register_timestamp: f::ActivityRegisterTimestampCallback,
    enable: f::ActivityKind,
    disable: f::ActivityKind,
    flush_all: f::ActivityFlushAll,
    next_record: f::ActivityGetNextRecord,
    dropped_records: f::ActivityGetNumDroppedRecords,
    set_attribute: Option<f::ActivitySetAttribute>,
    graph_id: Option<f::GetGraphId>,
    graph_node_id: Option<f::GetGraphNodeId>,
    /// From 12.3.
    graph_exec_id: Option<f::GetGraphId>,
}

/// A subscription handle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription(f::Subscriber);

impl Subscription {
    /// One that somebody else made.
    pub(crate) fn of(handle: f::Subscriber) -> Self {
        Self(handle)
    }
}

// SAFETY: CUPTI's handles are not bound to a thread.
unsafe impl Send for Subscription {}

impl Cupti {
    /// `None` when a function the shim cannot do without is missing.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one table, one argument for all")]
    pub(crate) fn resolve(library: Library) -> Option<Self> {
        // SAFETY: each symbol has the type that CUPTI documents for it, unchanged from 12.0 to 13.5.
        unsafe {
            Some(Self {
                get_version: library.function(c"cuptiGetVersion")?,
                subscribe: library.function(c"cuptiSubscribe")?,
                unsubscribe: library.function(c"cuptiUnsubscribe")?,
                enable_callback: library.function(c"cuptiEnableCallback")?,
                register_callbacks: library.function(c"cuptiActivityRegisterCallbacks")?,
                register_timestamp: library.function(c"cuptiActivityRegisterTimestampCallback")?,
                enable: library.function(c"cuptiActivityEnable")?,
                disable: library.function(c"cuptiActivityDisable")?,
                flush_all: library.function(c"cuptiActivityFlushAll")?,
                next_record: library.function(c"cuptiActivityGetNextRecord")?,
                dropped_records: library.function(c"cuptiActivityGetNumDroppedRecords")?,
                set_attribute: library.function(c"cuptiActivitySetAttribute"),
                graph_id: library.function(c"cuptiGetGraphId"),
                graph_node_id: library.function(c"cuptiGetGraphNodeId"),
                graph_exec_id: library.function(c"cuptiGetGraphExecId"),
            })
        }
    }

    /// `cuptiGetVersion`'s answer.
    pub(crate) fn version(&self) -> Result<u32, CuptiResult> {
        let mut version = 0;
        // SAFETY: the out pointer is a live u32.
        check(unsafe { (self.get_version)(&raw mut version) })?;
        Ok(version)
    }

    /// Becomes the subscriber. `callback` gets `user_data`, which must live for ever.
    pub(crate) fn subscribe(
        &self,
        callback: f::Callback,
        user_data: *mut c_void,
    ) -> Result<Subscription, CuptiResult> {
        let mut subscriber = null_mut();
        // SAFETY: the out pointer is live; the callback catches its panics.
        check(unsafe { (self.subscribe)(&raw mut subscriber, callback, user_data) })?;
        Ok(Subscription(subscriber))
    }

    pub(crate) fn unsubscribe(&self, subscription: Subscription) -> Result<(), CuptiResult> {
        // SAFETY: the handle came from `subscribe` and is given up here.
        check(unsafe { (self.unsubscribe)(subscription.0) })
    }

    pub(crate) fn enable_callback(
        &self,
        subscription: Subscription,
        domain: u32,
        id: u32,
    ) -> Result<(), CuptiResult> {
        // SAFETY: the handle is subscribed; unknown ids are answered with an error.
        check(unsafe { (self.enable_callback)(1, subscription.0, domain, id) })
    }

    pub(crate) fn disable_callback(
        &self,
        subscription: Subscription,
        domain: u32,
        id: u32,
    ) -> Result<(), CuptiResult> {
        // SAFETY: as above.
        check(unsafe { (self.enable_callback)(0, subscription.0, domain, id) })
    }

    pub(crate) fn register_buffers(
        &self,
        requested: f::BufferRequested,
        completed: f::BufferCompleted,
    ) -> Result<(), CuptiResult> {
        // SAFETY: both functions catch their panics and live for ever.
        check(unsafe { (self.register_callbacks)(requested, completed) })
    }

    pub(crate) fn register_clock(&self, clock: f::TimestampSource) -> Result<(), CuptiResult> {
        // SAFETY: the function cannot panic and lives for ever.
        check(unsafe { (self.register_timestamp)(clock) })
    }

    /// Puts the clock back that was there before ours: `clock`, or CUPTI's own where nobody had replaced it.
    pub(crate) fn register_clock_of(&self, clock: *mut c_void) -> Result<(), CuptiResult> {
        if clock.is_null() {
            return self.register_clock(cupti_clock);
        }
        // SAFETY: another tool passed this function for this use.
        let clock = unsafe { std::mem::transmute::<*mut c_void, f::TimestampSource>(clock) };
        self.register_clock(clock)
    }

    /// Tells CUPTI that buffers come zeroed. Refusal only costs speed.
    pub(crate) fn promise_zeroed_buffers(&self) {
        let Some(set_attribute) = self.set_attribute else {
            return;
        };
        let mut size = 1_usize;
        let mut value = 1_u8;
        // SAFETY: the attribute is a u8; both pointers are live.
        let _refused = unsafe {
            set_attribute(
                f::ATTRIBUTE_ZEROED_OUT_ACTIVITY_BUFFER,
                &raw mut size,
                (&raw mut value).cast(),
            )
        };
    }

    pub(crate) fn enable(&self, kind: u32) -> Result<(), CuptiResult> {
        // SAFETY: a plain call; unknown kinds are answered with an error.
        check(unsafe { (self.enable)(kind) })
    }

    pub(crate) fn disable(&self, kind: u32) -> Result<(), CuptiResult> {
        // SAFETY: as above.
        check(unsafe { (self.disable)(kind) })
    }

    /// Hands complete buffers back; with `forced` also unfinished ones.
    pub(crate) fn flush(&self, forced: bool) -> Result<(), CuptiResult> {
        // SAFETY: called from the shim's own thread or at exit, never inside a callback.
        check(unsafe { (self.flush_all)(if forced { f::FLUSH_FORCED } else { 0 }) })
    }

    /// The record after `record` (null = first) in a completed buffer.
    ///
    /// # Safety
    /// `buffer` is a completed buffer with `valid` bytes of records; `record` came from this call.
    pub(crate) unsafe fn next_record(
        &self,
        buffer: *mut u8,
        valid: usize,
        record: *mut u8,
    ) -> Result<*mut u8, CuptiResult> {
        let mut next = record;
        // SAFETY: the caller's promise.
        check(unsafe { (self.next_record)(buffer, valid, &raw mut next) })?;
        Ok(next)
    }

    /// Records CUPTI dropped since the last question.
    ///
    /// # Safety
    /// `context` and `stream` are what the completion callback was given.
    pub(crate) unsafe fn dropped(&self, context: *mut c_void, stream: u32) -> u64 {
        let mut dropped = 0;
        // SAFETY: the caller's promise; the out pointer is live.
        let result = unsafe { (self.dropped_records)(context, stream, &raw mut dropped) };
        if result == SUCCESS { dropped as u64 } else { 0 }
    }

    /// The id of a graph, 0 for null or where CUPTI cannot tell.
    pub(crate) fn graph_id(&self, graph: *mut c_void) -> u32 {
        ask(
            graph,
            0,
            self.graph_id.map(|function| {
                move |graph, out| {
                    // SAFETY: `graph` is the live handle of the callback under way, `out` a live u32.
                    unsafe { function(graph, out) }
                }
            }),
        )
    }

    /// The id of an executable graph, 0 for null or before CUPTI 12.3.
    pub(crate) fn graph_exec_id(&self, exec: *mut c_void) -> u32 {
        ask(
            exec,
            0,
            self.graph_exec_id.map(|function| {
                move |exec, out| {
                    // SAFETY: as above.
                    unsafe { function(exec, out) }
                }
            }),
        )
    }

    /// The id of a graph node, 0 for null or where CUPTI cannot tell.
    pub(crate) fn graph_node_id(&self, node: *mut c_void) -> u64 {
        ask(
            node,
            0,
            self.graph_node_id.map(|function| {
                move |node, out| {
                    // SAFETY: as above, with a live u64.
                    unsafe { function(node, out) }
                }
            }),
        )
    }
}

/// What CUPTI goes by where nobody replaces it: `CLOCK_REALTIME`, ns. There is no call that would take a replacement away.
extern "C" fn cupti_clock() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the out pointer is live; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.unsigned_abs())
}

/// Asks an optional id function about a handle.
fn ask<T: Copy>(
    handle: *mut c_void,
    nothing: T,
    function: Option<impl Fn(*mut c_void, *mut T) -> CuptiResult>,
) -> T {
    let Some(function) = function else {
        return nothing;
    };
    if handle.is_null() {
        return nothing;
    }
    let mut id = nothing;
    if function(handle, &raw mut id) == SUCCESS { id } else { nothing }
}

fn check(result: CuptiResult) -> Result<(), CuptiResult> {
    if result == SUCCESS { Ok(()) } else { Err(result) }
}
