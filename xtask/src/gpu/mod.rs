//! `cargo xtask gpu`: the questions that only a machine with an NVIDIA GPU can answer. `pack` gathers a bundle that asks
//! them on a machine without cargo, network and checkout; `report` writes docs/hardware.md from the answers that come
//! back. Where there is a GPU here, both in one.

mod pack;
mod report;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::child;
use crate::nvidia;
use crate::workspace::{Workspace, clean_environment};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a subcommand, on a machine with a GPU: packs, asks everything, and writes docs/hardware.md. The \
    list has never run on a GPU so far; see docs/hardware.md."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Gather a bundle below 64 MiB that asks every question, for a machine without cargo, network and checkout
    Pack {
        /// Folder of the bundle, default target/gpu; files of the same names are replaced
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Keep answers that came back from a GPU, and write the table of docs/hardware.md from them
    Report {
        /// The bundle's `answers.json`
        answers: PathBuf,
    },
}

/// Everything the list asks, which is bounded by its steps' own limits.
const LIST_LIMIT: Duration = Duration::from_hours(5);

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let folder = workspace.target.join("gpu");
    match &args.task {
        Some(Task::Pack { out }) => pack::pack(workspace, out.as_ref().unwrap_or(&folder)),
        Some(Task::Report { answers }) => report::keep(workspace, answers),
        None => everything(workspace, &folder),
    }
}

fn everything(workspace: &Workspace, folder: &std::path::Path) -> Result<()> {
    if !nvidia::has_gpu() {
        bail!(
            "no NVIDIA GPU on this machine: `cargo xtask gpu pack`, run `run.sh` on one that has, and bring its \
             answers.json back to `cargo xtask gpu report`"
        );
    }
    pack::pack(workspace, folder)?;
    let mut command = Command::new(folder.join(pack::RUNNER));
    clean_environment(&mut command);
    let out = folder.join("answers");
    command.arg("--out").arg(&out);
    // Also where a question failed there are answers to the others.
    let asked = child::run(&mut command, "the list of questions", LIST_LIMIT);
    report::keep(workspace, &out.join("answers.json"))?;
    asked
}
