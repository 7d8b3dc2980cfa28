//! Contexts, and which one a thread has current.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use sim_channel::lock;

use crate::error::{Cu, CuError, INVALID_CONTEXT};
use crate::pool::{Pool, Tag};
use crate::stream::{Stream, Timeline};
use crate::{api, stream};

/// A context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) handle: usize,
    /// CUPTI's number, from 1.
    pub(crate) id: u32,
    pub(crate) device: u32,
    pub(crate) flags: u32,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) null_stream: Arc<Stream>,
    per_thread: Mutex<HashMap<u32, Arc<Stream>>>,
    /// The module of named kernels has been announced here.
    pub(crate) named_loaded: AtomicBool,
}

static CONTEXTS: Pool<Context> = Pool::new(Tag::Context);
static IDS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Handle and number of the top of the stack, for callbacks.
    static NUMBERS: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
    static STACK: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
}

/// Makes a context; the caller announces it.
pub(crate) fn create(device: u32, flags: u32) -> Arc<Context> {
    let id = IDS.fetch_add(1, Ordering::Relaxed) + 1;
    let (_, context) = CONTEXTS.insert(|handle| {
        let timeline = Arc::new(Timeline::default());
        Context {
            handle,
            id,
            device,
            flags,
            null_stream: Arc::new(stream::default_stream(handle, id, device, &timeline)),
            timeline,
            per_thread: Mutex::new(HashMap::new()),
            named_loaded: AtomicBool::new(false),
        }
    });
    context
}

/// The context of a handle.
pub(crate) fn get(handle: usize) -> Result<Arc<Context>, CuError> {
    CONTEXTS.get(handle).map_err(|_error| INVALID_CONTEXT)
}

/// Makes a context's handle invalid.
pub(crate) fn remove(context: &Context) {
    // A second removal by a racing thread finds nothing, which is what it wants.
    drop(CONTEXTS.remove(context.handle));
    with_stack(|stack| {
        if stack.last().is_some_and(|top| top.handle == context.handle) {
            stack.pop();
        }
        refresh(stack);
    })
    .unwrap_or_default();
}

/// The calling thread's context.
pub(crate) fn current() -> Result<Arc<Context>, CuError> {
    STACK.with_borrow(|stack| stack.last().cloned()).ok_or(INVALID_CONTEXT)
}

/// Handle and number of the calling thread's context, zeros for none.
pub(crate) fn current_numbers() -> (usize, u32) {
    NUMBERS.get()
}

/// Replaces the top of the stack; 0 removes it.
pub(crate) fn set_current(handle: usize) -> Cu {
    let context = if handle == 0 { None } else { Some(get(handle)?) };
    with_stack(|stack| {
        stack.pop();
        stack.extend(context);
        refresh(stack);
    })
}

/// Puts a context on top of the stack.
pub(crate) fn push(context: Arc<Context>) -> Cu {
    with_stack(|stack| {
        stack.push(context);
        refresh(stack);
    })
}

/// Takes the top of the stack away; its handle.
pub(crate) fn pop() -> Result<usize, CuError> {
    with_stack(|stack| {
        let top = stack.pop().ok_or(INVALID_CONTEXT)?;
        refresh(stack);
        Ok(top.handle)
    })?
}

/// The calling thread's stack; there is none while the thread is being torn down.
fn with_stack<T>(body: impl FnOnce(&mut Vec<Arc<Context>>) -> T) -> Result<T, CuError> {
    let reached = STACK.try_with(|stack| body(&mut stack.borrow_mut()));
    reached.map_err(|_error| INVALID_CONTEXT)
}

fn refresh(stack: &[Arc<Context>]) {
    NUMBERS.set(stack.last().map_or((0, 0), |top| (top.handle, top.id)));
}

impl Context {
    /// The calling thread's default stream of this context.
    pub(crate) fn thread_stream(&self) -> Arc<Stream> {
        let mut streams = lock(&self.per_thread);
        let stream = streams.entry(api::thread_id()).or_insert_with(|| {
            Arc::new(stream::default_stream(self.handle, self.id, self.device, &self.timeline))
        });
        Arc::clone(stream)
    }
}
