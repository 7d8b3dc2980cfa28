//! What the threads of one process did as far as idle time needs it: when they waited for the
//! device, and when they slept.

use crate::map::HashMap;

use crate::event::{Blocked, Sync};
use crate::ids::{Ns, Thread};
use crate::limits::{POLL_NS, THREAD_SPANS, THREADS};
use crate::report::Window;
use crate::spans::{Span, Spans};

/// Threads of one process.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    /// Synchronisation calls by the shim's thread number.
    syncs: HashMap<u32, Spans>,
    /// The kernel's number of a shim's thread.
    tids: HashMap<u32, Thread>,
    /// Sleep by the kernel's thread number.
    asleep: HashMap<Thread, Spans>,
    /// A thread state was told of this process.
    pub(crate) watched: bool,
    /// Entries that found a table full.
    refused: u64,
}

impl Threads {
    pub(crate) fn synced(&mut self, sync: &Sync) {
        let span = Span { from: sync.enter.0, to: sync.exit.0 };
        self.refused += u64::from(!add(&mut self.syncs, sync.thread, span));
    }

    pub(crate) fn blocked(&mut self, blocked: &Blocked) {
        self.watched = true;
        let span = Span { from: blocked.from.0, to: blocked.to.0 };
        self.refused += u64::from(!add(&mut self.asleep, blocked.tid, span));
    }

    pub(crate) fn numbered(&mut self, thread: u32, tid: Thread) {
        if self.tids.len() < THREADS || self.tids.contains_key(&thread) {
            self.tids.insert(thread, tid);
        } else {
            self.refused += 1;
        }
    }

    /// The kernel's number of a launching thread; the first thread's where it was not told.
    pub(crate) fn tid(&self, thread: u32, pid: u32) -> Thread {
        self.tids.get(&thread).copied().unwrap_or(Thread(pid))
    }

    /// When `thread` was in a synchronisation call, within `[from, to)`.
    pub(crate) fn syncs(&self, thread: u32, from: u64, to: u64) -> Vec<Span> {
        self.syncs.get(&thread).map(|spans| spans.within(from, to).collect()).unwrap_or_default()
    }

    /// The synchronisation call of `thread` that was open at `at`.
    pub(crate) fn sync_at(&self, thread: u32, at: u64) -> Option<Window> {
        let span = self.syncs.get(&thread)?.at(at)?;
        Some(Window { start: Ns(span.from), end: Ns(span.to) })
    }

    /// When `tid` slept or only looked for something to do, within `[from, to)`.
    pub(crate) fn asleep(&self, tid: Thread, from: u64, to: u64) -> Vec<Span> {
        let spans = self.asleep.get(&tid);
        spans.map(|spans| spans.joined_within(from, to, POLL_NS)).unwrap_or_default()
    }

    /// Whether `tid` slept within `[from, to)`.
    pub(crate) fn slept(&self, tid: Thread, from: u64, to: u64) -> bool {
        self.asleep.get(&tid).is_some_and(|spans| spans.around(from, to).next().is_some())
    }

    /// The sleeps of `tid` that overlap `[from, to)`, whole.
    pub(crate) fn sleeps(&self, tid: Thread, from: u64, to: u64) -> Vec<Span> {
        self.asleep.get(&tid).map(|spans| spans.around(from, to).collect()).unwrap_or_default()
    }

    /// Drops what ended before `done`.
    pub(crate) fn forget_before(&mut self, done: u64) {
        for spans in self.syncs.values_mut().chain(self.asleep.values_mut()) {
            spans.forget_before(done);
        }
        self.syncs.retain(|_, spans| !spans.is_empty());
        self.asleep.retain(|_, spans| !spans.is_empty());
    }

    /// Entries that found a table full since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

fn add<K: std::hash::Hash + Eq>(table: &mut HashMap<K, Spans>, key: K, span: Span) -> bool {
    if table.len() >= THREADS && !table.contains_key(&key) {
        return false;
    }
    table.entry(key).or_default().add(span, THREAD_SPANS)
}
