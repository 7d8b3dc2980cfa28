//! What happens at a mark: the events since the one before are taken together, launches are
//! settled or expire, and the process's own watermark moves.
//!
//! Equations at mark m with flush time F:
//! - complete = max(complete, min(F, entry of the oldest launch that still holds)).
//! - Lost records: `[complete before m, F)` is unobserved when the loss count grew.
//!
//! What of it can be proven over is in [`crate::proof`], how the events are taken in
//! [`crate::intake`].

use crate::defect::Defect;
use crate::event::Mark;
use crate::ids::Ns;
use crate::intake::take_batch;
use crate::limits::HOLD_NS;
use crate::process::{Drain, Hold, Phase, Process};
use crate::proof;
use crate::report::UnobservedReason;
use crate::samples::Aged;
use crate::session::Session;

/// Takes a mark of a process.
pub(crate) fn mark(session: &mut Session, index: usize, mark: &Mark) {
    let process = &mut session.processes[index];
    // An arming that began before we read the ring begins for us when we did.
    let (flush, armed) = (mark.flush.0, mark.armed.0.max(process.attached));
    let ignored = match process.phase {
        Phase::Ended { .. } => true,
        // A second last mark of one arming says nothing.
        Phase::Disarmed { .. } => flush < process.flush || armed <= process.armed,
        Phase::Unmarked | Phase::Armed => flush < process.flush,
    };
    if ignored {
        session.defects.add(Defect::MarkBackwards { pid: process.info.pid, count: 1 });
        return;
    }
    process.marks += 1;
    let before = process.complete.max(process.armed);
    let mut unfinished = 0;
    if process.phase != Phase::Armed || armed > process.armed {
        // What an earlier arming left open is open from its entry on.
        unfinished += abandon(process);
        process.arm(armed);
        for attachment in &process.attachments {
            session.devices[attachment.device].rearm(attachment.worker);
        }
    }
    process.flush = flush;
    let dropped = take_batch(session, index);
    let process = &mut session.processes[index];
    let first_mark = process.lost.is_none();
    let decided = process.launches.decide(process.marks, flush);
    for (correlation, end) in decided.resolved {
        process.resolve(correlation, end);
    }
    unfinished += decided.expired.len() as u64;
    let copies_unseen = decided.copies_unseen;
    for (correlation, enter) in decided.expired {
        process.expire(correlation, enter);
    }
    for correlation in decided.retired {
        process.samples.retired(correlation);
    }
    let complete = decided.oldest.map_or(flush, |oldest| oldest.min(flush));
    process.complete = process.complete.max(complete);
    if dropped {
        process.region(before, flush, UnobservedReason::LostRecord, None);
    }
    lost(session, index, mark, first_mark, before);
    proof::unfinished(session, index);
    proof::drained(session, index);
    if mark.last {
        unfinished += disarm(&mut session.processes[index], flush);
    }
    let process = &mut session.processes[index];
    let pid = process.info.pid;
    if copies_unseen > 0 {
        session.defects.add(Defect::CopyUnseen { pid, count: copies_unseen });
    }
    if unfinished > 0 {
        session.defects.add(Defect::UnfinishedLaunch { pid, count: unfinished });
    }
    let aged = process.samples.age(process.marks);
    note_aged(session, pid, aged);
}

/// A reader of a trace is past `flush`.
pub(crate) fn passed(session: &mut Session, index: usize, flush: Ns) {
    let process = &mut session.processes[index];
    process.marks += 1;
    process.phase = Phase::Armed;
    process.flush = process.flush.max(flush.0);
    take_batch(session, index);
    let process = &mut session.processes[index];
    let decided = process.launches.decide(process.marks, process.flush);
    // A trace may show launches of work that it does not show.
    for (correlation, _) in decided.expired {
        process.launches.forget(correlation);
    }
    let complete = decided.oldest.map_or(process.flush, |oldest| oldest.min(process.flush));
    process.complete = process.complete.max(complete);
}

/// No record will come of any launch: the outstanding ones are open from their entry on.
fn abandon(process: &mut Process) -> u64 {
    let closed = process.launches.close();
    for &(correlation, enter) in &closed.expired {
        process.expire(correlation, enter);
    }
    for correlation in closed.retired {
        process.samples.retired(correlation);
    }
    closed.expired.len() as u64
}

/// The last mark of an arming: nothing more comes of what is still open.
fn disarm(process: &mut Process, flush: u64) -> u64 {
    let unfinished = abandon(process);
    never_drained(process, flush);
    process.phase = Phase::Disarmed { since: flush };
    process.complete = process.complete.max(flush);
    unfinished
}

/// The arming ended before the device was proven drained: all of it is unobserved.
fn never_drained(process: &mut Process, until: u64) {
    let armed = process.armed;
    for position in 0..process.attachments.len() {
        let attachment = &mut process.attachments[position];
        if attachment.drain == Drain::Unproven {
            attachment.drain = Drain::Done;
            let device = Some(attachment.device);
            process.region(armed, until, UnobservedReason::Arming, device);
        }
    }
}

/// Takes the end of a process: it is not known from its last mark on and cannot run from `at` on.
pub(crate) fn end(session: &mut Session, index: usize, at: Ns) {
    if matches!(session.processes[index].phase, Phase::Ended { .. }) {
        return;
    }
    session.processes[index].marks += 1;
    take_batch(session, index);
    let process = &mut session.processes[index];
    let since = match process.phase {
        Phase::Unmarked => 0,
        Phase::Disarmed { since } => since,
        Phase::Armed | Phase::Ended { .. } => {
            process.complete = process.complete.max(process.flush);
            process.flush
        }
    };
    let decided = process.launches.decide(process.marks, process.flush);
    for (correlation, end) in decided.resolved {
        process.resolve(correlation, end);
    }
    let closed = process.launches.close();
    let open = decided.expired.into_iter().chain(closed.expired);
    let mut count = 0;
    for (_, enter) in open {
        process.region(enter, at.0, UnobservedReason::Unfinished, None);
        count += 1;
    }
    for open in std::mem::take(&mut process.unfinished) {
        process.region(open.enter, at.0, UnobservedReason::Unfinished, None);
    }
    for correlation in decided.retired.into_iter().chain(closed.retired) {
        process.samples.retired(correlation);
    }
    if process.phase == Phase::Armed {
        never_drained(process, process.flush);
    }
    process.phase = Phase::Ended { since, at: at.0 };
    if count > 0 {
        let pid = process.info.pid;
        session.defects.add(Defect::UnfinishedLaunch { pid, count });
    }
}

/// Takes what came after the last mark, for the counts.
pub(crate) fn rest(session: &mut Session, index: usize) {
    session.processes[index].marks += 1;
    take_batch(session, index);
}

/// No stack and no launch will come any more.
pub(crate) fn close_samples(session: &mut Session, index: usize) {
    let process = &mut session.processes[index];
    let (pid, aged) = (process.info.pid, process.samples.close());
    note_aged(session, pid, aged);
}

fn note_aged(session: &mut Session, pid: u32, aged: Aged) {
    if aged.missing > 0 {
        session.defects.add(Defect::StackMissing { pid, count: aged.missing });
    }
    if aged.unmatched > 0 {
        session.defects.add(Defect::StackUnmatched { pid, count: aged.unmatched });
    }
}

/// Whether the device must wait before `to` for a process whose mark has not come yet.
pub(crate) fn awaits(session: &mut Session, device: usize, to: u64) -> bool {
    let awaited: Vec<(usize, u64)> = session
        .holds(device)
        .filter_map(|(process, hold, _)| match hold {
            Hold::Awaited(first) => Some((process, first)),
            Hold::Absent | Hold::Live(_) | Hold::Gone(_) => None,
        })
        .collect();
    for (process, first) in awaited {
        if to.saturating_sub(first) <= HOLD_NS {
            return true;
        }
        let process = &mut session.processes[process];
        if !process.no_mark_noted {
            process.no_mark_noted = true;
            let count = process.batch.len() as u64;
            session.defects.add(Defect::NoMark { pid: process.info.pid, count });
        }
    }
    false
}

/// Counts lost records and marks the time they may have run in.
fn lost(session: &mut Session, index: usize, mark: &Mark, first_mark: bool, before: u64) {
    let process = &mut session.processes[index];
    let pid = process.info.pid;
    let known = process.lost.unwrap_or(0);
    let Some(count) = mark.lost.checked_sub(known).filter(|&count| count > 0) else {
        process.lost = Some(known);
        return;
    };
    process.lost = Some(mark.lost);
    if first_mark {
        session.defects.add(Defect::LostBefore { pid, count });
    } else {
        session.defects.add(Defect::LostRecord { pid, count });
        process.lost_unplaced = process.lost_unplaced.saturating_add(count);
    }
    process.region(before, mark.flush.0, UnobservedReason::LostRecord, None);
    if let Some(attachment) = process.attachments.get(process.home.unwrap_or(0)) {
        let placed = std::mem::take(&mut process.lost_unplaced);
        let lost = &mut session.devices[attachment.device].records.lost;
        *lost = lost.saturating_add(placed);
    }
}
