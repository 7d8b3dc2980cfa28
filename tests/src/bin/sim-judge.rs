//! `sim-judge`: compares a report with the ground truth of the simulated CUDA.
//!
//! Exit status 0: everything agrees to the nanosecond; 1: something differs or cannot be read;
//! 2: usage.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde::Serialize;
use warplens_tests::harness::artefacts;
use warplens_tests::judge::shares::{self, Shares};
use warplens_tests::judge::{Row, Verdict, judge};

/// Compares a report of a simulated run with what the simulated GPUs really did.
#[derive(Debug, Parser)]
#[command(
    name = "sim-judge",
    after_help = "Exit status: 0 all agrees, 1 something differs, 2 usage."
)]
struct Options {
    /// Folder with the `<pid>.truth` files (the workers' `WARPLENS_SIM_TRUTH`).
    #[arg(long)]
    truth: PathBuf,
    /// The `report.json` to judge.
    #[arg(long)]
    report: PathBuf,
    /// Table of known kernels; default: `tests/programs/kernels.tsv`.
    #[arg(long)]
    kernels: Option<PathBuf>,
    /// Folded GPU stacks to check launch-site shares in; needs `--worker-output`.
    #[arg(long, requires = "worker_output")]
    folded: Option<PathBuf>,
    /// What `cuda-worker` printed.
    #[arg(long)]
    worker_output: Option<PathBuf>,
    /// Greatest distance of a launch site's share from the truth, points.
    #[arg(long, default_value_t = 2.0)]
    tolerance: f64,
    /// Percent of kernel time that must hang under a launch site's stack.
    #[arg(long, default_value_t = 95.0)]
    covered: f64,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Print every comparison, not only the differences.
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Document<'d> {
    simulated: bool,
    exact: bool,
    shares_hold: Option<bool>,
    verdict: &'d Verdict,
    shares: Option<&'d Shares>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _closed = writeln!(std::io::stderr(), "sim-judge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let kernels = options.kernels.clone().unwrap_or_else(artefacts::kernel_table);
    let verdict = judge(&options.truth, &options.report, &kernels)?;
    let shares = match (&options.folded, &options.worker_output) {
        (Some(folded), Some(output)) => {
            Some(shares::read(folded, &shares::worker_output(output)?.sites)?)
        }
        _ => None,
    };
    let shares_hold = shares.as_ref().map(|shares| {
        shares.worst() <= options.tolerance && shares.under_sites_percent >= options.covered
    });
    let mut out = std::io::stdout().lock();
    if options.json {
        let document = Document {
            simulated: true,
            exact: verdict.exact(),
            shares_hold,
            verdict: &verdict,
            shares: shares.as_ref(),
        };
        serde_json::to_writer_pretty(&mut out, &document)?;
        writeln!(out)?;
    } else {
        table(&mut out, &verdict, options.all)?;
        if let Some(shares) = &shares {
            share_table(&mut out, shares)?;
        }
        sentence(&mut out, &verdict, shares_hold)?;
    }
    Ok(verdict.exact() && shares_hold != Some(false))
}

fn table(out: &mut impl std::io::Write, verdict: &Verdict, all: bool) -> std::io::Result<()> {
    writeln!(out, "SIMULATED: ground truth of {} processes against the report", verdict.processes)?;
    let rows: Vec<&Row> = verdict.rows.iter().filter(|row| all || !row.agrees()).collect();
    if !rows.is_empty() {
        writeln!(
            out,
            "{:<12} {:>20} {:>20} {:>14}  what",
            "device", "truth", "report", "difference"
        )?;
    }
    for row in rows {
        writeln!(
            out,
            "{:<12} {:>20} {:>20} {:>+14}  {}",
            row.device.chars().take(12).collect::<String>(),
            row.truth,
            row.report,
            row.report - row.truth,
            row.what
        )?;
    }
    for note in &verdict.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

fn share_table(out: &mut impl std::io::Write, shares: &Shares) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<24} {:>8} {:>8}  percent of simulated kernel time",
        "launch site", "truth", "found"
    )?;
    for share in &shares.sites {
        let (truth, found) = (share.truth_percent, share.found_percent);
        writeln!(out, "{:<24} {truth:>8.2} {found:>8.2}", share.site)?;
    }
    writeln!(out, "{:<24} {:>8} {:>8.2}", "(all launch sites)", "", shares.under_sites_percent)
}

fn sentence(
    out: &mut impl std::io::Write,
    verdict: &Verdict,
    shares_hold: Option<bool>,
) -> std::io::Result<()> {
    let differences = verdict.differences().count();
    let shares = match shares_hold {
        Some(true) => "; launch-site shares hold",
        Some(false) => "; launch-site shares do NOT hold",
        None => "",
    };
    let judgement = if verdict.exact() { "EXACT" } else { "DIFFERS" };
    writeln!(
        out,
        "verdict (simulated): {judgement}: {} of {} figures on {} devices differ{shares}",
        differences,
        verdict.rows.len(),
        verdict.devices
    )
}
