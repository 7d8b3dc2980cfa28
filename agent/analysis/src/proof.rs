//! What proves that work without a record is gone: of a launch that stopped holding the watermark,
//! and of everything launched before arming.
//!
//! Equations:
//! - Drained at T = min(return of the first context-wide synchronisation entered after `armed`,
//!   max over the streams seen in the first second of their first start of a launch entered after
//!   `armed`), at most `armed` + 5 s; `[armed, T)` is unobserved. A device on which no stream
//!   shows a record in the first second counts as drained at its end. Until T is known the
//!   process holds its device at `armed`.
//! - An expired launch is proven done once every stream of the process has shown work of a
//!   launch entered later, or had its context synchronised later; the last of these instants
//!   ends its region. Its own records end it too.

use crate::defect::Defect;
use crate::event::Sync;
use crate::limits::{DRAIN_ASSUMED_NS, DRAIN_STREAMS_NS};
use crate::process::{Drain, Region};
use crate::report::UnobservedReason;
use crate::session::Session;

/// Looks for proof that expired launches are done.
pub(crate) fn unfinished(session: &mut Session, index: usize) {
    let process = &mut session.processes[index];
    let mut open = std::mem::take(&mut process.unfinished);
    let unproven = process.attachments.iter().any(|a| a.drain == Drain::Unproven);
    open.retain_mut(|unfinished| {
        let later: Vec<&Sync> =
            process.syncs.iter().filter(|sync| sync.enter.0 >= unfinished.latest).collect();
        let mut streams = 0;
        let mut seen = Vec::new();
        for attachment in &process.attachments {
            // Two ordinals may mean one device.
            if seen.contains(&attachment.device) {
                continue;
            }
            seen.push(attachment.device);
            let device = &session.devices[attachment.device];
            let mut prove = |stream: u32, at: u64| {
                let proof = unfinished.proofs.entry((attachment.device, stream)).or_insert(at);
                *proof = (*proof).min(at);
            };
            for work in device.pending.iter().filter(|work| work.worker == attachment.worker) {
                if work.enter > unfinished.latest {
                    prove(work.stream, work.start);
                }
            }
            for (stream, known) in (0..).zip(&device.streams) {
                if known.worker == attachment.worker {
                    streams += 1;
                    for sync in later.iter().filter(|sync| sync.context == known.context) {
                        prove(stream, sync.exit.0);
                    }
                }
            }
        }
        let done = if streams == 0 {
            later.iter().map(|sync| sync.exit.0).min()
        } else if unfinished.proofs.len() >= streams {
            unfinished.proofs.values().copied().max()
        } else {
            None
        };
        if let Some(done) = done {
            process.launches.forget(unfinished.correlation);
            let reason = UnobservedReason::Unfinished;
            if unfinished.enter < done {
                process.regions.push(Region {
                    start: unfinished.enter,
                    end: done,
                    reason,
                    device: None,
                });
            }
        }
        done.is_none()
    });
    process.unfinished = open;
    if !unproven {
        let complete = process.complete;
        process.syncs.retain(|sync| sync.exit.0 > complete);
    }
}

/// Looks for proof that work launched before arming is gone.
pub(crate) fn drained(session: &mut Session, index: usize) {
    let process = &mut session.processes[index];
    let armed = process.armed;
    let single = process.attachments.len() == 1;
    for position in 0..process.attachments.len() {
        let attachment = process.attachments[position];
        if attachment.drain == Drain::Done {
            continue;
        }
        let here = |context: &u32| match process.contexts.get(context) {
            Some(&device) => device == attachment.device,
            None => single,
        };
        let synced = process
            .syncs
            .iter()
            .filter(|sync| sync.enter.0 >= armed && here(&sync.context))
            .map(|sync| sync.exit.0)
            .min();
        let device = &session.devices[attachment.device];
        let early = armed.saturating_add(DRAIN_STREAMS_NS);
        let latest = armed.saturating_add(DRAIN_ASSUMED_NS);
        let shown = (process.complete >= early).then(|| {
            let mut streams = device
                .streams
                .iter()
                .filter(|stream| stream.worker == attachment.worker)
                .filter(|stream| stream.first.is_some_and(|first| first < early))
                .peekable();
            if streams.peek().is_none() {
                return Some(early);
            }
            streams.try_fold(0, |until, stream| Some(stream.first_launched?.max(until)))
        });
        let proven = [synced, shown.flatten()].into_iter().flatten().min();
        let drained = match proven.filter(|&at| at <= latest) {
            Some(at) => at,
            None if process.complete >= latest => {
                let pid = process.info.pid;
                let device = device.info.index;
                session.defects.add(Defect::DrainAssumed { pid, device, count: 1 });
                latest
            }
            None => continue,
        };
        process.attachments[position].drain = Drain::Done;
        let device = Some(attachment.device);
        process.region(armed, drained, UnobservedReason::Arming, device);
    }
}
