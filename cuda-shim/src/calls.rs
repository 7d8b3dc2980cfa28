//! Launch and synchronisation callbacks: the hot path. No lock, no allocation, no system call.
//!
//! A runtime call nests driver calls with the same correlation id; only the outermost counts.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use cupti_sys::callback::{
    Call, CallbackData, DOMAIN_DRIVER, DOMAIN_RESOURCE, DOMAIN_RUNTIME, DRIVER_GRAPH_UPDATES,
    SITE_ENTER,
};
use wire::shim::{
    CALLBACK_DRIVER, FAILED_CAPTURED, LAUNCH_COPY, LAUNCH_GRAPH, LAUNCH_SAMPLED,
    LaunchFailedRecord, LaunchRecord, SYNC_CONTEXT, SYNC_EVENT, SYNC_STREAM, SyncRecord,
    record_kind,
};

use crate::boundary::at_boundary;
use crate::cost::Timed;
use crate::gate::{CALLS, MEMORY, RESOURCES, STACKS};
use crate::graphs;
use crate::memory;
use crate::probe::warplens_probe_launch;
use crate::sampling::Candidate;
use crate::shim::Shim;
use crate::teller::{now_ns, producer_of};
use crate::thread_local::ThreadLocal;

/// CUPTI's subscriber callback; `user_data` is the shim.
pub(crate) extern "C" fn on_callback(
    user_data: *mut c_void,
    domain: u32,
    id: u32,
    data: *const c_void,
) {
    at_boundary((), || {
        // SAFETY: the shim subscribed itself, and it lives for ever.
        let Some(shim) = (unsafe { user_data.cast::<Shim>().as_ref() }) else {
            return;
        };
        let open = shim.gate.bits();
        match domain {
            DOMAIN_DRIVER if DRIVER_GRAPH_UPDATES.contains(&id) => {
                // SAFETY: in this domain CUPTI passes a CallbackData, valid during the callback.
                if let Some(data) = unsafe { data.cast::<CallbackData>().as_ref() }
                    && open & RESOURCES != 0
                {
                    graphs::on_update(shim, data);
                }
            }
            DOMAIN_RUNTIME | DOMAIN_DRIVER if open & (CALLS | MEMORY) != 0 => {
                // SAFETY: in these domains CUPTI passes a CallbackData, valid during the callback.
                let Some(data) = (unsafe { data.cast::<CallbackData>().as_ref() }) else {
                    return;
                };
                let (call, callback) = if domain == DOMAIN_RUNTIME {
                    (shim.runtime_call(id), id)
                } else {
                    (shim.driver_call(id), id | CALLBACK_DRIVER)
                };
                match call.filter(|_| open & CALLS != 0) {
                    Some(call) if data.site == SITE_ENTER => enter(shim, call, callback, data),
                    Some(call) => exit(shim, call, callback, data),
                    None if domain == DOMAIN_DRIVER && open & MEMORY != 0 => {
                        if let Some(call) = memory::call_of(id) {
                            memory::on_call(shim, call, data);
                        }
                    }
                    None => {}
                }
            }
            DOMAIN_RESOURCE if open & RESOURCES != 0 => {
                // SAFETY: CUPTI's own data for this id.
                unsafe { graphs::on_resource(shim, id, data) };
            }
            _ => {}
        }
    });
}

fn enter(shim: &Shim, call: Call, callback: u32, data: &CallbackData) {
    let thread = shim.thread();
    if thread.open.get() != 0 {
        if thread.open_correlation.get() == data.correlation_id {
            return;
        }
        // The open call never returned here: it was jumped over, or we were disarmed in between.
        shim.region.stats().callbacks_ignored.fetch_add(1, Ordering::Relaxed);
    }
    thread.open_correlation.set(data.correlation_id);
    thread.open_callback.set(callback);
    thread.open_captured.set(0);
    thread.open_node.set(0);
    thread.open_weight.set(0);
    thread.open_enter.set(now_ns());
    thread.open_key.set(key_of(call, callback, data));
    thread.open.set(1);
    if !matches!(call, Call::SyncContext | Call::SyncStream | Call::SyncEvent) {
        record_launch(shim, call, data, thread);
    }
    if let Some(timed) = Timed::at(thread.open_enter.get(), data.correlation_id) {
        timed.end(shim.region.stats());
    }
}

fn record_launch(shim: &Shim, call: Call, data: &CallbackData, thread: &ThreadLocal) {
    let mut flags = match call {
        Call::Graph => LAUNCH_GRAPH,
        Call::Copy => LAUNCH_COPY,
        _ => 0,
    };
    if shim.gate.has(STACKS) {
        let control = shim.region.control();
        let candidate = Candidate {
            key: thread.open_key.get(),
            is_graph: call == Call::Graph,
            now_ns: thread.open_enter.get(),
            rate: control.stack_rate.load(Ordering::Relaxed),
            generation: control.observer.load(Ordering::Relaxed),
        };
        thread.open_weight.set(thread.sample(|sampler| sampler.decide(candidate)));
    }
    if thread.open_weight.get() != 0 {
        flags |= LAUNCH_SAMPLED;
    }
    let producer = producer_of(thread);
    let record = LaunchRecord {
        kind: record_kind::LAUNCH,
        producer,
        flags,
        enter_ns: thread.open_enter.get(),
        function: thread.open_key.get(),
        thread: thread.number.get(),
        weight: thread.open_weight.get(),
        correlation: data.correlation_id,
        callback: thread.open_callback.get(),
        context: data.context_uid,
        reserved: 0,
        reserved2: 0,
    };
    shim.push(producer, &[zerocopy::transmute!(record)]);
}

fn exit(shim: &Shim, call: Call, callback: u32, data: &CallbackData) {
    let thread = shim.thread();
    if thread.open.get() == 0
        || thread.open_correlation.get() != data.correlation_id
        || thread.open_callback.get() != callback
    {
        return;
    }
    thread.open.set(0);
    let timed = Timed::begin(data.correlation_id, thread.open_weight.get() != 0);
    returned(shim, call, callback, data, thread);
    if let Some(timed) = timed {
        timed.end(shim.region.stats());
    }
}

fn returned(shim: &Shim, call: Call, callback: u32, data: &CallbackData, thread: &ThreadLocal) {
    // SAFETY: at the exit site CUPTI points to the call's result, a CUresult or cudaError_t.
    let result = unsafe { data.function_return_value.as_ref() }.copied().unwrap_or(0);
    let producer = producer_of(thread);
    let scope = match call {
        Call::SyncContext => SYNC_CONTEXT,
        Call::SyncStream => SYNC_STREAM,
        Call::SyncEvent => SYNC_EVENT,
        Call::Kernel { .. } | Call::Graph | Call::Copy => {
            return launch_returned(shim, call, result, data.correlation_id, thread, producer);
        }
    };
    let record = SyncRecord {
        kind: record_kind::SYNC,
        producer,
        flags: scope,
        enter_ns: thread.open_enter.get(),
        exit_ns: now_ns(),
        handle: thread.open_key.get(),
        correlation: data.correlation_id,
        callback,
        thread: thread.number.get(),
        context: data.context_uid,
        result,
        reserved: 0,
    };
    shim.push(producer, &[zerocopy::transmute!(record)]);
}

fn launch_returned(
    shim: &Shim,
    call: Call,
    result: u32,
    correlation: u32,
    thread: &ThreadLocal,
    producer: u16,
) {
    let stats = shim.region.stats();
    // Copies are recorded for their stacks; only kernels and graphs count as launches.
    if call != Call::Copy {
        let counter = if result == 0 { &stats.launches } else { &stats.launches_failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if result == 0 && call == Call::Graph {
            stats.graph_launches.fetch_add(1, Ordering::Relaxed);
        }
    }
    graphs::call_returned(shim, thread);
    let captured = thread.open_captured.get() != 0;
    if result != 0 || captured {
        let record = LaunchFailedRecord {
            kind: record_kind::LAUNCH_FAILED,
            producer,
            flags: if captured { FAILED_CAPTURED } else { 0 },
            correlation,
            callback: thread.open_callback.get(),
            result,
            reserved: 0,
            reserved2: [0; 4],
        };
        shim.push(producer, &[zerocopy::transmute!(record)]);
    } else if thread.open_weight.get() != 0 {
        stats.stacks_sampled.fetch_add(1, Ordering::Relaxed);
        let (weight, number) = (thread.open_weight.get(), thread.number.get());
        let key = thread.open_key.get();
        warplens_probe_launch(correlation.into(), weight.into(), number.into(), key);
    }
}

/// What the launch is of: a function or graph handle, the stream or event waited for, or, for copies, the call.
fn key_of(call: Call, callback: u32, data: &CallbackData) -> u64 {
    let word = match call {
        Call::Kernel { function_word } => function_word,
        Call::Graph | Call::SyncStream | Call::SyncEvent => 0,
        Call::Copy | Call::SyncContext => return u64::from(callback) << 3,
    };
    let params = data.function_params.cast::<u64>();
    if params.is_null() {
        return 0;
    }
    // SAFETY: the arguments of these calls, in prototype order, begin with `word + 1` pointers.
    unsafe { params.wrapping_add(word).read() }
}
