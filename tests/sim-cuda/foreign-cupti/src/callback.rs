//! The subscriber, and the way of the driver's callbacks to it.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sim_channel::callback::{
    CallbackData, DRIVER, GraphData, RESOURCE, RUNTIME, ResourceData, SITE_ENTER, SITE_EXIT,
    resource,
};
use sim_channel::work::{ApiRecord, MemoryRecord, SyncRecord};
use sim_channel::{Profiler, Work};

use crate::habit::{Habit, chosen, drawn, has};
use crate::{channel, delivery};

pub(crate) type Callback = extern "C" fn(*mut c_void, u32, u32, *const c_void);

/// What the driver calls.
pub(crate) static PROFILER: Profiler =
    Profiler { callback: on_call, prepare, submit, call_exit, api, memory, sync };

static FUNCTION: AtomicUsize = AtomicUsize::new(0);
static USER: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// A correlation id that the driver does not give in a test.
const NOBODYS: u32 = 0xfff0_0000;

/// Takes a subscriber; `false` when there is one.
pub(crate) fn subscribe(function: Callback, user: *mut c_void) -> bool {
    let address = (function as *const ()).expose_provenance();
    USER.store(user, Ordering::Release);
    let free = FUNCTION.compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire).is_ok();
    if free {
        enable_everything(has(Habit::UnaskedCallbacks));
        on_stranger(strangers);
    }
    free
}

/// `false` when there is none.
pub(crate) fn unsubscribe() -> bool {
    let Some((function, user)) = subscriber() else { return false };
    FUNCTION.store(0, Ordering::Release);
    enable_everything(false);
    if has(Habit::AfterUnsubscribe) {
        let user = user.expose_provenance();
        // Without a thread there is nothing under way.
        drop(std::thread::Builder::new().spawn(move || {
            std::thread::sleep(Duration::from_millis(2));
            let user = std::ptr::with_exposed_provenance_mut(user);
            let to = |domain, id, data| function(user, domain, id, data);
            call(&to, DRIVER, 307, NOBODYS, &[SITE_ENTER, SITE_EXIT]);
        }));
    }
    true
}

/// Switches one callback.
pub(crate) fn enable(domain: u32, id: u32, on: bool) -> bool {
    let Some(channel) = channel() else { return false };
    let word = channel.enabled.get(domain as usize).and_then(|ids| ids.get(id as usize / 64));
    let Some(word) = word.filter(|_| (1..=6).contains(&domain) && id > 0) else { return false };
    let bit = 1_u64 << (id % 64);
    if on || has(Habit::UnaskedCallbacks) {
        word.fetch_or(bit, Ordering::AcqRel);
    } else {
        word.fetch_and(!bit, Ordering::AcqRel);
    }
    true
}

fn enable_everything(on: bool) {
    let words = channel().map(|channel| channel.enabled.iter().skip(1).flatten());
    for word in words.into_iter().flatten() {
        let word: &AtomicU64 = word;
        word.store(if on { u64::MAX } else { 0 }, Ordering::Release);
    }
}

fn subscriber() -> Option<(Callback, *mut c_void)> {
    let address = FUNCTION.load(Ordering::Acquire);
    if address == 0 {
        return None;
    }
    let pointer: *const () = std::ptr::with_exposed_provenance(address);
    // SAFETY: only `subscribe` stores here, the address of a `Callback`.
    let function = unsafe { std::mem::transmute::<*const (), Callback>(pointer) };
    Some((function, USER.load(Ordering::Acquire)))
}

fn deliver(domain: u32, id: u32, data: *const c_void) {
    if let Some((function, user)) = subscriber() {
        function(user, domain, id, data);
    }
}

extern "C" fn on_call(domain: u32, id: u32, data: *const c_void) {
    match domain {
        RESOURCE => on_resource(id, data),
        _ => {
            // SAFETY: in the other domains the driver passes a CallbackData of its own stack.
            if let Some(data) = unsafe { data.cast::<CallbackData>().as_ref() } {
                on_api(domain, id, data);
            }
        }
    }
}

fn on_api(domain: u32, id: u32, data: &CallbackData) {
    let one_in_ten = |what| {
        chosen(what, u64::from(data.correlation_id) << 1 | u64::from(domain == DRIVER), 10) == 0
    };
    let skipped = match data.site {
        SITE_ENTER => has(Habit::LostEnters) && one_in_ten("enter"),
        _ => has(Habit::LostExits) && one_in_ten("exit"),
    };
    if skipped {
        return;
    }
    let mut shown = CallbackData {
        site: data.site,
        function_name: data.function_name,
        function_params: data.function_params,
        function_return_value: data.function_return_value,
        symbol_name: data.symbol_name,
        context: data.context,
        context_uid: data.context_uid,
        correlation_data: data.correlation_data,
        correlation_id: data.correlation_id,
    };
    if has(Habit::BareCallbacks) {
        shown.function_name = std::ptr::null();
        shown.function_params = std::ptr::null();
        shown.symbol_name = std::ptr::null();
        shown.function_return_value = std::ptr::null_mut();
        shown.correlation_data = std::ptr::null_mut();
    }
    deliver(domain, id, (&raw const shown).cast());
    if has(Habit::NestedCallbacks) && data.site == SITE_ENTER {
        for inner in [277, 126, 307, 1] {
            call(&deliver, DRIVER, inner, data.correlation_id, &[SITE_ENTER, SITE_EXIT]);
        }
    }
    if has(Habit::LostExits) && drawn(200) == 0 {
        on_stranger(|| call(&deliver, DRIVER, 126, NOBODYS, &[SITE_ENTER]));
    }
    if has(Habit::StrangerCallbacks) && drawn(100) == 0 {
        on_stranger(strangers);
    }
}

/// A call that only this library knows of.
fn call(
    to: &dyn Fn(u32, u32, *const c_void),
    domain: u32,
    id: u32,
    correlation: u32,
    sites: &[u32],
) {
    let mut word = 0;
    for &site in sites {
        let mut result = 0_i32;
        let data = CallbackData {
            site,
            function_name: c"another".as_ptr(),
            function_params: std::ptr::null(),
            function_return_value: if site == SITE_EXIT {
                (&raw mut result).cast()
            } else {
                std::ptr::null_mut()
            },
            symbol_name: std::ptr::null(),
            context: 0,
            context_uid: 0,
            correlation_data: &raw mut word,
            correlation_id: correlation,
        };
        to(domain, id, (&raw const data).cast());
    }
}

fn on_resource(id: u32, data: *const c_void) {
    let graph = (resource::GRAPH_CREATED..=resource::GRAPHNODE_CLONED).contains(&id);
    if !has(Habit::OddGraphs) || !graph {
        return deliver(RESOURCE, id, data);
    }
    let nothing = ResourceData { context: 0, handle: 0, descriptor: std::ptr::null() };
    let bare = GraphData::default();
    let empty = ResourceData { descriptor: (&raw const bare).cast(), ..nothing };
    // Its end before its beginning, and without what it is about.
    deliver(RESOURCE, resource::GRAPH_DESTROY_STARTING, (&raw const nothing).cast());
    deliver(RESOURCE, resource::GRAPHNODE_CLONED, (&raw const empty).cast());
    deliver(RESOURCE, id, data);
    deliver(RESOURCE, resource::GRAPHEXEC_DESTROY_STARTING, (&raw const empty).cast());
    deliver(RESOURCE, 22 + u32::try_from(drawn(40)).unwrap_or(0), (&raw const nothing).cast());
}

/// Runs `body` on a thread that never called anything.
fn on_stranger(body: impl FnOnce() + Send + 'static) {
    if let Ok(thread) = std::thread::Builder::new().stack_size(1).spawn(body) {
        thread.join().unwrap_or_default();
    }
}

/// Callbacks that nobody can have asked for.
fn strangers() {
    if !has(Habit::StrangerCallbacks) {
        return;
    }
    let ids = [0, 1, 126, 211, 1023, 1024, 5000, u32::MAX];
    for id in ids {
        call(&deliver, RUNTIME, id, NOBODYS + 1, &[SITE_EXIT, SITE_ENTER, SITE_EXIT, 7]);
        call(&deliver, DRIVER, id, 0, &[SITE_ENTER, SITE_ENTER, SITE_EXIT]);
        for domain in [0, 1, 2, 3, 4, 5, 6, 7, 99, u32::MAX] {
            deliver(domain, id, std::ptr::null());
        }
    }
    let nothing = ResourceData { context: 0, handle: 0, descriptor: std::ptr::null() };
    for id in 0..64 {
        deliver(RESOURCE, id, (&raw const nothing).cast());
    }
}

extern "C" fn prepare() {
    delivery::amid_launch();
}

extern "C" fn submit(work: *const Work, count: usize) -> u32 {
    // SAFETY: the driver passes an array of `count` pieces of work of its own.
    delivery::submit(unsafe { std::slice::from_raw_parts(work, count) });
    u32::from(has(Habit::LaunchingThreads))
}

extern "C" fn call_exit(_sequence: u64, _time: u64) {
    delivery::amid_launch();
}

/// Kinds that records of these belong to cannot be enabled here.
extern "C" fn api(_record: *const ApiRecord) {}
extern "C" fn memory(_record: *const MemoryRecord) {}
extern "C" fn sync(_record: *const SyncRecord) {}
