//! What the kernel programs wrote, on its way out of the kernel's buffers.
//!
//! Those hold a second or two. Whoever reads them does other work between, and that may take longer: it reads
//! tables of other processes' libraries, from disks of any speed, and writes a recording. So a second thread may
//! [`Intake::keep`] what waits, and the next [`Intake::take`] has both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};

/// Events moved at once at most, so that a flood cannot keep the caller from its other work: what the ring
/// buffer holds when it is full of the smallest records of interest.
const MOVED_MAX: usize = 8192;

/// Kept at most, bytes: 15 s of what eight busy workers write. What comes then stays in the kernel's buffers,
/// and what finds them full is counted there.
const KEPT_MAX: usize = 64 << 20;

/// The reading end of the kernel's buffers; clones share it.
#[derive(Clone)]
pub struct Intake {
    ends: Arc<Mutex<Ends>>,
}

struct Ends {
    waits: RingBuf<MapData>,
    events: RingBuf<MapData>,
    kept: Batch,
    taken: Instant,
}

/// Events in the order they are to be handed on.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waits: Events,
    events: Events,
}

/// One behind the other.
#[derive(Debug, Default)]
struct Events {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Events {
    fn push(&mut self, event: &[u8]) {
        self.bytes.extend_from_slice(event);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, &end)| self.bytes.get(start..end))
    }
}

impl Batch {
    /// Sleeps of threads first, each sort oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.waits.iter().chain(self.events.iter())
    }

    pub(super) fn len(&self) -> usize {
        self.waits.ends.len() + self.events.ends.len()
    }

    fn bytes(&self) -> usize {
        self.waits.bytes.len() + self.events.bytes.len()
    }
}

impl Intake {
    pub(super) fn new(waits: RingBuf<MapData>, events: RingBuf<MapData>) -> Self {
        let ends = Ends { waits, events, kept: Batch::default(), taken: Instant::now() };
        Self { ends: Arc::new(Mutex::new(ends)) }
    }

    /// Everything that waits.
    pub(super) fn take(&self) -> Batch {
        let mut ends = self.lock();
        ends.keep();
        ends.taken = Instant::now();
        std::mem::take(&mut ends.kept)
    }

    /// Moves what waits out of the kernel's buffers, unless they were read within `idle`; whether it did.
    pub fn keep(&self, idle: Duration) -> bool {
        let mut ends = self.lock();
        let due = ends.taken.elapsed() >= idle;
        if due {
            ends.keep();
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        // Nothing is left half done by a panic here.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    fn keep(&mut self) {
        let mut left = MOVED_MAX;
        while left > 0 && self.kept.bytes() < KEPT_MAX {
            if let Some(event) = self.waits.next() {
                self.kept.waits.push(&event);
            } else if let Some(event) = self.events.next() {
                self.kept.events.push(&event);
            } else {
                return;
            }
            left -= 1;
        }
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}
