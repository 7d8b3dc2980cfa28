//! What of the changes is a finding: got worse, by more than chance, and by enough to matter.
//!
//! | figure | warning from | critical from |
//! |---|---|---|
//! | idle of one cause other than `no_requests`, exposed communication | 0.01 s/s more | 0.05 s/s more |
//! | mean duration of the steps of a phase | 3 % longer | 10 % longer |
//! | mean duration of a kernel, by what its calls cost more | 3 % longer and 0.005 s/s | 0.05 s/s |
//!
//! More work is not worse: a busier server runs more kernels, so that shares of computing are never
//! findings.

use analysis::compare::{Change, Comparison, Level, Presence};

use super::Observation;
use crate::commands::findings::{Finding, Severity};
use crate::output::words;

/// s/s of idle or communication.
const SHARE: [f64; 2] = [0.01, 0.05];
/// Relative, of steps.
const STEPS: [f64; 2] = [0.03, 0.10];
/// Relative, of a kernel's calls; and what they cost more, s/s.
const KERNEL_LONGER: f64 = 0.03;
const KERNEL_COST: [f64; 2] = [0.005, 0.05];

/// Share of a window from which unobserved time makes a comparison doubtful, per cent.
const UNOBSERVED: f64 = 5.0;

pub(super) fn findings(
    before: &Observation,
    after: &Observation,
    comparison: &Comparison,
) -> Vec<Finding> {
    let mut found: Vec<(f64, Finding)> = comparison.changes.iter().filter_map(worse).collect();
    // Gravest first, then by what was lost.
    found.sort_by(|a, b| b.1.severity.cmp(&a.1.severity).then(b.0.total_cmp(&a.0)));
    let mut found: Vec<Finding> = found.into_iter().map(|(_, finding)| finding).collect();
    let sides = [before, after];
    let empty = sides.iter().any(|side| side.side.whole.wall == 0);
    if !empty && before.document.simulated != after.document.simulated {
        let text = "one side is simulated and the other is not: they say nothing about each other";
        found.insert(0, Finding { severity: Severity::Critical, text: text.to_owned() });
    }
    let mut told = |text: String| found.push(Finding { severity: Severity::Info, text });
    let changed: Vec<&Change> =
        comparison.changes.iter().filter(|change| change.significant()).collect();
    // They come by how much they changed; of equal worth to people are the classes.
    let mut classes = changed.iter().filter(|change| change.subject.level == Level::Class);
    if let Some(most) = classes.next().or(changed.first()) {
        told(format!(
            "{} changed by more than chance, {} most ({:+.4} s/s)",
            words::count(changed.len() as u64, "figure"),
            words::shorten(&most.subject.name, 60),
            most.share.change()
        ));
    }
    if !comparison.tested {
        let [n, m] = comparison.windows;
        told(format!(
            "whether any change is more than chance was not tested: it takes {} windows of each \
             side, there are {n} and {m}",
            analysis::compare::rank::LEAST
        ));
    }
    for observation in sides {
        let whole = &observation.side.whole;
        let unobserved = words::percent(whole.unobserved, whole.wall);
        if unobserved >= UNOBSERVED {
            told(format!("{unobserved:.1} % of {} is unobserved", observation.name));
        }
    }
    let gpus = [before, after].map(|observation| observation.document.devices.len() as u64);
    if gpus[0] != gpus[1] {
        let [n, m] = gpus.map(|count| words::count(count, "GPU"));
        told(format!("{n} before, {m} after: every figure is for one GPU on average"));
    }
    for observation in sides.iter().filter(|side| side.side.whole.wall == 0) {
        let text = format!("{} has no GPU time: nothing can be compared", observation.name);
        found.insert(0, Finding { severity: Severity::Critical, text });
    }
    found
}

/// With what it costs, s/s or relative, for the order.
fn worse(change: &Change) -> Option<(f64, Finding)> {
    let name = &*change.subject.name;
    let longer = change.mean.relative();
    let (cost, bounds, significant, text) = match change.subject.level {
        Level::IdleCause if name != "no_requests" => {
            let more = change.share.change();
            let meaning = words::idle_meaning(name);
            let text = format!("GPUs idle {} more: {name}, {meaning}", share(more));
            (more, SHARE, change.share.verdict.significant(), text)
        }
        Level::Class if name == "communication" => {
            let more = change.share.change();
            let text = format!("exposed communication takes {} more", share(more));
            (more, SHARE, change.share.verdict.significant(), text)
        }
        Level::Steps => {
            let longer = longer?;
            let text = format!("{name} steps take {:.1} % longer on average", longer * 100.0);
            (longer, STEPS, change.mean.verdict.significant(), text)
        }
        Level::Kernel if change.presence == Presence::Both => {
            let longer = longer.filter(|&longer| longer >= KERNEL_LONGER)?;
            // What its calls would have taken before: after / (1 + longer).
            let cost = change.share.after? * longer / (1.0 + longer);
            let text = format!(
                "calls of `{}` take {:.1} % longer, {} in all",
                words::shorten(name, 60),
                longer * 100.0,
                share(cost)
            );
            (cost, KERNEL_COST, change.mean.verdict.significant(), text)
        }
        _ => return None,
    };
    let severity = match cost {
        cost if !significant || cost < bounds[0] => return None,
        cost if cost < bounds[1] => Severity::Warning,
        _ => Severity::Critical,
    };
    Some((cost, Finding { severity, text }))
}

/// Seconds a second as people say it.
fn share(seconds: f64) -> String {
    format!("{:.1} ms of every GPU second", seconds * 1e3)
}
