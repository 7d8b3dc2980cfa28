//! The machine that is asked: GPU, driver, CUPTI, kernel, day; and whether CUDA can be used at all.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::answer::Machine;
use super::ask::StepError;
use super::place::{Cuda, Place, last};
use crate::harness::process;

/// Looks by a worker with the shim that launches nothing.
///
/// # Errors
/// When it was interrupted, or the CUDA is not the one that was asked for.
pub fn look(place: &Place) -> Result<(Machine, Cuda), StepError> {
    let simulated = place.tools.simulated.is_some();
    let mut machine = Machine {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        date: first_line(place, "date", &["-u", "+%F"]),
        ..Machine::default()
    };
    if simulated {
        "simulated".clone_into(&mut machine.gpu);
        "simulated".clone_into(&mut machine.driver);
    } else {
        let arguments = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
        if let Some((gpu, driver)) = first_line(place, "nvidia-smi", &arguments).split_once(", ") {
            (machine.gpu, machine.driver) = (gpu.to_owned(), driver.to_owned());
        }
    }
    let shim = place.tools.shim.display().to_string();
    let mut worker = match place
        .worker(&["--launch-on-signal", "--seconds", "0"], &[("CUDA_INJECTION64_PATH", &shim)])
    {
        Ok(worker) => worker,
        Err(StepError::Interrupted) => return Err(StepError::Interrupted),
        Err(error) => {
            let why = format!("CUDA cannot be used here: {error}");
            let named = simulated || !machine.gpu.is_empty();
            return Ok((machine, if named { Cuda::Broken(why) } else { Cuda::NoGpu(why) }));
        }
    };
    if worker.stdout().contains("\"simulated\":true") != simulated {
        let found = if simulated { "no simulated CUDA" } else { "the simulated CUDA" };
        return Err(StepError::Failed(format!(
            "the loader finds {found}: check LD_LIBRARY_PATH and --simulated"
        )));
    }
    // Where the shim could not load CUPTI its ring says so, and question 1 finds it.
    let pid = worker.pid();
    if let Ok(Some(location)) = warplens::shim::find(pid)
        && let Ok(memory) = warplens::shim::Memory::open(&location, false)
    {
        let status = warplens::shim::status(&memory);
        (machine.cuda, machine.cupti) = (status.driver_version, status.cupti_version);
    }
    machine.cupti_path = cupti_of(pid);
    place.finish(&mut worker)?;
    Ok((machine, Cuda::Usable))
}

/// The libcupti that a process has mapped; empty: none.
pub fn cupti_of(pid: u32) -> String {
    process::mappings(pid, "libcupti.so")
        .into_iter()
        .next()
        .map(|found| found.path)
        .unwrap_or_default()
}

/// A libcupti of this machine, of those `warplens doctor` knows the last, which is the newest of a folder.
pub fn cupti_here(place: &Place) -> Option<PathBuf> {
    let mut child = place.start(&mut place.warplens(&["doctor", "--json"]), "doctor").ok()?;
    // It ends with a status of its own where something is missing.
    let ended = place.end(&mut child, "doctor").ok()?;
    let document: Value = serde_json::from_str(&ended.stdout).ok()?;
    let check = document["checks"].as_array()?.iter().find(|check| check["name"] == "CUPTI")?;
    if check["state"] != "ok" {
        return None;
    }
    let places = check["found"].as_str()?;
    let last = places.rsplit(", ").find(|path| path.starts_with('/'))?;
    Some(PathBuf::from(last)).filter(|path| path.is_file())
}

fn first_line(place: &Place, program: &str, arguments: &[&str]) -> String {
    place
        .run(place.command(program).args(arguments), program)
        .map(|ended| last(&ended.stdout).trim().to_owned())
        .unwrap_or_default()
}
