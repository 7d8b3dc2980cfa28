//! Stream capture: work given to a capturing stream becomes graph nodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sim_channel::lock;

use crate::error::{Cu, CuError, INVALID_VALUE, STREAM_CAPTURE_UNJOINED, STREAM_CAPTURE_UNMATCHED};
use crate::graph::{self, Graph};
use crate::stream::Stream;
use crate::work::Task;

/// One capture, from begin to end, over all streams that joined.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) id: u64,
    pub(crate) graph: Arc<Graph>,
    /// The stream it began in.
    origin: Arc<Stream>,
    joined: Mutex<Vec<Arc<Stream>>>,
}

/// A stream's place in a capture: what its next node depends on, as node indices.
#[derive(Clone, Debug)]
pub(crate) struct Capturing {
    pub(crate) capture: Arc<Capture>,
    pub(crate) dependencies: Vec<usize>,
}

static IDS: AtomicU64 = AtomicU64::new(0);

/// `cuStreamBeginCapture`.
pub(crate) fn begin(stream: &Arc<Stream>) -> Cu {
    if stream.handle == 0 {
        return Err(crate::error::STREAM_CAPTURE_UNSUPPORTED);
    }
    let mut state = lock(&stream.state);
    if state.capturing.is_some() {
        return Err(INVALID_VALUE);
    }
    let capture = Arc::new(Capture {
        id: IDS.fetch_add(1, Ordering::Relaxed) + 1,
        graph: graph::create(),
        origin: Arc::clone(stream),
        joined: Mutex::default(),
    });
    state.capturing = Some(Capturing { capture, dependencies: Vec::new() });
    Ok(())
}

/// `cuStreamEndCapture`: the graph.
pub(crate) fn end(stream: &Arc<Stream>) -> Result<Arc<Graph>, CuError> {
    let Some(capturing) = lock(&stream.state).capturing.clone() else {
        return Err(STREAM_CAPTURE_UNMATCHED);
    };
    let capture = capturing.capture;
    if !Arc::ptr_eq(&capture.origin, stream) {
        return Err(STREAM_CAPTURE_UNMATCHED);
    }
    // Every joined stream must have been joined back: the origin's place must come after its work.
    let mut unjoined = false;
    for joined in lock(&capture.joined).drain(..) {
        if let Some(place) = lock(&joined.state).capturing.take() {
            unjoined |= !capture.graph.all_before(&place.dependencies, &capturing.dependencies);
        }
    }
    lock(&stream.state).capturing = None;
    if unjoined {
        graph::destroy_quietly(&capture.graph);
        return Err(STREAM_CAPTURE_UNJOINED);
    }
    Ok(Arc::clone(&capture.graph))
}

/// Turns work into a node when the stream is being captured; `None` when it is not.
pub(crate) fn take(stream: &Stream, task: &Task) -> Result<Option<u64>, CuError> {
    let Some(capturing) = lock(&stream.state).capturing.clone() else {
        return Ok(None);
    };
    // Without the stream's lock: the node's creation is announced to the profiler.
    let node = capturing.capture.graph.add(task.clone(), &capturing.dependencies)?;
    if let Some(place) = &mut lock(&stream.state).capturing {
        place.dependencies = vec![node.index];
    }
    Ok(Some(0))
}

impl Capture {
    /// One more stream takes part.
    pub(crate) fn join(&self, stream: &Arc<Stream>) {
        lock(&self.joined).push(Arc::clone(stream));
    }
}

impl Capturing {
    /// The next node comes after these, too.
    pub(crate) fn depend_on(&mut self, nodes: &[usize]) {
        for node in nodes {
            if !self.dependencies.contains(node) {
                self.dependencies.push(*node);
            }
        }
    }
}
