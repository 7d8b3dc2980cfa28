//! Events: an instant of a stream, or a place in a capture.

use std::sync::{Arc, Mutex};

use sim_channel::{clock, lock};

use crate::api::Call;
use crate::capture::Capturing;
use crate::context;
use crate::error::{
    Cu, CuError, INVALID_HANDLE, NOT_READY, STREAM_CAPTURE_INVALIDATED, STREAM_CAPTURE_UNSUPPORTED,
};
use crate::pool::{Pool, Tag};
use crate::stream::{self, Awaited, Stream};

const DISABLE_TIMING: u32 = 2;

/// An event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) handle: usize,
    flags: u32,
    mark: Mutex<Mark>,
}

#[derive(Clone, Debug)]
enum Mark {
    Never,
    /// Reached at this time, ns.
    At(u64),
    Captured(Capturing),
}

static EVENTS: Pool<Event> = Pool::new(Tag::Event);

pub(crate) fn create(flags: u32) -> Arc<Event> {
    EVENTS.insert(|handle| Event { handle, flags, mark: Mutex::new(Mark::Never) }).1
}

pub(crate) fn get(handle: usize) -> Result<Arc<Event>, CuError> {
    EVENTS.get(handle)
}

pub(crate) fn remove(handle: usize) -> Cu {
    EVENTS.remove(handle).map(drop)
}

impl Event {
    /// Marks the place the stream has reached.
    pub(crate) fn record(&self, stream: &Stream) {
        let state = lock(&stream.state);
        let mark = match &state.capturing {
            Some(capturing) => Mark::Captured(capturing.clone()),
            None => Mark::At(stream.ready(&state, clock::now())),
        };
        *lock(&self.mark) = mark;
    }

    /// Lets later work of the stream wait for the event.
    pub(crate) fn hold(&self, stream: &Arc<Stream>) -> Cu {
        let mark = lock(&self.mark).clone();
        let mut state = lock(&stream.state);
        match (mark, &mut state.capturing) {
            (Mark::Never, _) => Ok(()),
            (Mark::At(time), None) => {
                state.tail = state.tail.max(time);
                Ok(())
            }
            (Mark::Captured(from), None) => {
                from.capture.join(stream);
                state.capturing = Some(from);
                Ok(())
            }
            (Mark::Captured(from), Some(into)) if Arc::ptr_eq(&from.capture, &into.capture) => {
                into.depend_on(&from.dependencies);
                Ok(())
            }
            // Work outside the capture, or of another one.
            (Mark::At(_) | Mark::Captured(_), Some(_)) => Err(STREAM_CAPTURE_INVALIDATED),
        }
    }

    /// Waits until the event is reached.
    pub(crate) fn synchronize(&self, call: &Call) -> Cu {
        if let Some(time) = self.time()? {
            let context = context::current_numbers().1;
            stream::wait_recorded(call, Awaited::Event, context, 0, time);
        }
        Ok(())
    }

    /// Whether the event is reached.
    pub(crate) fn query(&self) -> Cu {
        match self.time()? {
            Some(time) if clock::now() < time => Err(NOT_READY),
            _ => Ok(()),
        }
    }

    /// Milliseconds from this event to another.
    #[expect(clippy::cast_precision_loss, reason = "CUDA's interface is a float of milliseconds")]
    pub(crate) fn elapsed(&self, end: &Self) -> Result<f32, CuError> {
        if (self.flags | end.flags) & DISABLE_TIMING != 0 {
            return Err(INVALID_HANDLE);
        }
        let (Some(from), Some(to)) = (self.time()?, end.time()?) else {
            return Err(INVALID_HANDLE);
        };
        if clock::now() < from.max(to) {
            return Err(NOT_READY);
        }
        let magnitude = to.abs_diff(from) as f32 / 1e6;
        Ok(if to < from { -magnitude } else { magnitude })
    }

    fn time(&self) -> Result<Option<u64>, CuError> {
        match *lock(&self.mark) {
            Mark::Never => Ok(None),
            Mark::At(time) => Ok(Some(time)),
            Mark::Captured(_) => Err(STREAM_CAPTURE_UNSUPPORTED),
        }
    }
}
