//! What the shim's callbacks cost their threads, as the agent's budget needs it. A clock read costs as much as half a
//! callback, so only some are timed, and stand for the rest; those that take a stack are dear and rare, and timed all.

use std::sync::atomic::Ordering;

use wire::limits::CALLBACKS_PER_TIMED;
use wire::shim::Stats;

use crate::teller::now_ns;

/// A callback that is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timed {
    begun_ns: u64,
    stands_for: u64,
}

impl Timed {
    /// One that began at `begun_ns`, if the call's turn to be timed has come.
    pub(crate) fn at(begun_ns: u64, correlation: u32) -> Option<Self> {
        is_turn(correlation).then_some(Self { begun_ns, stands_for: CALLBACKS_PER_TIMED.into() })
    }

    /// One that begins at this instant, if it takes a stack or the call's turn has come.
    pub(crate) fn begin(correlation: u32, takes_stack: bool) -> Option<Self> {
        if takes_stack {
            return Some(Self { begun_ns: now_ns(), stands_for: 1 });
        }
        is_turn(correlation)
            .then(|| Self { begun_ns: now_ns(), stands_for: CALLBACKS_PER_TIMED.into() })
    }

    /// It is over.
    pub(crate) fn end(self, stats: &Stats) {
        let spent = now_ns().saturating_sub(self.begun_ns).saturating_mul(self.stands_for);
        stats.callback_ns.fetch_add(spent, Ordering::Relaxed);
    }
}

/// Correlation ids count the calls of a process, so each kind of call has its turns.
fn is_turn(correlation: u32) -> bool {
    correlation.is_multiple_of(CALLBACKS_PER_TIMED)
}
