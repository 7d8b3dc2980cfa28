//! Moves finished work into buffers and hands buffers back.
//!
//! One delivery at a time: when a flush returns, nothing that had ended before it began is still on its
//! way, whichever thread carries it.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sim_channel::work::{Outcome, Settlement};
use sim_channel::{clock as device_clock, lock};

use crate::buffers::{self, Buffer, Contents};
use crate::encode::{Record, encode};
use crate::pending::{self, Fate, Queued};
use crate::profiler;
use crate::result::{Cupti, INVALID_OPERATION};
use crate::{clock, version};

/// How much a delivery brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Only full buffers: what the worker does by itself.
    Full,
    /// Everything that has ended.
    Ended,
    /// What has not ended, too: with an end of 0.
    Forced,
}

#[derive(Default)]
struct State {
    current: Option<Buffer>,
    /// Ended, but held back.
    held: Vec<Queued>,
}

static DELIVERY: Mutex<Option<State>> = Mutex::new(None);
/// How many are held back.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// Records that are not about device work; they are complete when they are made.
static IMMEDIATE: Mutex<Vec<Record>> = Mutex::new(Vec::new());

thread_local! {
    static DELIVERING: Cell<bool> = const { Cell::new(false) };
}

/// Adds a record that is complete.
pub(crate) fn add(record: Record) {
    lock(&IMMEDIATE).push(record);
}

/// Whether anything waits to be delivered.
pub(crate) fn anything_waits() -> bool {
    pending::waiting() > 0 || HELD.load(Ordering::Acquire) > 0 || !lock(&IMMEDIATE).is_empty()
}

/// Delivers. Refused from inside a buffer callback, where the real library must not be called either.
pub(crate) fn run(extent: Extent) -> Cupti {
    if DELIVERING.get() {
        return Err(INVALID_OPERATION);
    }
    DELIVERING.set(true);
    let mut state = lock(&DELIVERY);
    fill(state.get_or_insert_default(), extent);
    drop(state);
    DELIVERING.set(false);
    Ok(())
}

/// Hands every buffer back, used or not: CUPTI is being finalised.
pub(crate) fn finish() -> Cupti {
    run(Extent::Forced)?;
    DELIVERING.set(true);
    let mut state = lock(&DELIVERY);
    let state = state.get_or_insert_default();
    for buffer in state.current.take().into_iter().chain(buffers::take_spare()) {
        hand_back(buffer);
    }
    DELIVERING.set(false);
    Ok(())
}

fn fill(state: &mut State, extent: Extent) {
    let now = device_clock::now();
    let forced = extent == Extent::Forced;
    let mut filler = Filler { state, offset: clock::offset(), now, refused: false };
    let records = std::mem::take(&mut *lock(&IMMEDIATE));
    for record in records {
        filler.immediate(&record);
    }
    let due = filler.take_due(forced);
    for queued in pending::take(now, forced).into_iter().chain(due) {
        if queued.held_until > now && !forced {
            filler.state.held.push(queued);
        } else {
            filler.work(&queued);
        }
    }
    HELD.store(filler.state.held.len(), Ordering::Release);
    if extent != Extent::Full
        && let Some(buffer) = filler.state.current.take_if(|buffer| !buffer.is_empty())
    {
        hand_back(buffer);
    }
}

struct Filler<'a> {
    state: &'a mut State,
    /// The records' clock minus the device's.
    offset: i64,
    now: u64,
    /// The profiler refused a buffer in this delivery.
    refused: bool,
}

impl Filler<'_> {
    /// Held-back records that may go.
    fn take_due(&mut self, everything: bool) -> Vec<Queued> {
        let now = self.now;
        self.state.held.extract_if(.., |queued| everything || queued.held_until <= now).collect()
    }

    fn stamp(&self, time: u64) -> u64 {
        time.saturating_add_signed(self.offset)
    }

    fn immediate(&mut self, record: &Record) {
        let (start, end) = match record {
            Record::Api(api) => (api.start, api.end),
            Record::Sync(sync) => (sync.start, sync.end),
            Record::Memory(memory) => (memory.time, memory.time),
            Record::Work(_) | Record::GraphTrace(_) | Record::External { .. } => (0, 0),
        };
        let (start, end) = (self.stamp(start), self.stamp(end));
        if let Some(bytes) = encode(version::current(), record, start, end) {
            match self.buffer(bytes.as_slice().len()) {
                Some(buffer) => buffer.append(&bytes),
                None => buffers::count_dropped(1),
            }
        }
    }

    fn work(&mut self, queued: &Queued) {
        let work = &queued.work;
        let (start, end) = (self.stamp(work.start), self.stamp(work.end));
        let keeps_times = pending::keeps_times(queued);
        let (start, end, outcome) = if work.end > self.now {
            let start = if work.start > self.now { 0 } else { start };
            (start, 0, Outcome::Incomplete)
        } else if keeps_times {
            (start, end, Outcome::Delivered)
        } else {
            (0, 0, Outcome::Zeroed)
        };
        let record =
            if queued.whole_graph { Record::GraphTrace(*work) } else { Record::Work(*work) };
        let bytes = encode(version::current(), &record, start, end);
        let offset = self.offset;
        let bytes = bytes.filter(|_| queued.fate != Fate::Drop);
        let place = bytes.and_then(|bytes| Some((self.buffer(bytes.as_slice().len())?, bytes)));
        if let Some((buffer, bytes)) = place {
            buffer.append(&bytes);
            buffer.note(work.sequence, offset, outcome, work.module);
            return;
        }
        buffers::count_dropped(1);
        settle(&Contents {
            settlements: vec![Settlement {
                work: work.sequence,
                clock_offset: offset,
                outcome: Outcome::Dropped,
                padding: 0,
            }],
            names: vec![(work.module, 1)],
        });
    }

    /// A buffer with room; a full one is handed back first. `None` when the profiler refuses one, and
    /// for the rest of this delivery then.
    fn buffer(&mut self, bytes: usize) -> Option<&mut Buffer> {
        let fits = self.state.current.as_ref().is_some_and(|buffer| buffer.has_room(bytes));
        if !fits {
            if let Some(full) = self.state.current.take() {
                hand_back(full);
            }
            if !self.refused {
                self.state.current = buffers::next();
                self.refused = self.state.current.is_none();
            }
        }
        self.state.current.as_mut().filter(|buffer| buffer.has_room(bytes))
    }
}

fn hand_back(buffer: Buffer) {
    if let Ok(contents) = buffer.hand_back() {
        settle(&contents);
    }
}

/// Tells libcuda what became of work, and that names are free to be used again.
fn settle(contents: &Contents) {
    let Some(channel) = profiler::channel() else {
        return;
    };
    for settlement in &contents.settlements {
        (channel.host.settle)(std::ptr::from_ref(settlement));
    }
    for &(module, count) in contents.names.iter().filter(|(module, _)| *module != 0) {
        (channel.host.release)(module, count);
    }
}
