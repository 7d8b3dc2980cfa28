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

/// Splits `late`, a stretch in which nothing was queued on the device and `who` comes next. `age`:
/// how long the device had been idle at its end, ns.
pub(super) fn split(
    session: &Session,
    device: usize,
    who: Option<Waited>,
    late: Span,
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
    let server: Vec<&Process> =
        session.processes.iter().filter(|other| same_server(process, other)).collect();
    let watched = server.iter().any(|process| process.threads.watched);
    let (asleep, otherwise) = if watched {
        (nothing_to_do(process, who, &server, late), IdleCause::HostBound)
    } else if age > IDLE_COMMIT_NS {
        (Vec::new(), IdleCause::Unknown)
    } else {
        (Vec::new(), IdleCause::HostBound)
    };
    let mut parts: Vec<(Span, IdleCause)> = Vec::new();
    parts.extend(syncs.iter().map(|&span| (span, IdleCause::Sync)));
    parts.extend(both(&rest, &asleep).iter().map(|&span| (span, IdleCause::NoRequests)));
    parts.extend(without(&rest, &asleep).iter().map(|&span| (span, otherwise)));
    parts.sort_unstable_by_key(|(span, _)| span.from);
    parts
}

fn same_server(process: &Process, other: &Process) -> bool {
    let known = process.info.server != 0 && process.info.server == other.info.server;
    known || process.key == other.key
}

/// When the launching thread and every engine core's main thread slept.
fn nothing_to_do(process: &Process, who: Waited, server: &[&Process], late: Span) -> Vec<Span> {
    let mut cores = server.iter().filter(|process| process.info.role == ENGINE_CORE).peekable();
    // A program that hands out no requests is late, awake or not.
    if cores.peek().is_none() {
        return Vec::new();
    }
    let tid = process.threads.tid(who.thread, process.info.pid);
    let launching = process.threads.asleep(tid, late.from, late.to);
    cores.fold(launching, |asleep, core| {
        let main = core.threads.asleep(Thread(core.info.pid), late.from, late.to);
        both(&asleep, &main)
    })
}
