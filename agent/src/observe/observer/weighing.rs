//! What the kernel counts of each process's memory, at the pace at which memory is written down.

use std::time::Instant;

use super::{ObserveError, Observer, Watched};
use crate::observe::clock::now;
use crate::pipeline::Input;

impl Observer {
    pub(super) fn weigh(&mut self) -> Result<(), ObserveError> {
        let Some(Watched { step, heap, .. }) = self.settings.memory else { return Ok(()) };
        if self.last_weigh.is_some_and(|at| at.elapsed() < step) {
            return Ok(());
        }
        self.last_weigh = Some(Instant::now());
        for index in 0..self.targets.len() {
            let Some(target) = self.targets.get_mut(index) else { continue };
            let process = target.key;
            // One that is gone is buried soon.
            if let Some(resident) = target.residence.read(heap) {
                self.feed(Input::Resident { process, at: now(), resident })?;
            }
        }
        Ok(())
    }
}
