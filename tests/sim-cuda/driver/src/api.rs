//! Opens and closes API calls: correlation ids, callbacks, API records, truth.
//!
//! A runtime call and the driver calls it makes share one correlation id: the outermost call of a
//! thread draws it, nested ones reuse it.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sim_channel::callback::{self, CallbackData, SITE_ENTER, SITE_EXIT};
use sim_channel::work::{ApiRecord, kind};
use sim_channel::{Effect, Frame, Site, clock};
use sim_truth::{Call as TruthCall, Effect as TruthEffect, Entry};

use crate::error::{Cu, CuResult, LAUNCH_OUT_OF_RESOURCES, code};
use crate::host::CHANNEL;
use crate::{config, context, init, truth};

/// The open call, as the code behind it sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) correlation: u32,
    /// Number of the outermost call.
    pub(crate) sequence: u64,
}

struct Thread {
    depth: Cell<u32>,
    correlation: Cell<u32>,
    sequence: Cell<u64>,
    enter_ns: Cell<u64>,
    entered_ns: Cell<u64>,
    leaving_ns: Cell<u64>,
    /// The profiler wants to hear when the outermost call returns.
    exit_wanted: Cell<bool>,
    /// The call added graph nodes instead of launching.
    captured: Cell<bool>,
    /// The kernel's thread id, 0 until asked.
    id: Cell<u32>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            depth: Cell::new(0),
            correlation: Cell::new(0),
            sequence: Cell::new(0),
            enter_ns: Cell::new(0),
            entered_ns: Cell::new(0),
            leaving_ns: Cell::new(0),
            exit_wanted: Cell::new(false),
            captured: Cell::new(false),
            id: Cell::new(0),
        }
    };
}

static SEQUENCE: AtomicU64 = AtomicU64::new(0);
static LAUNCHES: AtomicU64 = AtomicU64::new(0);

/// Runs the body of an exported function as one call.
pub(crate) fn run(
    site: &'static Site,
    params: *const c_void,
    symbol: *const c_char,
    body: impl FnOnce(&Call) -> Cu,
) -> CuResult {
    let mut frame = Frame::new(site, params, symbol);
    if let Err(error) = enter(&mut frame) {
        return error.0;
    }
    let call = Call { correlation: frame.correlation, sequence: THREAD.with(|t| t.sequence.get()) };
    let result = code(body(&call));
    exit(&mut frame, result);
    result
}

/// Opens a call.
pub(crate) fn enter(frame: &mut Frame) -> Cu {
    init::check()?;
    let site = frame.site();
    frame.correlation = THREAD.with(|thread| {
        if thread.depth.get() == 0 {
            thread.correlation.set(next_correlation());
            thread.sequence.set(SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1);
            thread.exit_wanted.set(false);
            thread.captured.set(false);
            let timed = site.effect != Effect::None && truth::writer().is_some();
            thread.enter_ns.set(if timed { clock::now() } else { 0 });
        }
        thread.depth.set(thread.depth.get() + 1);
        thread.correlation.get()
    });
    if CHANNEL.records(api_kind(site)) {
        frame.record_enter = clock::now();
    }
    deliver(frame, SITE_ENTER);
    THREAD.with(|thread| thread.note_outermost(&thread.entered_ns));
    Ok(())
}

/// Closes a call.
pub(crate) fn exit(frame: &mut Frame, result: i32) {
    let site = frame.site();
    frame.result = result;
    THREAD.with(|thread| thread.note_outermost(&thread.leaving_ns));
    deliver(frame, SITE_EXIT);
    if frame.record_enter != 0
        && let Some(profiler) = CHANNEL.profiler()
    {
        let record = ApiRecord {
            kind: api_kind(site),
            cbid: site.cbid,
            start: frame.record_enter,
            end: clock::now(),
            thread: thread_id(),
            correlation: frame.correlation,
            result,
            padding: 0,
        };
        (profiler.api)(&raw const record);
    }
    THREAD.with(|thread| {
        thread.depth.set(thread.depth.get().saturating_sub(1));
        if thread.depth.get() == 0 {
            finish(thread, site, frame.correlation, result);
        }
    });
}

impl Thread {
    /// Reads the clock, if this is an outermost call that the truth is about.
    fn note_outermost(&self, time: &Cell<u64>) {
        if self.depth.get() == 1 && self.enter_ns.get() != 0 {
            time.set(clock::now());
        }
    }
}

/// Says that the open call went into a graph that is being captured.
pub(crate) fn mark_captured() {
    THREAD.with(|thread| thread.captured.set(true));
}

/// Says that the profiler wants to know when the outermost call returns.
pub(crate) fn want_exit() {
    THREAD.with(|thread| thread.exit_wanted.set(true));
}

/// Fails the launches that `WARPLENS_SIM_FAIL_EVERY` picks.
pub(crate) fn launch_may_fail() -> Cu {
    let every = config::get().fail_every;
    let number = LAUNCHES.fetch_add(1, Ordering::Relaxed) + 1;
    if number.checked_rem(every) == Some(0) { Err(LAUNCH_OUT_OF_RESOURCES) } else { Ok(()) }
}

/// The kernel's id of this thread.
pub(crate) fn thread_id() -> u32 {
    THREAD.with(|thread| {
        if thread.id.get() == 0 {
            // SAFETY: takes no argument and cannot fail.
            let id = unsafe { libc::gettid() };
            thread.id.set(u32::try_from(id).unwrap_or(0));
        }
        thread.id.get()
    })
}

/// After the last EXIT callback of an outermost call.
fn finish(thread: &Thread, site: &Site, correlation: u32, result: i32) {
    let writer = truth::writer().filter(|_| thread.enter_ns.get() != 0);
    if writer.is_none() && !thread.exit_wanted.get() {
        return;
    }
    let exit_ns = clock::now();
    if thread.exit_wanted.get()
        && let Some(profiler) = CHANNEL.profiler()
    {
        (profiler.call_exit)(thread.sequence.get(), exit_ns);
    }
    let Some(writer) = writer else { return };
    let effect = match site.effect {
        Effect::None => return,
        Effect::Kernel => TruthEffect::Kernel,
        Effect::Graph => TruthEffect::Graph,
        Effect::Copy => TruthEffect::Copy,
        Effect::Set => TruthEffect::Set,
        Effect::Sync => TruthEffect::Sync,
    };
    if effect.is_launch() {
        writer.count(|counters| match result {
            0 => {
                counters.launches += 1;
                counters.graph_launches += u64::from(effect == TruthEffect::Graph);
            }
            _ => counters.launches_failed += 1,
        });
    }
    writer.append(&Entry::Call(TruthCall {
        sequence: thread.sequence.get(),
        enter_ns: thread.enter_ns.get(),
        entered_ns: thread.entered_ns.get(),
        leaving_ns: thread.leaving_ns.get(),
        exit_ns,
        correlation,
        thread: thread_id(),
        domain: site.domain,
        callback: site.cbid,
        result,
        effect,
        captured: thread.captured.get(),
    }));
}

fn deliver(frame: &mut Frame, at: u32) {
    let site = frame.site();
    if !CHANNEL.wants(site.domain, site.cbid) {
        return;
    }
    let Some(profiler) = CHANNEL.profiler() else {
        return;
    };
    let (context, context_uid) = context::current_numbers();
    let data = CallbackData {
        site: at,
        function_name: site.name.address(),
        function_params: frame.params,
        function_return_value: if at == SITE_EXIT {
            (&raw mut frame.result).cast()
        } else {
            std::ptr::null_mut()
        },
        symbol_name: frame.symbol,
        context,
        context_uid,
        correlation_data: &raw mut frame.data,
        correlation_id: frame.correlation,
    };
    (profiler.callback)(site.domain, site.cbid, (&raw const data).cast());
}

/// Correlation ids wrap at 32 bits and are never 0.
fn next_correlation() -> u32 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(config::get().correlation_start));
    match next.fetch_add(1, Ordering::Relaxed) {
        0 => next.fetch_add(1, Ordering::Relaxed),
        id => id,
    }
}

fn api_kind(site: &Site) -> u32 {
    if site.domain == callback::RUNTIME { kind::RUNTIME } else { kind::DRIVER }
}
