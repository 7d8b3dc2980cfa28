//! The comparison as tables for people, what changed most first.

use std::fmt::Write;

use analysis::compare::{Change, FALSE_DISCOVERIES, Level, Measure, Presence, Verdict};

use super::{Difference, Observation};
use crate::output::{summary, words};

/// Time a second under which a row says nothing on either side.
const SHOWN: f64 = 1e-4;

/// Characters of a name.
const NAME: usize = 60;

pub(super) fn render(difference: &Difference, limit: usize) -> String {
    let mut text = String::new();
    match write(&mut text, difference, limit) {
        // Writing to a String does not fail.
        Ok(()) | Err(std::fmt::Error) => text,
    }
}

fn write(text: &mut String, difference: &Difference, limit: usize) -> std::fmt::Result {
    let comparison = &difference.comparison;
    if difference.simulated() {
        writeln!(text, "{}\n", summary::SIMULATED_BANNER)?;
    }
    for (word, observation, windows, unusable) in [
        ("before", &difference.before, comparison.windows[0], comparison.unusable[0]),
        ("after", &difference.after, comparison.windows[1], comparison.unusable[1]),
    ] {
        write_side(text, word, observation, windows, unusable)?;
    }
    writeln!(text, "\nTimes are seconds in each observed second of one GPU (s/s).")?;
    if comparison.tested {
        writeln!(
            text,
            "`*`: more than the unrest of the two observations themselves; of all marked, {:.0} % \
             at most are expected to be chance.\nIn brackets the 95 % interval of the change from window \
             to window.",
            FALSE_DISCOVERIES * 100.0
        )?;
    }
    writeln!(text)?;
    for level in Level::ALL {
        let limit = match level {
            Level::Kernel | Level::Range | Level::Kind => limit,
            _ => usize::MAX,
        };
        write_level(text, difference, level, limit)?;
    }
    if !difference.findings.is_empty() {
        writeln!(text, "Findings:")?;
        for finding in &difference.findings {
            let grade = format!("{:?}", finding.severity).to_lowercase();
            writeln!(text, "  - {grade}: {}", finding.text)?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_side(
    text: &mut String,
    word: &str,
    observation: &Observation,
    windows: usize,
    unusable: usize,
) -> std::fmt::Result {
    let whole = &observation.side.whole;
    write!(
        text,
        "{word:<6} {}: {}, {} of GPU time, {:.1} % of it observed",
        observation.name,
        words::count(observation.document.devices.len() as u64, "GPU"),
        words::duration(whole.wall),
        words::percent(whole.observed(), whole.wall)
    )?;
    if whole.steps > 0 {
        write!(text, ", {}", words::count(whole.steps, "step"))?;
    }
    match (windows, unusable) {
        (0, 0) => writeln!(text, ", sums only"),
        (_, 0) => writeln!(text, ", {}", words::count(windows as u64, "window")),
        _ => writeln!(
            text,
            ", {}, {unusable} more hardly observed",
            words::count(windows as u64, "window")
        ),
    }
}

fn write_level(
    text: &mut String,
    difference: &Difference,
    level: Level,
    limit: usize,
) -> std::fmt::Result {
    let worth = |change: &&Change| {
        let [before, after] = [change.share.before, change.share.after];
        before.unwrap_or(0.0).max(after.unwrap_or(0.0)) >= SHOWN
    };
    let all: Vec<&Change> = difference
        .comparison
        .changes
        .iter()
        .filter(|change| change.subject.level == level)
        .collect();
    let shown: Vec<&Change> = all.iter().copied().filter(worth).take(limit).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let steps = [&difference.before, &difference.after].map(|side| side.side.whole.steps);
    let per_step = steps.iter().all(|&steps| steps > 0);
    let counted = shown.iter().any(|change| change.before.count > 0 || change.after.count > 0);
    write!(
        text,
        "  {:>9} {:>9} {:>9} {:<21} {:>8}",
        "before",
        "after",
        "change",
        if difference.comparison.tested { "[95 % interval]" } else { "" },
        "relative"
    )?;
    if per_step {
        write!(text, "  {:>23}", "a step")?;
    }
    if counted {
        write!(text, "  {:>19}  {:>23} {:>9}", "a second", "each", "")?;
    }
    writeln!(text, "  {}", title(level))?;
    for change in &shown {
        write_row(text, change, per_step, counted)?;
    }
    if all.len() > shown.len() {
        writeln!(text, "  {} more changed less", words::grouped((all.len() - shown.len()) as u64))?;
    }
    writeln!(text)
}

fn title(level: Level) -> &'static str {
    match level {
        Level::Class => "where GPU time goes, exclusive",
        Level::IdleCause => "why GPUs were idle",
        Level::Kind => "kind, on its own",
        Level::Gaps => "idle gaps",
        Level::Steps => "engine steps",
        Level::Kernel => "kernel",
        Level::Range => "operator, annotation or module, and class",
    }
}

fn write_row(
    text: &mut String,
    change: &Change,
    per_step: bool,
    counted: bool,
) -> std::fmt::Result {
    let Measure { before, after, verdict } = &change.share;
    let mark = if verdict.significant() { '*' } else { ' ' };
    let share = |share: &Option<f64>| share.map_or_else(|| "-".to_owned(), |s| format!("{s:.4}"));
    let interval = match verdict {
        Verdict::Tested { test, .. } => format!("[{:+.4}, {:+.4}]", test.low, test.high),
        Verdict::Not(_) => String::new(),
    };
    write!(
        text,
        "{mark} {:>9} {:>9} {:>+9.4} {interval:<21} {:>8}",
        share(before),
        share(after),
        change.share.change(),
        relative(change, &change.share)
    )?;
    if per_step {
        write!(text, "  {:>23}", pair(change.per_step.map(nanoseconds)))?;
    }
    if counted {
        let each = [change.mean.before, change.mean.after].map(nanoseconds);
        let mark = if change.mean.verdict.significant() { "*" } else { "" };
        write!(
            text,
            "  {:>19}  {:>23} {:>9}",
            pair(change.rate.map(rate)),
            pair(each),
            format!("{}{mark}", relative(change, &change.mean)),
        )?;
    }
    writeln!(text, "  {}", words::shorten(&change.subject.name, NAME))
}

fn pair([before, after]: [String; 2]) -> String {
    format!("{before} -> {after}")
}

fn relative(change: &Change, measure: &Measure) -> String {
    match (change.presence, measure.relative()) {
        (Presence::New, _) => "new".to_owned(),
        (Presence::Gone, _) => "gone".to_owned(),
        (Presence::Both, Some(relative)) => format!("{:+.1} %", relative * 100.0),
        (Presence::Both, None) => "-".to_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of u64 durations"
)]
fn nanoseconds(ns: Option<f64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| words::duration(ns.round() as u64))
}

fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => format!("{rate:.0}"),
        rate if rate > 0.0 => format!("{rate:.2}"),
        _ => "0".to_owned(),
    }
}
