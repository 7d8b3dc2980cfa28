//! One observed process: what it sent since its last mark, and what is known of its time.
//!
//! [`Process::complete`] is the process's own watermark: every record of work that started before
//! it has arrived, except where a [`Region`] says otherwise.

use crate::map::HashMap;

use crate::correlate::{Extender, Launches};
use crate::event::{Launch, ProcessInfo, Sync};
use crate::graphs::{Graphs, Place};
use crate::ids::{Correlation, ProcessKey, StackId};
use crate::limits::{Capacities, UNFINISHED};
use crate::names::Named;
use crate::ranges::OpenRanges;
use crate::report::UnobservedReason;
use crate::samples::Samples;
use crate::threads::Threads;
use crate::timeline::sweep::{Gap, Scope};
use crate::whereabouts::Whereabouts;

/// A work record with everything resolved that needs the order of arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawWork {
    /// Position in [`Process::attachments`].
    pub(crate) attachment: usize,
    pub(crate) context: u32,
    pub(crate) stream: u32,
    pub(crate) correlation: Correlation,
    pub(crate) place: Place,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) named: Named,
    pub(crate) is_kernel: bool,
    pub(crate) to_host: bool,
    pub(crate) grid_x: u16,
}

/// Events since the last mark. Nothing is decided before the mark, so their order is free.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) works: Vec<RawWork>,
    /// With the numbers of the ranges and the step it was launched in.
    pub(crate) launches: Vec<(Launch, u32, u32)>,
    /// And whether it was captured into a graph.
    pub(crate) failed: Vec<(Correlation, bool)>,
    pub(crate) syncs: Vec<Sync>,
    pub(crate) stacks: Vec<(Correlation, StackId)>,
    /// Events that found the batch full.
    pub(crate) dropped: u64,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.works.len()
            + self.launches.len()
            + self.failed.len()
            + self.syncs.len()
            + self.stacks.len()
    }

    /// The earliest instant that only an armed process can show.
    fn first(&self) -> Option<u64> {
        let launches = self.launches.iter().map(|(launch, ..)| launch.enter.0);
        let works = self.works.iter().filter(|work| work.start > 0).map(|work| work.start);
        let syncs = self.syncs.iter().map(|sync| sync.enter.0);
        launches.chain(works).chain(syncs).min()
    }
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No mark came yet.
    Unmarked,
    Armed,
    /// Nothing is recorded from `since` on.
    Disarmed {
        since: u64,
    },
    /// Nothing is known from `since` on, and nothing can run from `at` on.
    Ended {
        since: u64,
        at: u64,
    },
}

/// Whether work launched before arming is known to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    Unproven,
    Done,
}

/// The process on one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    pub(crate) ordinal: u32,
    /// Position in the session.
    pub(crate) device: usize,
    /// Position in the device's workers.
    pub(crate) worker: u16,
    pub(crate) drain: Drain,
    /// Work of it was seen there.
    pub(crate) used: bool,
    /// It has, or may have, a context there.
    pub(crate) opened: bool,
}

/// Time in which work of the process may have run that no record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) reason: UnobservedReason,
    /// One device (session position), or `None` for all.
    pub(crate) device: Option<usize>,
}

/// An expired launch, or several: nothing is known from the first one's entry until they are
/// proven done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// 0 when several were merged.
    pub(crate) correlation: u64,
    pub(crate) enter: u64,
    /// Entry of the last one merged.
    pub(crate) latest: u64,
    /// Per stream (device, stream): an instant at which it is proven past the launch.
    pub(crate) proofs: HashMap<(usize, u32), u64>,
}

/// What a process allows its device's watermark to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing ever came from it.
    Absent,
    /// Its first mark is awaited; it was active at this instant.
    Awaited(u64),
    /// It is observed, complete up to this instant.
    Live(u64),
    /// Its observation is over; complete up to this instant.
    Gone(u64),
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) key: ProcessKey,
    pub(crate) info: ProcessInfo,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) names: HashMap<u32, Named>,
    pub(crate) batch: Batch,
    pub(crate) extender: Extender,
    pub(crate) launches: Launches,
    pub(crate) samples: Samples,
    pub(crate) graphs: Graphs,
    pub(crate) phase: Phase,
    pub(crate) armed: u64,
    /// Records were read from here on; what an earlier reader took is not known.
    pub(crate) attached: u64,
    /// Number of the latest mark.
    pub(crate) marks: u64,
    pub(crate) flush: u64,
    pub(crate) complete: u64,
    pub(crate) lost: Option<u64>,
    pub(crate) regions: Vec<Region>,
    pub(crate) unfinished: Vec<Unfinished>,
    pub(crate) syncs: Vec<Sync>,
    /// Device of a context, by the records seen (attachment position).
    pub(crate) contexts: HashMap<u32, usize>,
    /// Attachment of the first work record: process-wide counts are shown there.
    pub(crate) home: Option<usize>,
    pub(crate) launched: u64,
    pub(crate) launches_failed: u64,
    /// Lost records not yet shown on a device.
    pub(crate) lost_unplaced: u64,
    pub(crate) no_mark_noted: bool,
    pub(crate) threads: Threads,
    pub(crate) whereabouts: Whereabouts,
    pub(crate) ranges: OpenRanges,
    /// The engine step that a trace names: its code and its end.
    pub(crate) step: (u32, u64),
    pub(crate) steps_named: u32,
}

impl Process {
    pub(crate) fn new(key: ProcessKey, info: ProcessInfo, capacities: Capacities) -> Self {
        Self {
            key,
            info,
            attachments: Vec::new(),
            names: HashMap::default(),
            batch: Batch::default(),
            extender: Extender::default(),
            launches: Launches::new(capacities.launches),
            samples: Samples::new(capacities.samples),
            graphs: Graphs::default(),
            phase: Phase::Unmarked,
            armed: 0,
            attached: 0,
            marks: 0,
            flush: 0,
            complete: 0,
            lost: None,
            regions: Vec::new(),
            unfinished: Vec::new(),
            syncs: Vec::new(),
            contexts: HashMap::default(),
            home: None,
            launched: 0,
            launches_failed: 0,
            lost_unplaced: 0,
            no_mark_noted: false,
            threads: Threads::default(),
            whereabouts: Whereabouts::default(),
            ranges: OpenRanges::default(),
            step: (0, 0),
            steps_named: 0,
        }
    }

    /// What it allows the watermark of the device behind `attachment` to be.
    pub(crate) fn hold(&self, attachment: &Attachment) -> Hold {
        match self.phase {
            Phase::Unmarked => self.batch.first().map_or(Hold::Absent, Hold::Awaited),
            Phase::Armed if attachment.drain == Drain::Unproven => Hold::Live(self.armed),
            Phase::Armed => Hold::Live(self.complete),
            // A launch after the last mark is the sign of another arming, whose mark will come.
            Phase::Disarmed { .. } if !self.batch.launches.is_empty() => {
                self.batch.first().map_or(Hold::Gone(self.complete), Hold::Awaited)
            }
            Phase::Disarmed { .. } | Phase::Ended { .. } => Hold::Gone(self.complete),
        }
    }

    /// Arming ended at `armed`: what was before is not known, and neither is what was launched
    /// before and still runs.
    pub(crate) fn arm(&mut self, armed: u64) {
        let since = match self.phase {
            Phase::Unmarked => 0,
            Phase::Armed => self.complete,
            Phase::Disarmed { since } | Phase::Ended { since, at: _ } => since,
        };
        self.region(since, armed, UnobservedReason::NotArmed, None);
        self.phase = Phase::Armed;
        self.armed = armed;
        self.complete = self.complete.max(armed);
        for attachment in &mut self.attachments {
            attachment.drain = Drain::Unproven;
        }
    }

    /// Adds a region, if it is one.
    pub(crate) fn region(
        &mut self,
        start: u64,
        end: u64,
        reason: UnobservedReason,
        device: Option<usize>,
    ) {
        if start < end {
            self.regions.push(Region { start, end, reason, device });
        }
    }

    /// Opens the region of an expired launch.
    pub(crate) fn expire(&mut self, correlation: u64, enter: u64) {
        let full = self.unfinished.len() >= UNFINISHED;
        match self.unfinished.last_mut() {
            Some(last) if full => {
                self.launches.forget(last.correlation);
                self.launches.forget(correlation);
                last.correlation = 0;
                last.enter = last.enter.min(enter);
                last.latest = last.latest.max(enter);
                last.proofs.clear();
            }
            _ => self.unfinished.push(Unfinished {
                correlation,
                enter,
                latest: enter,
                proofs: HashMap::default(),
            }),
        }
    }

    /// Closes the region of an expired launch whose records came.
    pub(crate) fn resolve(&mut self, correlation: u64, end: u64) {
        let found = self.unfinished.iter().position(|open| open.correlation == correlation);
        if let Some(index) = found {
            let open = self.unfinished.swap_remove(index);
            self.region(open.enter, end, UnobservedReason::Unfinished, None);
        }
    }

    /// What the process does not know about the time of one of its devices.
    pub(crate) fn gaps(&self, attachment: &Attachment, gaps: &mut Vec<Gap>) {
        // A process that used other devices only says nothing about this one, and neither does one that cannot work there.
        let concerns = attachment.used || attachment.opened && self.home.is_none();
        let scope = if concerns { Scope::Device } else { Scope::Worker };
        let worker = attachment.worker;
        let mut gap = |start, end, reason, scope| {
            gaps.push(Gap { start, end, reason, worker, scope });
        };
        for region in &self.regions {
            if region.device.is_none_or(|device| device == attachment.device) {
                gap(region.start, region.end, region.reason, scope);
            }
        }
        for open in &self.unfinished {
            gap(open.enter, u64::MAX, UnobservedReason::Unfinished, scope);
        }
        match self.phase {
            Phase::Unmarked => gap(0, u64::MAX, UnobservedReason::NotArmed, scope),
            Phase::Armed => {}
            Phase::Disarmed { since } => gap(since, u64::MAX, UnobservedReason::NotArmed, scope),
            Phase::Ended { since, at } => {
                gap(since, at, UnobservedReason::NotArmed, scope);
                // It runs nothing any more, so only its own split has a hole from here on.
                gap(since.max(at), u64::MAX, UnobservedReason::NotArmed, Scope::Worker);
            }
        }
    }

    /// Drops regions that lie wholly before what is final on every device.
    pub(crate) fn forget_before(&mut self, done: u64) {
        self.regions.retain(|region| region.end > done);
    }
}
