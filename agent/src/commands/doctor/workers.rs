//! Processes that have a shim's ring.

use super::Check;
use crate::shim::{Location, Memory, Status};
use crate::{proc, shim};

/// Workers listed. Arbitrary, only bounds the screen.
const LISTED: usize = 32;

pub(super) fn checks() -> Vec<Check> {
    let found: Vec<_> = proc::pids()
        .into_iter()
        // A process that ended or is not ours to look at has no ring for us.
        .filter_map(|pid| shim::find(pid).ok().flatten())
        .collect();
    if found.is_empty() {
        return vec![Check::info(
            "workers",
            "no process with the shim; start one with `warplens run -- COMMAND`",
        )];
    }
    let mut checks: Vec<Check> = found.iter().take(LISTED).map(worker).collect();
    if found.len() > LISTED {
        checks.push(Check::info("workers", format!("{} more", found.len() - LISTED)));
    }
    checks
}

/// A worker, and whether its CUPTI keeps up: what it drops is the first sign of exhausted buffers.
fn worker(location: &Location) -> Check {
    let title = crate::output::words::process_title(&proc::describe(location.pid));
    // Somebody else may hold the ring; its statistics are open to all.
    let Ok(memory) = Memory::open(location, false) else {
        return Check::ok("worker", title);
    };
    let Status { cupti_dropped, discarded, armings, .. } = shim::status(&memory);
    match cupti_dropped.saturating_add(discarded) {
        0 => Check::ok("worker", title),
        dropped => Check::missing(
            "worker",
            format!("{title}: CUPTI dropped {dropped} records in {armings} observations"),
            "look for `warplens_rearms_total` in the agent's metrics or for a note in the report; where it grows, set WARPLENS_CUPTI to a newer CUPTI",
        ),
    }
}
