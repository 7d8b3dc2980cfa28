//! Questions 3, 4 and 5 with the worker: versions, clocks, graphs, by the records in recordings.

use std::fs;

use super::exact;
use crate::gpu::ask::{Found, StepError};
use crate::gpu::machine::cupti_of;
use crate::gpu::place::{Place, last};
use crate::gpu::recording::Facts;
use crate::harness::process;

/// A recording that may be kept in a repository, bytes.
const KEEPABLE: u64 = 1 << 20;

fn facts(place: &Place) -> Result<Facts, StepError> {
    Facts::read(&place.folder().join("out/recording.warplens"))
        .map_err(|error| StepError::Failed(error.to_string()))
}

/// Versions as the shim read them, and a small recording to keep.
pub(super) fn versions(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    let shim = place.tools.shim.display().to_string();
    let worker_arguments = ["--launch-on-signal", "--seconds", "0"];
    let mut worker = place.worker(&worker_arguments, &[("CUDA_INJECTION64_PATH", &shim)])?;
    let pid = worker.pid();
    let status = place.until("the shim says which CUPTI it has", || {
        let location = warplens::shim::find(pid).ok().flatten()?;
        let memory = warplens::shim::Memory::open(&location, false).ok()?;
        let status = warplens::shim::status(&memory);
        (status.cupti_version > 0 || status.cupti_error > 0).then_some(status)
    })?;
    let path = cupti_of(pid);
    place.finish(&mut worker)?;
    if status.cupti_version == 0 {
        let (reason, error) = (status.off_reason, status.cupti_error);
        return Err(StepError::Failed(format!("the shim is off: {reason:?}, CUPTI error {error}")));
    }
    let found = Found::default()
        .and(format!(
            "CUPTI {} of {path}, driver {}.",
            status.cupti_version, status.driver_version
        ))
        .and("Record strides: not asked, since the shim goes from record to record by CUPTI's own function and knows none; it keeps no raw buffers either.");
    let (said, report) = place.observed(
        &[],
        &["--seconds", "1", "--rate", "500", "--graphs", "10", "--scenario", "update"],
    )?;
    exact(&said, &report)?;
    let from = place.folder().join("out/recording.warplens");
    let keep = place.tools.out.join("cuda-worker.warplens");
    let bytes = fs::metadata(&from).map_or(u64::MAX, |metadata| metadata.len());
    if bytes > KEEPABLE {
        return Ok(found.and(format!("A recording of 1 s takes {bytes} bytes, too many to keep.")));
    }
    fs::copy(&from, &keep)
        .map_err(|error| StepError::Failed(format!("keep {}: {error}", keep.display())))?;
    Ok(found.and(format!(
        "cuda-worker.warplens: a recording of {} kernels, {bytes} bytes, to keep.",
        said.kernels()
    )))
}

/// No kernel starts before its launch, and host and device do not part.
pub(super) fn clocks(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    let seconds = place.either("4", "240");
    // Slow enough that the device is idle before most launches: then the least distance is that of the clocks.
    let (said, report) =
        place.observed(&["--stack-rate", "0"], &["--seconds", seconds, "--rate", "500"])?;
    exact(&said, &report)?;
    let facts = facts(place)?;
    let Some(clocks) = facts.clocks() else {
        return Err(StepError::Failed("no kernel has a launch in the recording".to_owned()));
    };
    let sentence = format!(
        "{} of {} kernels with their launch: {} start before it; the least time from launch to start is {} ns, and from the first tenth of {} s to the last it changes by {} ns.",
        facts.paired, facts.kernels, facts.early, clocks.least_ns, clocks.seconds, clocks.drift_ns
    );
    if facts.early > 0 || facts.paired == 0 {
        return Err(StepError::Failed(sentence));
    }
    Ok(Found::default().and(sentence))
}

/// A long run of replayed graphs: nodes, timestamps, losses, memory.
pub(super) fn graphs(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    let kernels = place.tools.kernels.to_string();
    let mut command =
        place.warplens(&["run", "--cpu-hz", "0", "--stack-rate", "0", "-o", "out", "--"]);
    command.arg(&place.tools.worker).args(["--seconds", "0", "--kernels", &kernels]);
    // Mostly replays of 25 kernels; twelve streams, so that short kernels overlap.
    command.args(["--rate", "6000", "--graphs", "2000", "--threads", "12", "--wait-every", "2000"]);
    let mut run = place.start(&mut command, "run")?;
    run.close_input();
    let pid = place.until("the worker opens the device", || pid_of(&run.stdout()))?;
    let mut looks = vec![Memory::of(place, pid)];
    let mut next = std::time::Instant::now();
    place.until("the kernels are launched and have run", || {
        if next.elapsed().as_secs() >= place.either(1, 20) && looks.len() < LOOKS {
            next = std::time::Instant::now();
            looks.push(Memory::of(place, pid));
        }
        (run.stdout().contains("\"launched\"") || !run.alive()).then_some(())
    })?;
    looks.push(Memory::of(place, pid));
    crate::harness::child::send(pid, rustix::process::Signal::TERM);
    let ended = place.end(&mut run, "warplens run")?;
    if ended.code != 0 {
        let (code, said) = (ended.code, last(&ended.stderr));
        return Err(StepError::Failed(format!("warplens run ended with {code}: {said}")));
    }
    let said = ended
        .stdout
        .lines()
        .find_map(|line| serde_json::from_str::<crate::gpu::place::Said>(line).ok())
        .ok_or_else(|| StepError::Failed("the worker did not say what it did".to_owned()))?;
    let all = exact(&said, &place.report("out")?)?;
    let facts = facts(place)?;
    let nodes = format!(
        "Of {} replayed kernels {} have no node; {} records without timestamps.",
        facts.replayed, facts.without_node, facts.invalid
    );
    if facts.without_node + facts.invalid > 0 || facts.replayed != said.graph_kernels {
        return Err(StepError::Failed(nodes));
    }
    Ok(Found::default()
        .and(format!("{all}; {:.0} kernels a second.", rate(said.kernels(), said.seconds)))
        .and(nodes)
        .and(Memory::grown(&looks)))
}

/// Looks at memory, at most: a day of them, 20 s apart.
const LOOKS: usize = 4320;

#[expect(clippy::cast_precision_loss, reason = "a rate shown to a person")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(1e-9)
}

fn pid_of(stdout: &str) -> Option<u32> {
    let line = stdout.lines().find(|line| line.contains("\"ready\""))?;
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value["pid"].as_u64()?.try_into().ok()
}

/// Memory in use: the worker's own, KiB, and the whole GPU's, MiB, where `nvidia-smi` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    own_kib: Option<u64>,
    gpu_mib: Option<u64>,
}

impl Memory {
    fn of(place: &Place, pid: u32) -> Self {
        let ask = || {
            let arguments = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"];
            let said = place.run(place.command("nvidia-smi").args(arguments), "nvidia-smi").ok()?;
            last(&said.stdout).trim().parse().ok()
        };
        let gpu_mib = if place.tools.simulated.is_some() { None } else { ask() };
        Self { own_kib: process::status_kib(pid, "RssAnon"), gpu_mib }
    }

    /// From the second quarter of the looks to the last one: what is there by then was filled once.
    fn grown(looks: &[Self]) -> String {
        let from = |pick: fn(&Self) -> Option<u64>| {
            let begin = looks.get(looks.len() / 4).and_then(pick)?;
            // The last look may find the process gone.
            let end = looks.iter().rev().find_map(pick)?;
            Some((begin, end))
        };
        let told = |range: Option<(u64, u64)>, unit: &str| {
            range.map_or("not known".to_owned(), |(begin, end)| format!("{begin} to {end} {unit}"))
        };
        format!(
            "Memory from a quarter of the run to its end: the worker's own {}, the GPU's {}.",
            told(from(|look| look.own_kib), "KiB"),
            told(from(|look| look.gpu_mib), "MiB")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_the_second_quarter_on_and_unknown_is_unknown() {
        let look = |kib| Memory { own_kib: kib, gpu_mib: None };
        let looks = [look(Some(1)), look(Some(50)), look(Some(60)), look(Some(70)), look(None)];
        assert_eq!(
            Memory::grown(&looks),
            "Memory from a quarter of the run to its end: the worker's own 50 to 70 KiB, the GPU's not known."
        );
    }
}
