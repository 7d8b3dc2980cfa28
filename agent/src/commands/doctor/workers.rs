//! Processes that have a shim's ring.

use super::Check;
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
    let mut checks: Vec<Check> = found
        .iter()
        .take(LISTED)
        .map(|location| {
            let info = proc::describe(location.pid);
            Check::ok("worker", crate::output::words::process_title(&info))
        })
        .collect();
    if found.len() > LISTED {
        checks.push(Check::info("workers", format!("{} more", found.len() - LISTED)));
    }
    checks
}
