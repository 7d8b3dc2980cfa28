//! `gpu-replay RECORDING.sqlite [--lead-ms N]`: runs the timeline of a Nsight Systems recording through the
//! simulated runtime, with every start and duration as recorded.
//!
//! Each launch is made `lead` before its start, so that the virtual device can keep it exactly; one that
//! comes too late is counted, and the exit code is then 1. Results are simulated, whatever was recorded.
#![expect(clippy::print_stdout, reason = "a command-line program")]

mod cuda;
mod play;
mod recording;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

/// How long before its start a piece of work is launched, unless asked otherwise: several times what a
/// busy machine makes a sleeping thread wait.
const LEAD: Duration = Duration::from_millis(50);

fn main() -> anyhow::Result<ExitCode> {
    let mut path = None;
    let mut lead = LEAD;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--lead-ms" {
            let value = arguments.next().context("`--lead-ms` needs a number of milliseconds")?;
            let value = value.to_str().and_then(|text| text.parse().ok());
            lead = Duration::from_millis(value.context("`--lead-ms` needs a number")?);
        } else if path.is_none() {
            path = Some(PathBuf::from(argument));
        } else {
            bail!("usage: gpu-replay RECORDING.sqlite [--lead-ms N]");
        }
    }
    let path = path.context("usage: gpu-replay RECORDING.sqlite [--lead-ms N]")?;
    let works = recording::read(&path)?;
    let cuda = cuda::Cuda::load()?;
    let outcome = play::play(&cuda, &works, lead)?;
    println!(
        "simulated: replayed {} kernels, {} copies, {} sets on {} devices; launched too late: {}",
        outcome.kernels, outcome.copies, outcome.sets, outcome.devices, outcome.late
    );
    Ok(if outcome.late == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
