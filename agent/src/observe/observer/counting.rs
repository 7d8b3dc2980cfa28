//! The perf counters of selected processes: opened when one is met, read once a second and at the end.

use std::time::{Duration, Instant};

use super::{ObserveError, Observer};
use crate::observe::target::{Counting, Interest};
use crate::perf::Counters;
use crate::pipeline::Input;

/// How often counters are read: each costs a system call a thread.
const READ_EVERY: Duration = Duration::from_secs(1);

impl Observer {
    pub(super) fn count(&mut self) -> Result<(), ObserveError> {
        if self.last_count.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return Ok(());
        }
        self.last_count = Some(Instant::now());
        self.count_all()
    }

    pub(super) fn count_all(&mut self) -> Result<(), ObserveError> {
        (0..self.targets.len()).try_for_each(|index| self.count_one(index))
    }

    /// Reads the counters of one target; opens them the first time. Where the kernel programs cannot
    /// be had, counters cannot either; what else is missing `doctor` tells.
    pub(super) fn count_one(&mut self, index: usize) -> Result<(), ObserveError> {
        let Some(target) = self.targets.get_mut(index) else {
            return Ok(());
        };
        if matches!(target.counting, Counting::NotYet) {
            let counted = self.bpf.is_some() && target.interest == Interest::Selected;
            let open = counted.then(|| Counters::open(target.pid).ok()).flatten();
            target.counting = open.map_or(Counting::Never, Counting::Since);
        }
        let Counting::Since(counters) = &mut target.counting else {
            return Ok(());
        };
        let (process, reading) = (target.key, counters.read());
        self.feed(Input::Counters { process, reading })
    }
}
