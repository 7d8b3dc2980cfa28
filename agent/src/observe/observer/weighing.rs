//! What the kernel counts of each process's memory, at the pace at which memory is written down, and who touches new pages.

use std::time::Instant;

use super::{ObserveError, Observer, Watched, chain};
use crate::bpf::Bpf;
use crate::observe::clock::now;
use crate::observe::touched::Settled;
use crate::pipeline::Input;
use crate::proc::Pages;

impl Observer {
    pub(super) fn start_touches(&mut self) -> Result<(), ObserveError> {
        let wanted = self.settings.memory.is_some_and(|watched| watched.touches);
        let Some(bpf) = self.bpf.as_mut().filter(|_| wanted) else { return Ok(()) };
        match bpf.start_touches() {
            Ok(_cpus) => Ok(()),
            Err(error) => {
                self.note(format!("Who touches new pages is not seen: {}.", chain(&error)))
            }
        }
    }

    pub(super) fn turn_touches(&mut self) -> Result<(), ObserveError> {
        match self.bpf.as_mut().map_or(Ok(()), Bpf::turn_touches) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.note(format!("Who touches new pages was not seen: {}.", chain(&error)))
            }
        }
    }

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
            self.settle_touches(index)?;
        }
        Ok(())
    }

    fn settle_touches(&mut self, index: usize) -> Result<(), ObserveError> {
        let Some(target) = self.targets.get_mut(index) else { return Ok(()) };
        // Of one that is gone, nothing is said of single pages.
        let Ok(pages) = Pages::of(target.pid) else { return Ok(()) };
        let (process, Settled { gone, events }) = (target.key, target.touched.settle(&pages));
        if !gone.is_empty() {
            self.feed(Input::PagesGone { process, at: now(), pages: gone })?;
        }
        events.into_iter().try_for_each(|bytes| self.feed(Input::KernelEvent(bytes)))
    }
}
