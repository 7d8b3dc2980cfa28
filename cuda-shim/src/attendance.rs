//! Whether an agent is there, and what it asks for: its control page, read by the thread that does what it says.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::shim::{Control, Level, tell};

/// No heartbeat for this long: the agent is gone.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(3);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Attendance {
    page: &'static Control,
    heartbeat: u64,
    heartbeat_ns: Option<u64>,
}

impl Attendance {
    pub(crate) fn new(page: &'static Control) -> Self {
        Self { page, heartbeat: page.heartbeat.load(Ordering::Relaxed), heartbeat_ns: None }
    }

    /// To be called each turn.
    pub(crate) fn listen(&mut self, now: u64) {
        let heartbeat = self.page.heartbeat.load(Ordering::Acquire);
        if heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.heartbeat_ns = Some(now);
        }
    }

    /// One was there since the process began.
    pub(crate) fn ever(&self) -> bool {
        self.heartbeat_ns.is_some()
    }

    /// One is there: its heartbeat moved within the limit.
    pub(crate) fn is_there(&self, now: u64) -> bool {
        let limit = u64::try_from(HEARTBEAT_LIMIT.as_nanos()).unwrap_or(u64::MAX);
        self.heartbeat_ns.is_some_and(|at| now.saturating_sub(at) < limit)
    }

    /// The level that the page asks for.
    pub(crate) fn level(&self) -> Level {
        Level::from_word(self.page.level.load(Ordering::Relaxed)).unwrap_or(Level::Dormant)
    }

    /// The agent wants this left off. What it said last holds while it is away, too.
    pub(crate) fn without(&self, feature: u32) -> bool {
        self.page.without.load(Ordering::Relaxed) & feature != 0
    }

    /// Memory calls are to be told.
    pub(crate) fn wants_memory(&self) -> bool {
        self.wants(tell::MEMORY)
    }

    /// The host's heap is to be sampled.
    pub(crate) fn wants_heap(&self) -> bool {
        self.wants(tell::HEAP)
    }

    fn wants(&self, what: u32) -> bool {
        self.page.tell.load(Ordering::Relaxed) & what != 0
    }
}
