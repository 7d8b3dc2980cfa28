//! `diff --json`: schema `warplens.diff/v1`. It may only grow.

use analysis::compare::{self, Amount, Change, FALSE_DISCOVERIES, Measure};
use serde::Serialize;

use super::{Difference, Observation};

#[derive(Serialize)]
pub(super) struct Body<'d> {
    schema: &'static str,
    simulated: bool,
    before: Side<'d>,
    after: Side<'d>,
    tested: bool,
    false_discovery_rate: f64,
    changes: Vec<ChangeBody<'d>>,
    findings: Vec<FindingBody<'d>>,
}

#[derive(Serialize)]
struct Side<'d> {
    source: &'d str,
    devices: usize,
    window_ns: u64,
    unobserved_ns: u64,
    steps: u64,
    windows: usize,
    windows_unusable: usize,
}

#[derive(Serialize)]
struct ChangeBody<'d> {
    level: &'static str,
    name: &'d str,
    presence: &'static str,
    significant: bool,
    before: AmountBody,
    after: AmountBody,
    /// Seconds in each observed GPU second.
    share: MeasureBody,
    mean_ns: MeasureBody,
}

#[derive(Serialize)]
struct AmountBody {
    count: u64,
    total_ns: u64,
    per_second: f64,
    per_step_ns: Option<f64>,
}

#[derive(Serialize)]
struct MeasureBody {
    before: Option<f64>,
    after: Option<f64>,
    change: f64,
    relative: Option<f64>,
    test: Test,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Test {
    Tested {
        significant: bool,
        p: f64,
        q: f64,
        effect: f64,
        shift: f64,
        low: f64,
        high: f64,
        variance_inflation: f64,
    },
    NotTested {
        reason: &'static str,
    },
}

#[derive(Serialize)]
struct FindingBody<'d> {
    severity: String,
    text: &'d str,
}

impl<'d> Body<'d> {
    pub(super) fn of(difference: &'d Difference) -> Self {
        let comparison = &difference.comparison;
        let side = |observation: &'d Observation, at: usize| Side {
            source: &observation.name,
            devices: observation.document.devices.len(),
            window_ns: observation.side.whole.wall,
            unobserved_ns: observation.side.whole.unobserved,
            steps: observation.side.whole.steps,
            windows: comparison.windows.get(at).copied().unwrap_or(0),
            windows_unusable: comparison.unusable.get(at).copied().unwrap_or(0),
        };
        Self {
            schema: "warplens.diff/v1",
            simulated: difference.simulated(),
            before: side(&difference.before, 0),
            after: side(&difference.after, 1),
            tested: comparison.tested,
            false_discovery_rate: FALSE_DISCOVERIES,
            changes: comparison.changes.iter().map(ChangeBody::of).collect(),
            findings: difference
                .findings
                .iter()
                .map(|finding| FindingBody {
                    severity: format!("{:?}", finding.severity).to_lowercase(),
                    text: &finding.text,
                })
                .collect(),
        }
    }
}

impl<'d> ChangeBody<'d> {
    fn of(change: &'d Change) -> Self {
        let amount = |amount: Amount, at: usize| AmountBody {
            count: amount.count,
            total_ns: amount.time,
            per_second: change.rate.get(at).copied().unwrap_or(0.0),
            per_step_ns: change.per_step.get(at).copied().flatten(),
        };
        Self {
            level: change.subject.level.as_str(),
            name: &change.subject.name,
            presence: change.presence.as_str(),
            significant: change.significant(),
            before: amount(change.before, 0),
            after: amount(change.after, 1),
            share: MeasureBody::of(&change.share),
            mean_ns: MeasureBody::of(&change.mean),
        }
    }
}

impl MeasureBody {
    fn of(measure: &Measure) -> Self {
        let test = match measure.verdict {
            compare::Verdict::Tested { test, q } => Test::Tested {
                significant: measure.verdict.significant(),
                p: test.p,
                q,
                effect: test.effect,
                shift: test.shift,
                low: test.low,
                high: test.high,
                variance_inflation: test.inflation,
            },
            compare::Verdict::Not(reason) => Test::NotTested { reason: reason.as_str() },
        };
        Self {
            before: measure.before,
            after: measure.after,
            change: measure.change(),
            relative: measure.relative(),
            test,
        }
    }
}
