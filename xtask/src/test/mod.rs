//! `cargo xtask test`: the tiers in order of cost, each with its time and result, and one line at
//! the end. A required tier that cannot run fails the run.

mod tally;
mod tiers;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child;
use crate::setup;
use crate::workspace::Workspace;
use tally::Counts;
pub(crate) use tiers::chaos_round;
use tiers::{Outcome, TIERS, Tier};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only these tiers (repeat or separate by commas); `--list` names them
    #[arg(long = "tier", value_name = "NAME", value_delimiter = ',')]
    tiers: Vec<String>,
    /// Name the tiers and what each needs
    #[arg(long)]
    list: bool,
    /// Do not look for missing tools first
    #[arg(long)]
    no_setup: bool,
}

impl Args {
    /// Everything.
    pub(crate) fn everything() -> Self {
        Self { tiers: Vec::new(), list: false, no_setup: false }
    }
}

/// One tier's line of the summary.
struct Line {
    tier: &'static Tier,
    took: Duration,
    result: String,
    failed: bool,
}

/// Runs the tiers; an error when anything failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.list {
        for tier in TIERS {
            let need = if tier.optional { "optional" } else { "required" };
            println!("{:<12} {need:<9} {}", tier.name, tier.about);
        }
        return Ok(());
    }
    let chosen = choose(&args.tiers)?;
    if !args.no_setup {
        setup::run(workspace)?;
    }
    let mut lines = Vec::new();
    let mut total = Counts::default();
    for tier in chosen {
        println!("=== {}: {}", tier.name, tier.about);
        let began = Instant::now();
        let outcome = (tier.run)(workspace);
        let line = judge(tier, outcome, began.elapsed(), &mut total);
        println!("=== {}: {} ({:.1} s)\n", tier.name, line.result, line.took.as_secs_f64());
        lines.push(line);
        if child::interrupted() {
            bail!("interrupted in tier `{}`", tier.name);
        }
    }
    summarise(&lines, total)
}

fn choose(names: &[String]) -> Result<Vec<&'static Tier>> {
    if let Some(unknown) = names.iter().find(|name| !TIERS.iter().any(|tier| tier.name == **name)) {
        let known: Vec<&str> = TIERS.iter().map(|tier| tier.name).collect();
        bail!("there is no tier `{unknown}`; there are {}", known.join(", "));
    }
    Ok(TIERS
        .iter()
        .filter(|tier| names.is_empty() || names.iter().any(|name| name == tier.name))
        .collect())
}

/// Adds a tier's outcome to the total, and says it in words.
fn judge(
    tier: &'static Tier,
    outcome: Result<Outcome>,
    took: Duration,
    total: &mut Counts,
) -> Line {
    let (result, failed) = match outcome {
        Ok(Outcome::Passed) => {
            total.passed += 1;
            ("ok".to_owned(), false)
        }
        Ok(Outcome::Ran(counts)) => {
            total.add(counts);
            (counts.to_string(), counts.failed > 0)
        }
        Ok(Outcome::Spoiled(counts, why)) => {
            total.add(counts);
            // What spoiled the run is a failure also where no test says so.
            total.failed += u64::from(counts.failed == 0);
            (format!("FAILED: {counts}; {why}"), true)
        }
        Ok(Outcome::CannotRun(reason)) => {
            println!("SKIP {}: {reason}", tier.name);
            total.skipped += 1;
            // A skip that nobody excused must not look green.
            (format!("SKIP: {reason}"), !tier.optional)
        }
        Err(error) => {
            total.failed += 1;
            (format!("FAILED: {error:#}"), true)
        }
    };
    Line { tier, took, result, failed }
}

fn summarise(lines: &[Line], total: Counts) -> Result<()> {
    println!("--- summary");
    for line in lines {
        let mark = if line.failed { "FAIL" } else { "ok" };
        println!(
            "{mark:<5} {:<12} {:>7.1} s  {}",
            line.tier.name,
            line.took.as_secs_f64(),
            line.result
        );
    }
    let failed: Vec<&str> =
        lines.iter().filter(|line| line.failed).map(|line| line.tier.name).collect();
    if failed.is_empty() {
        println!("{total}");
        return Ok(());
    }
    println!(
        "failed tiers: {}; one alone: cargo xtask test --tier {}",
        failed.join(", "),
        failed[0]
    );
    println!("{total}");
    bail!("{} of {} tiers failed", failed.len(), lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: Tier =
        Tier { name: "a", about: "", optional: false, run: |_| Ok(Outcome::Passed) };
    const OPTIONAL: Tier =
        Tier { name: "b", about: "", optional: true, run: |_| Ok(Outcome::Passed) };

    #[test]
    fn a_skip_fails_a_required_tier_and_only_that() {
        let check = |tier: &'static Tier, expected| {
            let mut total = Counts::default();
            let outcome = Ok(Outcome::CannotRun("nothing here".to_owned()));
            assert_eq!(
                judge(tier, outcome, Duration::ZERO, &mut total).failed,
                expected,
                "{}",
                tier.name
            );
            assert_eq!(total, Counts { passed: 0, failed: 0, skipped: 1 });
        };
        check(&REQUIRED, true);
        check(&OPTIONAL, false);
    }

    #[test]
    fn an_unknown_tier_is_refused_with_the_names_there_are() {
        let error = choose(&["unti".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("there is no tier `unti`; there are fmt, "), "{error}");
    }
}
