//! Workers in which another profiler was given CUPTI: said when it begins and when it is over, and counted.

use wire::shim::{Level, OffReason};

use super::{ObserveError, Observer};
use crate::shim::Status;

/// What is known of another profiler in one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) struct Neighbour {
    /// The shim's count of how often it gave CUPTI up.
    yields: u64,
    /// It has CUPTI at present.
    present: bool,
}

/// What changed since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    /// How often CUPTI was given up.
    yielded: u64,
    /// It came; it left.
    came: bool,
    left: bool,
}

impl Neighbour {
    /// Before the first look: what was before the observation is not told.
    pub(in crate::observe) fn of(status: Option<&Status>) -> Self {
        Self { yields: status.map_or(0, |status| status.yields), present: false }
    }

    fn look(&mut self, status: &Status) -> Change {
        let present = status.off_reason == Some(OffReason::CuptiTaken);
        // Between two looks it may have come and gone; who is armed again has it back in any case.
        let back = status.level > Some(Level::Dormant);
        // The counter is in the worker's hands: a jump backwards is no yield.
        let yielded = status.yields.saturating_sub(self.yields);
        self.yields = status.yields;
        let came = (present || yielded > 0) && !self.present;
        let left = (self.present || came) && !present && back;
        self.present = present || (self.present || came) && !back;
        Change { yielded, came, left }
    }
}

impl Observer {
    /// How often a worker's CUPTI was left to another profiler since the observation began.
    pub fn yields(&self) -> u64 {
        self.yields
    }

    /// One look at every worker.
    pub(super) fn look_at_neighbours(&mut self) -> Result<(), ObserveError> {
        let mut notes = Vec::new();
        for target in &mut self.targets {
            let Some(ring) = &target.ring else { continue };
            let change = target.neighbour.look(&ring.status());
            // A worker could count up as fast as it likes.
            self.yields = self.yields.saturating_add(change.yielded.min(u64::from(u8::MAX)));
            let pid = target.pid;
            if change.came {
                notes.push(format!(
                    "Process {pid}: another profiler asked for CUPTI and was given it; until it is done the time is unobserved."
                ));
            }
            if change.left {
                notes.push(format!(
                    "Process {pid}: the other profiler is done, it is observed again."
                ));
            }
        }
        notes.into_iter().try_for_each(|note| self.note(note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(level: Level, taken: bool, yields: u64) -> Status {
        let off_reason = if taken { OffReason::CuptiTaken } else { OffReason::None };
        Status { level: Some(level), off_reason: Some(off_reason), yields, ..Status::default() }
    }

    #[test]
    fn coming_and_going_are_told_once_each() {
        let mut neighbour = Neighbour::of(Some(&status(Level::Counting, false, 3)));
        let change = |yielded, came, left| Change { yielded, came, left };
        assert_eq!(neighbour.look(&status(Level::Counting, false, 3)), Change::default());
        assert_eq!(neighbour.look(&status(Level::Dormant, true, 4)), change(1, true, false));
        assert_eq!(neighbour.look(&status(Level::Dormant, true, 4)), Change::default());
        assert_eq!(neighbour.look(&status(Level::Counting, false, 4)), change(0, false, true));
        assert_eq!(neighbour.look(&status(Level::Counting, false, 4)), Change::default());
    }

    #[test]
    fn one_that_was_not_seen_itself_is_told() {
        let mut neighbour = Neighbour::of(Some(&status(Level::Counting, false, 0)));
        let both = Change { yielded: 2, came: true, left: true };
        assert_eq!(neighbour.look(&status(Level::Stacks, false, 2)), both);
        // It gave up and was not armed again yet.
        let came = Change { yielded: 1, came: true, left: false };
        assert_eq!(neighbour.look(&status(Level::Dormant, false, 3)), came);
        let left = Change { yielded: 0, came: false, left: true };
        assert_eq!(neighbour.look(&status(Level::Stacks, false, 3)), left);
    }

    #[test]
    fn one_that_was_there_first_is_told() {
        let mut neighbour = Neighbour::of(Some(&status(Level::Dormant, true, 0)));
        assert!(neighbour.look(&status(Level::Dormant, true, 0)).came);
    }

    #[test]
    fn a_counter_that_runs_backwards_is_no_yield() {
        let mut neighbour = Neighbour::of(Some(&status(Level::Counting, false, 9)));
        assert_eq!(neighbour.look(&status(Level::Counting, false, 1)), Change::default());
    }
}
