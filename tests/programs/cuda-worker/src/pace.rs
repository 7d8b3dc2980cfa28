//! Holds a rate against a clock: what was missed is caught up with.

use std::time::Duration;

/// Events at a fixed rate, from time zero on.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    done: u64,
}

impl Pace {
    /// A rate of 0 is never due.
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, done: 0 }
    }

    /// Whether one more event should have happened by `elapsed`; counts it if so.
    pub(crate) fn due(&mut self, elapsed: Duration) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
        let due = ((self.done + 1) as f64) <= elapsed.as_secs_f64() * self.per_second;
        self.done += u64::from(due);
        due
    }
}
