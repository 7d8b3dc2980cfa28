//! Carries out what the guards decide, counts it and says it.

use analysis::decode;
use analysis::event::Event;
use analysis::ids::ProcessKey;
use wire::shim::Payload;

use super::{ObserveError, Observer};
use crate::observe::clock::now;
use crate::observe::guard::{Step, Tally};

/// What the guards did since the observation began. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// Workers switched off and on again because their records came without timestamps.
    pub rearms: u64,
    /// Workers left alone because that did not help.
    pub fallbacks: u64,
}

/// Work records by what became of them.
pub(super) fn tally(payloads: &[Payload]) -> Tally {
    let mut tally = Tally::default();
    for payload in payloads {
        // Which process it is does not matter here.
        if let Ok(Event::Work(work)) = decode::record(ProcessKey(0), payload) {
            tally.records += 1;
            tally.invalid += u64::from(work.start.0 == 0 || work.end < work.start);
        }
    }
    tally
}

impl Observer {
    /// What the guards did so far.
    pub fn guarded(&self) -> Guarded {
        self.guarded
    }

    /// One turn of every worker's guard.
    pub(super) fn guard(&mut self) -> Result<(), ObserveError> {
        let now = now();
        let mut notes = Vec::new();
        for target in &mut self.targets {
            let Some(ring) = target.ring.as_ref().filter(|ring| ring.memory().is_full()) else {
                continue;
            };
            let status = ring.status();
            let Some(level) = status.level else {
                continue;
            };
            let mut came = std::mem::take(&mut target.came);
            came.dropped = status.cupti_dropped.saturating_sub(target.cupti_dropped);
            target.cupti_dropped = status.cupti_dropped;
            let pid = target.pid;
            let step = target.guard.turn(now, level, came);
            if step.is_some() {
                target.ask();
            }
            match step {
                Some(Step::Lower(window)) => {
                    self.guarded.rearms += 1;
                    target.rearms += 1;
                    if target.rearms == 1 {
                        notes.push(format!(
                            "Process {pid}: {} % of its records came without timestamps or were dropped by CUPTI, as if its device buffers were exhausted: its observation was started over; the time until then is unobserved.",
                            window.bad_percent()
                        ));
                    }
                }
                Some(Step::FallBack(window)) => {
                    self.guarded.fallbacks += 1;
                    notes.push(format!(
                        "Process {pid}: starting over did not help, {} % of its records are still of no use: it is not observed for ten minutes. Restart it, or record a shorter time; docs/environment.md has `WARPLENS_CUPTI` for another CUPTI.",
                        window.bad_percent()
                    ));
                }
                Some(Step::Raise) | None => {}
            }
        }
        notes.into_iter().try_for_each(|note| self.note(note))
    }
}
