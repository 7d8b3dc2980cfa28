//! Time in which the host was late, by what the launching thread and its server did.

use crate::ids::Thread;
use crate::limits::IDLE_COMMIT_NS;
use crate::process::Process;
use crate::report::IdleCause;
use crate::session::Session;
use crate::spans::{Span, both, without};

use super::Waited;

/// Role of the process that hands out a server's work.
const ENGINE_CORE: &str = "engine_core";

/// Splits `late`, a stretch in which nothing was queued on the device and `who` comes next, at
/// `launched` if that is known. `age`: how long the device had been idle at its end, ns.
pub(super) fn split(
    session: &Session,
    device: usize,
    who: Option<Waited>,
    late: Span,
    launched: Option<u64>,
    age: u64,
) -> Vec<(Span, IdleCause)> {
    let process = who
        .and_then(|who| session.devices[device].workers.get(usize::from(who.worker)))
        .and_then(|worker| session.processes.get(worker.process));
    let (Some(who), Some(process)) = (who, process) else {
        return vec![(late, IdleCause::Unknown)];
    };
    let syncs = process.threads.syncs(who.thread, late.from, late.to);
    let rest = without(&[late], &syncs);
    let server = || session.processes.iter().filter(|other| same_server(process, other));
    let watched = server().any(|process| process.threads.watched);
    let otherwise =
        if watched || age <= IDLE_COMMIT_NS { IdleCause::HostBound } else { IdleCause::Unknown };
    let tid = process.threads.tid(who.thread, process.info.pid);
    let asleep = if watched && process.threads.slept(tid, late.from, late.to) {
        let server: Vec<&Process> = server().collect();
        nothing_to_do(process, tid, &server, late, launched)
    } else {
        Vec::new()
    };
    if syncs.is_empty() && asleep.is_empty() {
        return vec![(late, otherwise)];
    }
    let mut parts: Vec<(Span, IdleCause)> = Vec::new();
    parts.extend(syncs.iter().map(|&span| (span, IdleCause::Sync)));
    parts.extend(both(&rest, &asleep).iter().map(|&span| (span, IdleCause::NoRequests)));
    parts.extend(without(&rest, &asleep).iter().map(|&span| (span, otherwise)));
    parts.sort_unstable_by_key(|(span, _)| span.from);
    parts
}

/// Splits `late`, a stretch in which nothing was queued on the device and nobody is known to have
/// launched anything since it is observed. Any worker of the device may be the next, so all of them
/// have to sleep; and that is all that can be said.
pub(super) fn split_before_launches(
    session: &Session,
    device: usize,
    late: Span,
) -> Vec<(Span, IdleCause)> {
    let workers = session.devices[device].workers.iter();
    let mut processes =
        workers.filter_map(|worker| session.processes.get(worker.process)).peekable();
    let nobody = processes.peek().is_none();
    let asleep = processes.fold(vec![late], |asleep, process| {
        let server: Vec<&Process> =
            session.processes.iter().filter(|other| same_server(process, other)).collect();
        both(&asleep, &nothing_to_do(process, Thread(process.info.pid), &server, late, None))
    });
    let asleep = if nobody { Vec::new() } else { asleep };
    let mut parts: Vec<(Span, IdleCause)> =
        asleep.iter().map(|&span| (span, IdleCause::NoRequests)).collect();
    parts.extend(without(&[late], &asleep).iter().map(|&span| (span, IdleCause::Unknown)));
    parts.sort_unstable_by_key(|(span, _)| span.from);
    parts
}

fn same_server(process: &Process, other: &Process) -> bool {
    let known = process.info.server != 0 && process.info.server == other.info.server;
    known || process.key == other.key
}

/// When the launching thread and every engine core's main thread slept.
///
/// A core that sleeps on until the launch waited for its worker, in the middle of a step: a request
/// would have woken it first.
fn nothing_to_do(
    process: &Process,
    tid: Thread,
    server: &[&Process],
    late: Span,
    launched: Option<u64>,
) -> Vec<Span> {
    let mut cores = server.iter().filter(|process| process.info.role == ENGINE_CORE).peekable();
    // A program that hands out no requests is late, awake or not.
    if cores.peek().is_none() {
        return Vec::new();
    }
    let launching = process.threads.asleep(tid, late.from, late.to);
    cores.fold(launching, |asleep, core| {
        let mut main = core.threads.sleeps(Thread(core.info.pid), late.from, late.to);
        main.retain(|sleep| launched.is_none_or(|launched| sleep.to <= launched));
        let main: Vec<Span> = main.iter().map(|s| s.clipped(late.from, late.to)).collect();
        both(&asleep, &main)
    })
}
