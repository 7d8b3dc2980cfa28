//! The order in which rings, sleeping threads and kernel events are read and fed.
//!
//! A mark in a ring makes time final, so what explains that time must be fed before it. Therefore:
//! 1. records are taken from the rings: no mark among them is later than this instant;
//! 2. then the threads that sleep are looked at;
//! 3. then the kernel events are read: a sleep that ended before 2 is among them, because the
//!    kernel programs tell a sleep before they forget it;
//! 4. then 3 and 2 are fed, and the records last.

use std::mem::offset_of;
use std::time::Duration;

use wire::kernel::{StackEvent, WaitEvent, event_kind};
use wire::shim::Payload;
use zerocopy::IntoBytes;

use super::guards::tally;
use super::{ObserveError, Observer, Watched, chain};
use crate::observe::clock::now;
use crate::observe::target::{Python, Target};
use crate::pipeline::Input;
use crate::shim::{GraphNews, WorkerRing};
use crate::stack::{Place, Record, Remark};
use analysis::decode::{self, KernelEvent};
use analysis::ids::{Ns, ProcessKey};

/// Records taken from one ring in one turn: keeps a flood in one worker from starving the others.
const DRAIN_LIMIT: usize = 1 << 16;

/// What one ring gave.
struct Taken {
    process: ProcessKey,
    names: Vec<(u32, String)>,
    graphs: GraphNews,
    payloads: Vec<Payload>,
}

impl Observer {
    /// One round over everything that can be read.
    pub(super) fn drain(&mut self) -> Result<(), ObserveError> {
        let begun = now();
        let mut taken = Vec::new();
        for index in 0..self.targets.len() {
            self.introduce_devices(index)?;
            if self.targets.get(index).is_some_and(Target::ready) {
                taken.extend(self.take(index, |ring, to, names| {
                    ring.drain(DRAIN_LIMIT, to, names);
                }));
            }
        }
        self.feed_after_kernel_events(taken)?;
        self.tell_clock(begun)
    }

    /// Time goes on for memory where nothing else tells it, as of a shim that only watches.
    fn tell_clock(&mut self, now: Ns) -> Result<(), ObserveError> {
        let Some(Watched { step, .. }) = self.settings.memory else { return Ok(()) };
        let due = self
            .clock_told
            .is_none_or(|at| Duration::from_nanos(now.0.saturating_sub(at.0)) >= step);
        if !due || self.targets.is_empty() {
            return Ok(());
        }
        self.clock_told = Some(now);
        self.feed(Input::Clock(now))
    }

    /// Everything a process left behind that writes no more.
    pub(super) fn drain_rest(&mut self, index: usize) -> Result<(), ObserveError> {
        if let Some(target) = self.targets.get_mut(index) {
            target.ends = true;
        }
        self.introduce_devices(index)?;
        let taken = self.take(index, WorkerRing::drain_rest).into_iter().collect();
        self.feed_after_kernel_events(taken)
    }

    fn take(
        &mut self,
        index: usize,
        drain: impl FnOnce(&mut WorkerRing, &mut Vec<Payload>, &mut Vec<(u32, String)>),
    ) -> Option<Taken> {
        let target = self.targets.get_mut(index)?;
        let process = target.key;
        let ring = target.ring.as_mut().filter(|ring| ring.memory().is_full())?;
        let (mut payloads, mut names) = (Vec::new(), Vec::new());
        drain(ring, &mut payloads, &mut names);
        target.came.add(tally(&payloads));
        // After the records, so that whatever they refer to is among the entries.
        let graphs = ring.graph_news();
        Some(Taken { process, names, graphs, payloads })
    }

    fn feed_after_kernel_events(&mut self, taken: Vec<Taken>) -> Result<(), ObserveError> {
        self.feed_kernel_events()?;
        for Taken { process, names, graphs, payloads } in taken {
            let GraphNews { first, entries, stacks } = graphs;
            if !entries.is_empty() {
                self.feed(Input::Graphs { process, first, entries })?;
            }
            for (entries, addresses) in stacks {
                // Whoever wrote them, their numbers of Python frames are not ours.
                let addresses = for_others(&addresses);
                self.feed(Input::CaptureStack { process, entries, addresses })?;
            }
            for (id, name) in names {
                self.feed(Input::Name { process, id, name })?;
            }
            if !payloads.is_empty() {
                self.feed(Input::Records { process, payloads })?;
            }
        }
        Ok(())
    }

    fn feed_kernel_events(&mut self) -> Result<(), ObserveError> {
        let Some(bpf) = &mut self.bpf else {
            return Ok(());
        };
        let mut sleeping: Vec<WaitEvent> = Vec::new();
        // They explain idle time of devices. Where there are none, a sleep is told when it ends.
        let looked = if self.targets.iter().any(|target| target.ring.is_some()) {
            bpf.sleepers(now().0, |wait| sleeping.push(wait))
        } else {
            Ok(())
        };
        let mut events = Vec::new();
        let maker = &mut self.maker;
        // Unwound at once: bytes of a user's stack are kept by nobody.
        bpf.poll(|bytes| {
            if Record::is_one(bytes) {
                events.extend(maker.make(bytes));
            } else {
                // Stacks behind it in the buffer are those of the next program.
                if let Some(pid) = executed(bytes) {
                    maker.forget(pid);
                }
                events.push(bytes.to_vec());
            }
        });
        events.extend(sleeping.iter().map(|wait| wait.as_bytes().to_vec()));
        events.into_iter().try_for_each(|bytes| {
            self.keep_capture(&bytes);
            self.notice_exec(&bytes);
            self.endings.hear(&bytes);
            match self.keep_touch(bytes) {
                Some(bytes) => self.feed(Input::KernelEvent(bytes)),
                None => Ok(()),
            }
        })?;
        looked.or_else(|error| {
            self.note(format!("Threads that slept on were not seen: {}.", chain(&error)))
        })
    }

    /// A process that executed another program has other code, may bring another Python, and may have become
    /// a server, which is met in this turn, not when the next look is due.
    fn notice_exec(&mut self, bytes: &[u8]) {
        let Some(pid) = executed(bytes) else {
            return;
        };
        self.symbols.forget(pid);
        if let Some(target) = self.targets.iter_mut().find(|target| target.pid == pid) {
            target.python = Python::Unknown;
            target.python_looks = 0;
        }
        if self.node.on_exec(pid) {
            self.last_scan = None;
        }
    }

    /// The first touch of a page waits until it is known what became of the page; anything else is given back.
    fn keep_touch(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let kind = bytes.first_chunk().copied().map(u32::from_ne_bytes);
        if kind != Some(event_kind::PAGE_STACK) {
            return Some(bytes);
        }
        if let Some(tgid) = touched_by(&bytes)
            && let Some(target) = self.targets.iter_mut().find(|target| target.pid == tgid)
        {
            target.touched.add(bytes);
        }
        None
    }

    /// Leaves the stack of a captured node with its worker, for agents after this one.
    fn keep_capture(&mut self, bytes: &[u8]) {
        let kind = bytes.first_chunk().copied().map(u32::from_ne_bytes);
        if kind != Some(event_kind::CAPTURE_STACK) {
            return;
        }
        if let Ok(KernelEvent::CaptureStack { tgid, entry, addresses }) =
            decode::kernel_event(bytes)
            && let Some(target) = self.targets.iter_mut().find(|target| target.pid == tgid)
            && let Some(ring) = &mut target.ring
        {
            ring.keep_capture(entry, &for_others(&addresses));
        }
    }
}

/// The process that executed another program, if that is what the event tells.
fn executed(bytes: &[u8]) -> Option<u32> {
    // Told by its first word: among waits of threads an execution is rare.
    let kind = bytes.first_chunk().copied().map(u32::from_ne_bytes);
    match kind {
        Some(event_kind::EXEC) => match decode::kernel_event(bytes) {
            Ok(KernelEvent::Exec { tgid, .. }) => Some(tgid),
            _ => None,
        },
        _ => None,
    }
}

/// Whose page it is.
fn touched_by(event: &[u8]) -> Option<u32> {
    const TGID: usize = offset_of!(StackEvent, tgid);
    event.get(TGID..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Places as another agent understands them: the numbers of Python frames are this one's own, and under
/// another's they would be other functions.
fn for_others(places: &[u64]) -> Vec<u64> {
    let remark = Place::Remark(Remark::PythonNotKept).to_bits();
    let is_python = |bits| matches!(Place::from_bits(bits), Place::Python(_));
    let mut kept: Vec<u64> =
        places.iter().map(|&bits| if is_python(bits) { remark } else { bits }).collect();
    kept.dedup_by(|next, last| next == last && *next == remark);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_python_frames_stay_with_who_gave_them() {
        let remark = Place::Remark(Remark::PythonNotKept).to_bits();
        let python = |number| Place::Python(number).to_bits();
        let kept = for_others(&[0x10, 0x10, python(5), python(6), 0x20, python(5), 0x30]);
        assert_eq!(kept, [0x10, 0x10, remark, 0x20, remark, 0x30]);
        assert_eq!(for_others(&[]), Vec::<u64>::new());
    }
}
