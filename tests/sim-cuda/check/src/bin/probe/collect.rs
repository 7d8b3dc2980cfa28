//! A small profiler: a subscriber that notes every callback, buffers, and the records out of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use sim_channel::callback::{CallbackData, GraphData, RESOURCE, ResourceData};

use crate::api::Cupti;

/// An API callback as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Api {
    pub(crate) domain: u32,
    pub(crate) cbid: u32,
    pub(crate) site: u32,
    pub(crate) name: String,
    pub(crate) symbol: Option<String>,
    pub(crate) correlation: u32,
    pub(crate) context: u32,
    /// First two 64-bit words of the arguments, where there are as many.
    pub(crate) params: Option<[u64; 2]>,
    pub(crate) result: Option<i32>,
    /// What the subscriber's word was.
    pub(crate) data: u64,
}

/// A resource callback as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource {
    pub(crate) cbid: u32,
    pub(crate) graph: Option<GraphData>,
    /// API calls that were open on this thread.
    pub(crate) open: usize,
    /// CUPTI's numbers of node and original node, asked for inside the callback.
    pub(crate) node_id: u64,
    pub(crate) original_id: u64,
}

/// A kernel, copy or set record as it came.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) device: u32,
    pub(crate) context: u32,
    pub(crate) stream: u32,
    pub(crate) correlation: u32,
    pub(crate) name: String,
    pub(crate) name_address: u64,
    pub(crate) graph: u32,
    pub(crate) node: u64,
    pub(crate) bytes: u64,
    /// The thread the buffer came back on was the one that flushed.
    pub(crate) thread: std::thread::ThreadId,
}

/// Everything seen so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) api: Vec<Api>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) records: Vec<Record>,
    /// Kinds of records that are none of the three, with their correlation word.
    pub(crate) others: Vec<Vec<u8>>,
    buffers: HashMap<usize, Vec<u64>>,
}

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
static CUPTI: OnceLock<Cupti> = OnceLock::new();
static SUBSCRIBER: AtomicUsize = AtomicUsize::new(0);
/// Bytes of a buffer.
pub(crate) static BUFFER_BYTES: AtomicUsize = AtomicUsize::new(64 << 10);
/// Whether buffers are refused.
pub(crate) static REFUSE: AtomicBool = AtomicBool::new(false);

thread_local! {
    static OPEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// What was seen.
pub(crate) fn seen() -> MutexGuard<'static, Option<Seen>> {
    let mut seen = SEEN.lock().expect("no case panics while it holds this");
    seen.get_or_insert_default();
    seen
}

/// Takes what was seen.
pub(crate) fn take() -> Seen {
    seen().take().unwrap_or_default()
}

/// Loads CUPTI and subscribes; every callback of these domains is noted.
pub(crate) fn subscribe(domains: &[u32]) -> Cupti {
    let cupti = *CUPTI.get_or_init(|| Cupti::load(crate::api::cupti_file()));
    let mut subscriber = 0;
    assert_eq!((cupti.cuptiSubscribe)(&mut subscriber, on_callback, std::ptr::null_mut()), 0);
    SUBSCRIBER.store(subscriber, Ordering::Relaxed);
    for &domain in domains {
        assert_eq!((cupti.cuptiEnableDomain)(1, subscriber, domain), 0);
    }
    cupti
}

/// The present subscription.
pub(crate) fn subscriber() -> usize {
    SUBSCRIBER.load(Ordering::Relaxed)
}

/// CUPTI, without subscribing.
pub(crate) fn cupti() -> Cupti {
    *CUPTI.get_or_init(|| Cupti::load(crate::api::cupti_file()))
}

/// Takes buffers and turns kinds on.
pub(crate) fn record(kinds: &[u32]) -> Cupti {
    let cupti = cupti();
    assert_eq!((cupti.cuptiActivityRegisterCallbacks)(on_request, on_complete), 0);
    for &kind in kinds {
        assert_eq!((cupti.cuptiActivityEnable)(kind), 0, "kind {kind}");
    }
    cupti
}

extern "C" fn on_callback(_user: *mut c_void, domain: u32, cbid: u32, data: *const c_void) {
    if domain == RESOURCE {
        on_resource(cbid, data);
        return;
    }
    if domain > RESOURCE {
        return;
    }
    // SAFETY: CUPTI passes this structure for the API domains.
    let data = unsafe { &*data.cast::<CallbackData>() };
    // SAFETY: the word lives as long as the call.
    let word = unsafe { &mut *data.correlation_data };
    let before = *word;
    *word = u64::from(data.correlation_id) << 8 | u64::from(domain);
    OPEN.with_borrow_mut(|open| {
        if data.site == 0 {
            open.push(cbid);
        } else {
            assert_eq!(open.pop(), Some(cbid), "EXIT without its ENTER");
        }
    });
    let launch = matches!((domain, cbid), (2, 211) | (1, 307 | 514));
    let api = Api {
        domain,
        cbid,
        site: data.site,
        name: text(data.function_name).unwrap_or_default(),
        symbol: text(data.symbol_name),
        correlation: data.correlation_id,
        context: data.context_uid,
        // SAFETY: a launch has at least 16 bytes of arguments.
        params: launch.then(|| unsafe { data.function_params.cast::<[u64; 2]>().read_unaligned() }),
        // SAFETY: where it is not null, it points at the call's result.
        result: unsafe { data.function_return_value.cast::<i32>().as_ref() }.copied(),
        data: before,
    };
    if let Some(seen) = seen().as_mut() {
        seen.api.push(api);
    }
}

fn on_resource(cbid: u32, data: *const c_void) {
    // SAFETY: CUPTI passes this structure for the resource domain.
    let data = unsafe { &*data.cast::<ResourceData>() };
    let is_graph = matches!(cbid, 9..=20);
    // SAFETY: of a graph event the descriptor is a `GraphData`.
    let graph = is_graph.then(|| unsafe { *data.descriptor.cast::<GraphData>() });
    let number = |node: usize| {
        let mut id = 0;
        let error = (cupti().cuptiGetGraphNodeId)(node, &mut id);
        if error == 0 { id } else { 0 }
    };
    let resource = Resource {
        cbid,
        graph,
        open: OPEN.with_borrow(Vec::len),
        node_id: graph.map_or(0, |graph| number(graph.node)),
        original_id: graph.map_or(0, |graph| number(graph.original_node)),
    };
    if let Some(seen) = seen().as_mut() {
        seen.resources.push(resource);
    }
}

extern "C" fn on_request(buffer: *mut *mut u8, size: *mut usize, most: *mut usize) {
    let bytes = BUFFER_BYTES.load(Ordering::Relaxed);
    let mut memory = vec![0u64; bytes / 8];
    let refuse = REFUSE.load(Ordering::Relaxed);
    let start = if refuse { std::ptr::null_mut() } else { memory.as_mut_ptr().cast::<u8>() };
    if let Some(seen) = seen().as_mut() {
        seen.buffers.insert(start.addr(), memory);
    }
    // SAFETY: CUPTI passes a writable place.
    unsafe { *buffer = start };
    // SAFETY: as above.
    unsafe { *size = bytes };
    // SAFETY: as above.
    unsafe { *most = 0 };
}

extern "C" fn on_complete(
    _context: *mut c_void,
    _stream: u32,
    buffer: *mut u8,
    _size: usize,
    valid: usize,
) {
    let cupti = cupti();
    let mut record: *const u8 = std::ptr::null();
    loop {
        match (cupti.cuptiActivityGetNextRecord)(buffer, valid, &mut record) {
            0 => note(record),
            12 => break,
            error => panic!("cuptiActivityGetNextRecord: {error}"),
        }
    }
    if let Some(seen) = seen().as_mut() {
        seen.buffers.remove(&buffer.addr());
    }
}

fn note(record: *const u8) {
    let long = |offset: usize| {
        // SAFETY: `record` is a whole record of a kind that is at least this long.
        u64::from_ne_bytes(unsafe { record.wrapping_add(offset).cast::<[u8; 8]>().read() })
    };
    let word = |offset: usize| {
        // SAFETY: as above.
        u32::from_ne_bytes(unsafe { record.wrapping_add(offset).cast::<[u8; 4]>().read() })
    };
    let kind = word(0);
    // Offsets of device, context, stream, correlation, graph, node.
    let at = match kind {
        10 => [40, 44, 48, 92, 156, 144],
        1 | 2 => [32, 36, 40, 44, 72, 64],
        _ => {
            // SAFETY: the shortest of the other kinds the cases ask for has 24 bytes.
            let bytes = unsafe { std::slice::from_raw_parts(record, 24) };
            if let Some(seen) = seen().as_mut() {
                seen.others.push(bytes.to_vec());
            }
            return;
        }
    };
    let name_address = if kind == 10 { long(104) } else { 0 };
    let name = std::ptr::with_exposed_provenance(usize::try_from(name_address).unwrap_or(0));
    let record = Record {
        kind,
        start: long(16),
        end: long(24),
        device: word(at[0]),
        context: word(at[1]),
        stream: word(at[2]),
        correlation: word(at[3]),
        name: text(name).unwrap_or_default(),
        name_address,
        graph: word(at[4]),
        node: long(at[5]),
        bytes: if kind == 10 { 0 } else { long(8) },
        thread: std::thread::current().id(),
    };
    if let Some(seen) = seen().as_mut() {
        seen.records.push(record);
    }
}

fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: CUPTI's strings end with NUL and are valid during the callback.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
