//! The side of the channel that the simulated libcuda calls.

use std::sync::OnceLock;

use sim_channel::callback::{DRIVER, RUNTIME};
use sim_channel::work::{ApiRecord, MemoryRecord, SyncRecord, kind};
use sim_channel::{Channel, Profiler, Work, find};

use crate::encode::Record;
use crate::{buffers, delivery, external, pending, settings, subscriber, worker};

static PROFILER: Profiler =
    Profiler { callback: subscriber::deliver, prepare, submit, call_exit, api, memory, sync };

/// The channel to the simulated libcuda of this process, once that is loaded. Makes this library its
/// profiler.
pub(crate) fn channel() -> Option<&'static Channel> {
    static CHANNEL: OnceLock<&'static Channel> = OnceLock::new();
    if let Some(channel) = CHANNEL.get() {
        return Some(channel);
    }
    let channel = find::channel()?;
    channel
        .profiler
        .store(std::ptr::from_ref(&PROFILER).cast_mut(), std::sync::atomic::Ordering::Release);
    Some(CHANNEL.get_or_init(|| channel))
}

extern "C" fn prepare() {
    buffers::prepare();
}

extern "C" fn submit(work: *const Work, count: usize) -> u32 {
    // SAFETY: libcuda passes an array of `count` pieces of work of its own.
    let works = unsafe { std::slice::from_raw_parts(work, count) };
    let Some(first) = works.first() else { return 0 };
    let channel = channel();
    let by_graph = channel.is_some_and(|channel| channel.records(kind::GRAPH_TRACE));
    let wants_exit = if first.graph != 0 && by_graph {
        let mut whole = *first;
        whole.start = works.iter().map(|work| work.start).min().unwrap_or(first.start);
        whole.end = works.iter().map(|work| work.end).max().unwrap_or(first.end);
        pending::push(&[whole], true)
    } else {
        pending::push(works, false)
    };
    worker::wake();
    u32::from(wants_exit)
}

extern "C" fn call_exit(sequence: u64, time: u64) {
    pending::call_exit(sequence, time);
}

extern "C" fn api(record: *const ApiRecord) {
    // SAFETY: libcuda passes a record of its own stack.
    let record = unsafe { *record };
    let domain = if record.kind == kind::RUNTIME { RUNTIME } else { DRIVER };
    if !settings::api_enabled(domain, record.cbid) {
        return;
    }
    if channel().is_some_and(|channel| channel.records(kind::EXTERNAL_CORRELATION)) {
        for (kind, id) in external::tops() {
            delivery::add(Record::External { kind, id, correlation: record.correlation });
        }
    }
    delivery::add(Record::Api(record));
    worker::wake();
}

extern "C" fn memory(record: *const MemoryRecord) {
    // SAFETY: libcuda passes a record of its own stack.
    delivery::add(Record::Memory(unsafe { *record }));
    worker::wake();
}

extern "C" fn sync(record: *const SyncRecord) {
    // SAFETY: libcuda passes a record of its own stack.
    delivery::add(Record::Sync(unsafe { *record }));
    worker::wake();
}
