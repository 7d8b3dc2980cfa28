//! The records' clock: `CLOCK_REALTIME`, or what the profiler's callback reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use sim_channel::{clock, lock};

/// The profiler's clock.
pub(crate) type TimestampCallback = extern "C" fn() -> u64;

static CALLBACK: Mutex<Option<TimestampCallback>> = Mutex::new(None);
static OFFSET: AtomicI64 = AtomicI64::new(0);
static MEASURED: AtomicBool = AtomicBool::new(false);

/// Uses another clock from now on; `None` goes back to `CLOCK_REALTIME`.
pub(crate) fn register(callback: Option<TimestampCallback>) {
    *lock(&CALLBACK) = callback;
    measure();
}

/// The records' clock minus `CLOCK_MONOTONIC`, ns. Measured once, so that records stay consistent; it
/// is exactly 0 for a callback that reads `CLOCK_MONOTONIC`.
pub(crate) fn offset() -> i64 {
    if !MEASURED.load(Ordering::Acquire) {
        measure();
    }
    OFFSET.load(Ordering::Acquire)
}

/// The records' clock.
pub(crate) fn now() -> u64 {
    let callback = *lock(&CALLBACK);
    callback.map_or_else(clock::realtime, |read| read())
}

fn measure() {
    let before = clock::now();
    let there = now();
    let after = clock::now();
    let offset = if (before..=after).contains(&there) {
        0
    } else {
        there.wrapping_sub(before.midpoint(after)).cast_signed()
    };
    OFFSET.store(offset, Ordering::Release);
    MEASURED.store(true, Ordering::Release);
}
