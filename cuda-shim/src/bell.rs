//! How another thread gets the control thread to take a turn at once, and waits for its end. Only that thread calls CUPTI
//! on the shim's behalf, so whoever needs something done asks it; every wait is bounded.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static BELL: Bell = Bell {
    state: Mutex::new(Calls { asked: 0, done: 0 }),
    rung: Condvar::new(),
    answered: Condvar::new(),
};

#[derive(Debug)]
struct Bell {
    state: Mutex<Calls>,
    rung: Condvar,
    answered: Condvar,
}

#[derive(Debug)]
struct Calls {
    asked: u64,
    /// Turns that began after that many had asked are over.
    done: u64,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a whole turn has been taken, `limit` at most. Whether one was.
pub(crate) fn ring(limit: Duration) -> bool {
    let until = Instant::now() + limit;
    let mut calls = BELL.lock();
    calls.asked += 1;
    let mine = calls.asked;
    BELL.rung.notify_all();
    while calls.done < mine {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        calls = BELL.answered.wait_timeout(calls, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

/// How many have asked so far: to be read before a turn and answered after it.
pub(crate) fn asked() -> u64 {
    BELL.lock().asked
}

/// Tells those who asked before that turn that it is over.
pub(crate) fn answer(asked: u64) {
    let mut calls = BELL.lock();
    calls.done = calls.done.max(asked);
    drop(calls);
    BELL.answered.notify_all();
}

/// Nobody will take a turn any more: who waits goes on, and nobody waits again. Waits for nobody itself: a signal handler that
/// exits may have interrupted the thread that holds the bell. Whoever waits then waits out its limit.
pub(crate) fn close() {
    if let Ok(mut calls) = BELL.state.try_lock() {
        calls.done = u64::MAX;
    }
    BELL.answered.notify_all();
}

/// Sleeps for `time`, or until somebody asks.
pub(crate) fn sleep(time: Duration) {
    let calls = BELL.lock();
    let _woken = BELL
        .rung
        .wait_timeout_while(calls, time, |calls| calls.asked <= calls.done)
        .unwrap_or_else(PoisonError::into_inner);
}
