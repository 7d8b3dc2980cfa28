//! How far time is final: a device's watermark, moved by what its processes allow.
//!
//! In marked mode it is the least of what its processes are complete up to, and its window begins
//! where the last of them was armed. In whole mode it is the latest start that was fed, at most.

use crate::process::{Attachment, Hold};
use crate::session::{Mode, Session};
use crate::timeline::device::Edge;
use crate::{idle, intake, settle};

impl Session {
    pub(crate) fn advance_devices_of(&mut self, process: usize) {
        let mut devices: Vec<usize> = self.processes[process]
            .attachments
            .iter()
            .map(|attachment| attachment.device)
            .collect();
        devices.sort_unstable();
        devices.dedup();
        for &device in &devices {
            self.advance(device);
        }
        let done = devices.iter().map(|&device| {
            let device = &self.devices[device];
            if device.start.is_some() { device.done } else { 0 }
        });
        let done = done.min().unwrap_or(0);
        self.processes[process].forget_before(done);
        let begun = self.devices.iter().filter(|device| device.start.is_some());
        let needed = begun.map(|device| device.idle.undecided(device.done)).min();
        for process in &mut self.processes {
            process.threads.forget_before(needed.unwrap_or(0));
            process.whereabouts.forget_before(needed.unwrap_or(0));
        }
    }

    /// Where each attached process stands with `device`.
    pub(crate) fn holds(&self, device: usize) -> impl Iterator<Item = (usize, Hold, Attachment)> {
        let workers = self.devices[device].workers.iter();
        workers.filter_map(move |worker| {
            let process = self.processes.get(worker.process)?;
            let attachment = process.attachments.iter().find(|known| known.device == device)?;
            Some((worker.process, process.hold(attachment), *attachment))
        })
    }

    /// Moves the watermark of a device as far as its processes allow.
    fn advance(&mut self, index: usize) {
        let (mut live, mut gone) = (None::<u64>, None::<u64>);
        for (_, hold, _) in self.holds(index) {
            match hold {
                Hold::Live(until) => live = Some(live.map_or(until, |live| live.min(until))),
                Hold::Gone(until) => gone = gone.max(Some(until)),
                Hold::Absent | Hold::Awaited(_) => {}
            }
        }
        let Some(mut to) = live.or(gone) else {
            return;
        };
        if self.options.mode == Mode::Whole {
            // What follows the latest start is known once more work was fed, or at the end.
            to = to.min(self.devices[index].latest);
            let awaited = |(_, hold, _)| matches!(hold, Hold::Awaited(_));
            if self.holds(index).any(awaited) {
                return;
            }
        } else if settle::awaits(self, index, to) {
            return;
        }
        if self.options.mode == Mode::Whole {
            if !self.begin_whole(index) {
                return;
            }
        } else if self.devices[index].start.is_none() {
            let marked = self
                .holds(index)
                .filter(|(_, hold, _)| matches!(hold, Hold::Live(_) | Hold::Gone(_)));
            let armed = marked.map(|(process, ..)| self.processes[process].armed).max();
            let start = self.options.start.map_or(armed.unwrap_or(0), |start| start.0);
            if to <= start {
                return;
            }
            self.devices[index].start = Some(start);
            self.devices[index].done = start;
        }
        to = to.min(self.limit.unwrap_or(u64::MAX));
        if to > self.devices[index].done {
            self.make_final(index, to, Edge::Exclusive);
        }
    }

    fn make_final(&mut self, index: usize, to: u64, edge: Edge) {
        let mut gaps = std::mem::take(&mut self.gaps);
        let mut spent = std::mem::take(&mut self.spent);
        gaps.clear();
        spent.clear();
        if self.options.mode == Mode::Marked {
            for (process, _, attachment) in self.holds(index) {
                self.processes[process].gaps(&attachment, &mut gaps);
            }
        }
        let from = self.devices[index].done;
        self.devices[index].advance(to, edge, &gaps, &mut spent);
        idle::explain(self, index, from, edge == Edge::Inclusive);
        if self.slices.is_some() {
            self.tell(index);
        }
        self.devices[index].retire(&mut spent);
        if self.limit.is_some_and(|limit| self.devices[index].done >= limit) {
            self.devices[index].forget_from(to);
        }
        intake::attribute(self, index, &spent);
        self.gaps = gaps;
        self.spent = spent;
    }

    /// The window of a trace's device begins with its first work. Whether it has any.
    fn begin_whole(&mut self, index: usize) -> bool {
        let device = &mut self.devices[index];
        if device.start.is_none() {
            let Some(first) = device.pending.iter().map(|work| work.start).min() else {
                return false;
            };
            let start = self.options.start.map_or(first, |start| start.0);
            device.start = Some(start);
            device.done = start;
        }
        true
    }

    /// Makes the rest of a trace final.
    pub(crate) fn finish_whole(&mut self, index: usize) {
        if !self.begin_whole(index) {
            return;
        }
        let device = &self.devices[index];
        let last = device.pending.iter().map(|work| work.end).max();
        // A device whose only work has no length gets a window of no length, and still counts it.
        let end = last.unwrap_or(0).min(self.limit.unwrap_or(u64::MAX)).max(device.done);
        self.make_final(index, end, Edge::Inclusive);
    }
}
