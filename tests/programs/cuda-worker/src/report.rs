//! What the worker prints: a line when it is ready, a line with everything it did at the end.

use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::Options;
use crate::allocate::{Allocations, Family};
use crate::burst::Burst;
use crate::client::Client;
use crate::fork::Child;
use crate::graphs::{self, CaptureLabel};
use crate::sites::{Done, SITES};

/// One launch site. Nanoseconds are those asked for: launches x duration.
#[derive(Debug, Serialize)]
struct SiteReport {
    site: &'static str,
    kernel: &'static str,
    duration_ns: u64,
    launches: u64,
    failed: u64,
    captured: u64,
    intended_ns: u64,
    /// Of these and the graph kernels of the same site, percent of all intended ns.
    share_percent: f64,
}

/// Everything the worker did.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    event: &'static str,
    pid: u32,
    simulated: bool,
    device: usize,
    uuid: String,
    seed: u64,
    seconds: f64,
    sites: Vec<SiteReport>,
    launches_ok: u64,
    launches_failed: u64,
    launches_captured: u64,
    graph_launches: u64,
    graph_launches_failed: u64,
    graph_kernels: u64,
    /// What the simulator's truth calls the places where graphs were captured.
    capture_labels: Vec<CaptureLabel>,
    copies: u64,
    /// What the first thread's bursts took; `null` without them.
    burst: Option<Burst>,
    allocations: Allocations,
    child: Option<Child>,
    /// No failure that was not asked for, and the failures that were.
    pub(crate) as_expected: bool,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        client: &Client,
        threads: &[Done],
        child: Option<Child>,
        elapsed: Duration,
    ) -> Self {
        let total = |pick: &dyn Fn(&Done) -> u64| threads.iter().map(pick).sum::<u64>();
        let replays = total(&|thread| thread.replays.ok);
        let replays_failed = total(&|thread| thread.replays.failed);
        let mut sites: Vec<SiteReport> = SITES
            .iter()
            .enumerate()
            .map(|(index, site)| {
                let launches = total(&|thread| thread.counts[index].ok);
                let captured = total(&|thread| thread.counts[index].captured);
                let replayed = total(&|thread| thread.replayed[index]);
                SiteReport {
                    site: site.name,
                    kernel: site.kernel,
                    duration_ns: site.duration_ns,
                    launches,
                    failed: total(&|thread| thread.counts[index].failed),
                    captured,
                    intended_ns: launches * site.duration_ns,
                    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
                    share_percent: ((launches + replayed) * site.duration_ns) as f64,
                }
            })
            .collect();
        let whole: f64 = sites.iter().map(|site| site.share_percent).sum();
        for site in &mut sites {
            site.share_percent = 100.0 * site.share_percent / whole.max(1.0);
        }
        let allocations = merge(threads);
        let launches_ok = sites.iter().map(|site| site.launches).sum();
        let launches_failed: u64 = sites.iter().map(|site| site.failed).sum();
        let failed = launches_failed + replays_failed;
        let as_expected = (failed > 0) == (options.fail_every > 0)
            && allocations.values().all(|family| family.failed == 0)
            && child.as_ref().is_none_or(|child| child.refused);
        Self {
            event: "end",
            pid: std::process::id(),
            simulated: client.simulated(),
            device: options.device,
            uuid: client.uuid().to_owned(),
            seed: options.seed,
            seconds: elapsed.as_secs_f64(),
            launches_ok,
            launches_failed,
            launches_captured: sites.iter().map(|site| site.captured).sum(),
            graph_launches: replays,
            graph_launches_failed: replays_failed,
            graph_kernels: total(&|thread| thread.replayed.iter().sum()),
            capture_labels: graphs::labels(),
            copies: total(&|thread| thread.copies),
            burst: threads.first().and_then(|thread| thread.burst),
            sites,
            allocations,
            child,
            as_expected,
        }
    }

    /// One JSON line on stdout.
    pub(crate) fn print(&self) {
        print_line(self);
    }
}

/// Says on stdout that CUDA is up and launching begins.
pub(crate) fn ready(client: &Client) {
    #[derive(Serialize)]
    struct Ready<'r> {
        event: &'static str,
        pid: u32,
        simulated: bool,
        uuid: &'r str,
    }
    print_line(&Ready {
        event: "ready",
        pid: std::process::id(),
        simulated: client.simulated(),
        uuid: client.uuid(),
    });
}

/// Says on stdout that the bounded number of kernels was launched and has run.
pub(crate) fn launched() {
    #[derive(Serialize)]
    struct Launched {
        event: &'static str,
    }
    print_line(&Launched { event: "launched" });
}

/// One line on stderr, with every cause.
pub(crate) fn complain(error: &anyhow::Error) {
    // Nobody is left to tell when stderr is closed.
    let _closed = writeln!(std::io::stderr(), "cuda-worker: {error:#}");
}

fn print_line(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        // A reader that went away is no reason to stop the work.
        let _closed = writeln!(std::io::stdout(), "{line}");
    }
}

fn merge(threads: &[Done]) -> Allocations {
    let mut merged = Allocations::new();
    for (&name, family) in threads.iter().flat_map(|thread| &thread.allocations) {
        let into: &mut Family = merged.entry(name).or_default();
        into.allocations += family.allocations;
        into.bytes += family.bytes;
        into.failed += family.failed;
        into.error = into.error.take().or_else(|| family.error.clone());
    }
    merged
}
