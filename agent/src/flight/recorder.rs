//! The flight recorder's memory: takes what the pipeline is fed and can give back the latest part of it.
//!
//! Two kinds of inputs: what happened goes into the ring, in order, and is cut at its old end; what holds for as long
//! as a process lives goes into the table of standing inputs. Time comes in as an argument.

use std::time::Duration;

use analysis::decode::{self, KernelEvent};
use analysis::ids::{Ns, ProcessKey};
use wire::kernel::event_kind;

use super::pack::{Frames, Packed, Press};
use super::ring::{Chunk, Limits, Ring};
use super::snapshot::Snapshot;
use super::standing::Table;
use crate::pipeline::{Input, Start};

/// A chunk is closed after this long: how exactly the window is cut, and half of what a dump waits to compress.
const CHUNK_NS: u64 = 1_000_000_000;

/// A chunk is closed early above this, bytes before compression: 0.2 s of eight busy workers.
const CHUNK_RAW: usize = 1 << 20;

/// What standing inputs may take, compressed bytes: eight workers' full graph tables.
const STANDING_BYTES: usize = 24 << 20;

/// One closed chunk.
#[derive(Debug)]
struct Body {
    packed: Packed,
    /// Processes whose last records are in it.
    ended: Vec<ProcessKey>,
}

/// How full it is and what it refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Compressed bytes of the window.
    pub ring_bytes: u64,
    /// Bytes of what stands beside it.
    pub standing_bytes: u64,
    /// How far back the window reaches, ns.
    pub reach_ns: u64,
    /// Chunks of a second or less that went before their time because the ring was full. Only grows.
    pub cut_by_size: u64,
    /// Names, graph entries, stacks and symbols that found no room. Only grows.
    pub standing_refused: u64,
    /// Chunks that could not be compressed. Only grows.
    pub lost: u64,
}

/// See the module's text.
#[derive(Debug)]
pub struct Recorder {
    start: Start,
    ring: Ring<Body>,
    table: Table,
    press: Press,
    frames: Frames,
    ended: Vec<ProcessKey>,
    opened: Option<Ns>,
    /// When it began.
    since: Option<Ns>,
    latest: Ns,
    turn: u64,
    lost: u64,
}

impl Recorder {
    pub fn new(limits: Limits) -> Self {
        Self {
            start: Start::default(),
            ring: Ring::new(limits),
            table: Table::new(STANDING_BYTES),
            press: Press::new(),
            frames: Frames::default(),
            ended: Vec::new(),
            opened: None,
            since: None,
            latest: Ns(0),
            turn: 0,
            lost: 0,
        }
    }

    /// Takes what the pipeline is fed, at this time.
    pub fn take(&mut self, input: &Input, now: Ns) {
        self.latest = now;
        self.since.get_or_insert(now);
        let (table, press) = (&mut self.table, &mut self.press);
        match input {
            Input::Start(start) => return self.start = start.clone(),
            Input::Device { device, info } => return table.device(*device, info.clone()),
            Input::Ordinal { process, ordinal, device } => {
                return table.ordinal(*process, *ordinal, *device);
            }
            Input::Unopened { process, ordinal } => return table.unopened(*process, *ordinal),
            Input::Note(note) => return table.note(note),
            Input::Name { process, .. }
            | Input::ThreadName { process, .. }
            | Input::Graphs { process, .. }
            | Input::CaptureStack { process, .. }
            | Input::Symbols { process, .. } => return table.log(*process, input, press),
            // Sums since a process was met, and the end of a recording: nothing that a window has.
            Input::Counters { .. }
            | Input::Resident { .. }
            | Input::PagesGone { .. }
            | Input::Limit(_)
            | Input::Clock(_)
            | Input::Foreign(_) => {
                return;
            }
            Input::Process { process, info } => table.process(*process, info, now),
            Input::Attached { process, .. } => table.attached(*process),
            Input::Ended { process, .. } => self.ended.push(*process),
            Input::Records { .. } => {}
            Input::KernelEvent(bytes) => {
                if self.stands(bytes) {
                    return;
                }
            }
        }
        self.opened.get_or_insert(now);
        self.frames.push(input);
        if self.frames.len() >= CHUNK_RAW {
            self.close();
        }
    }

    /// What of a kernel event stands; whether that is all of it.
    fn stands(&mut self, bytes: &[u8]) -> bool {
        let kind = bytes.first_chunk().copied().map(u32::from_ne_bytes);
        match kind {
            Some(event_kind::CAPTURE_STACK) => {
                if let Ok(KernelEvent::CaptureStack { tgid, entry, addresses }) =
                    decode::kernel_event(bytes)
                    && let Some(process) = self.table.of_pid(tgid)
                {
                    let input = Input::CaptureStack { process, entries: vec![entry], addresses };
                    self.table.log(process, &input, &mut self.press);
                }
                true
            }
            Some(event_kind::LAUNCH_STACK) => {
                if let Ok(KernelEvent::LaunchStack { tgid, tid, thread, .. }) =
                    decode::kernel_event(bytes)
                {
                    self.table.thread(tgid, thread, analysis::ids::Thread(tid));
                }
                false
            }
            // Every process of the machine executes; the pipeline makes nothing of it.
            Some(event_kind::EXEC | event_kind::EXIT) => true,
            _ => false,
        }
    }

    /// The observer finished a round: what comes next may stand without what came before.
    pub fn turn(&mut self, now: Ns) {
        self.latest = now;
        if self.opened.is_some_and(|opened| now.0.saturating_sub(opened.0) >= CHUNK_NS) {
            self.close();
        }
        // Where nothing happens any more, what happened grows old all the same.
        let gone = self.ring.expire(now);
        self.forget(gone);
        self.turn += 1;
    }

    fn close(&mut self) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        let ended = std::mem::take(&mut self.ended);
        if let Some(packed) = self.frames.pack(&mut self.press) {
            let bytes = packed.len();
            let body = Body { packed, ended };
            let chunk = Chunk { turn: self.turn, opened, closed: self.latest, bytes, body };
            let gone = self.ring.push(chunk);
            self.forget(gone);
        } else {
            self.lost += 1;
        }
        self.frames.clear();
    }

    fn forget(&mut self, gone: Vec<Chunk<Body>>) {
        let ended = gone.into_iter().flat_map(|chunk| chunk.body.ended);
        ended.for_each(|process| self.table.forget(process));
    }

    /// The window as it is, to be read by another thread: what is kept compressed is shared, not copied.
    pub fn snapshot(&mut self, now: Ns) -> Snapshot {
        self.latest = now;
        self.close();
        self.turn += 1;
        Snapshot {
            start: self.start.clone(),
            taken: now,
            since: self.since.unwrap_or(now),
            cut: self.ring.cut(),
            devices: self.table.devices(),
            notes: self.table.notes(),
            processes: self.table.processes(&mut self.press),
            chunks: self.ring.chunks().map(|chunk| chunk.body.packed.clone()).collect(),
            stats: self.stats(now),
        }
    }

    pub fn stats(&self, now: Ns) -> Stats {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let begin = self.ring.cut().or(self.since).unwrap_or(now);
        Stats {
            ring_bytes: count(self.ring.bytes() + self.frames.len()),
            standing_bytes: count(self.table.bytes()),
            reach_ns: now.0.saturating_sub(begin.0),
            cut_by_size: self.ring.cut_by_size(),
            standing_refused: self.table.refused(),
            lost: self.lost,
        }
    }
}

/// A window of this length in so many bytes.
pub const fn limits(age: Duration, bytes: usize) -> Limits {
    Limits { age, bytes }
}
