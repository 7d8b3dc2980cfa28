//! `CLOCK_MONOTONIC`, the clock of every record.

use analysis::ids::Ns;
use rustix::time::{ClockId, clock_gettime};

/// The time now.
pub fn now() -> Ns {
    let time = clock_gettime(ClockId::Monotonic);
    Ns(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}
