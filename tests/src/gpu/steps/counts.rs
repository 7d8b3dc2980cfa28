//! Questions 1, 2 and 11 with the worker: what was recorded against what it says that it launched.

use std::fs;
use std::time::Duration;

use wire::shim::Level;

use super::{Counted, counted, exact};
use crate::gpu::ask::{Found, StepError};
use crate::gpu::place::{Place, last};
use crate::harness::ring;

/// Single launches, a graph of 25 kernels, an end to what is under way.
const MIXED: [&str; 8] =
    ["--rate", "2000", "--graphs", "40", "--threads", "2", "--wait-every", "2000"];

/// From the first launch on; then an agent that comes late, and goes.
pub(super) fn kernels(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    let seconds = place.either("2", "20");
    let (said, report) =
        place.observed(&["--stack-rate", "0"], &[&MIXED[..], &["--seconds", seconds]].concat())?;
    let found =
        Found::default().and(format!("From the first launch on: {}.", exact(&said, &report)?));

    let shim = place.tools.shim.display().to_string();
    let arguments = [&MIXED[..], &["--seconds", "0"]].concat();
    let mut worker = place.worker(&arguments, &[("CUDA_INJECTION64_PATH", &shim)])?;
    let pid = worker.pid().to_string();
    let late = ["record", "--pid", &pid, "--stack-rate", "0", "--cpu-hz", "0", "-d"];
    let mut command = place.warplens(&late);
    place.run(command.args([place.either("1s", "10s"), "-o", "late"]), "record")?;
    let asleep = place.until("the shim sleeps once its agent is gone", || {
        let view = ring::look(worker.pid())?;
        (view.level() <= Level::Watching as u32).then(|| view.panics())
    });
    let said = place.finish(&mut worker)?;
    let Counted { kernels, lost, invalid } = counted(&place.report("late")?);
    let sentence = format!(
        "An agent that came late and went: {kernels} kernels recorded of {} launched, {lost} lost, {invalid} without timestamps; the shim was disarmed afterwards, {} panics in it.",
        said.kernels(),
        asleep?
    );
    if kernels == 0 || kernels > said.kernels() || lost + invalid > 0 {
        return Err(StepError::Failed(sentence));
    }
    Ok(found.and(sentence))
}

/// Launch calls by uprobes on the driver's exports, by the shim, and by the worker itself.
pub(super) fn verified(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    place.needs_root()?;
    let seconds = place.either("2", "20");
    let mut command = place.warplens(&["run", "--verify", "--cpu-hz", "0", "-o", "out", "--"]);
    command.arg(&place.tools.worker).args(MIXED).args(["--seconds", seconds]);
    let mut child = place.start(&mut command, "run")?;
    // Its status says whether the counts agree, which the report says with numbers.
    let ended = place.end(&mut child, "run")?;
    let report = place.report("out")?;
    let notes =
        || report["notes"].as_array().into_iter().flatten().filter_map(|note| note.as_str());
    if let Some(why) = notes().find(|note| note.contains("is not verified: ")) {
        return Err(StepError::Cannot(why.to_owned()));
    }
    let Some(counts) = notes().find(|note| note.contains("eBPF counted")) else {
        return Err(StepError::Failed(format!("no counts in the report: {}", last(&ended.stderr))));
    };
    let calls = ended
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<crate::gpu::place::Said>(line).ok())
        .map(|said| said.calls())
        .next()
        .ok_or_else(|| StepError::Failed("the worker did not say what it did".to_owned()))?;
    let sentence = format!("{counts}; the worker itself counted {calls}.");
    if counts.contains(&format!("eBPF counted {calls} ")) && counts.ends_with("equal") {
        Ok(Found::default().and(sentence))
    } else {
        Err(StepError::Failed(sentence))
    }
}

/// The worker's launch functions, one of which must stand in each launch stack.
const SITES: [&str; 5] = ["attention_layer", "mlp_up", "mlp_down", "sampler", "draft_sampler"];

/// Launch stacks: how much of the kernels' time hangs under the function that launched.
pub(super) fn stacks(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    place.needs_root()?;
    let seconds = place.either("2", "20");
    let (said, report) = place.observed(&[], &[&MIXED[..], &["--seconds", seconds]].concat())?;
    exact(&said, &report).map_err(|error| StepError::Failed(format!("with stacks: {error}")))?;
    let path = place.folder().join("out/gpu.folded");
    let folded = fs::read_to_string(&path)
        .map_err(|error| StepError::Failed(format!("{}: {error}", path.display())))?;
    let shares = Shares::of(&folded);
    if shares.kernels == 0 {
        return Err(StepError::Cannot("no stack was taken: see the report's notes".to_owned()));
    }
    let percent = |part: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a percentage")]
        let share = part as f64 / shares.kernels as f64;
        100.0 * share
    };
    Ok(Found::default().and(format!(
        "Of {:.1} ms under kernels, {:.2} % hang under the function that launched them, {:.2} % under a stack that was cut, {:.2} % under none.",
        Duration::from_nanos(shares.kernels).as_secs_f64() * 1e3,
        percent(shares.at_site),
        percent(shares.cut),
        percent(shares.unsampled)
    )))
}

/// Weights of folded stacks, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shares {
    kernels: u64,
    at_site: u64,
    cut: u64,
    unsampled: u64,
}

impl Shares {
    fn of(folded: &str) -> Self {
        let mut shares = Self::default();
        for (stack, ns) in folded.lines().filter_map(|line| line.rsplit_once(' ')) {
            let (Ok(ns), false) = (ns.parse::<u64>(), is_no_kernel(stack)) else { continue };
            let frame =
                |name: &str| stack.split(';').any(|frame| frame.rsplit("::").next() == Some(name));
            shares.kernels += ns;
            if SITES.iter().any(|site| frame(site)) {
                shares.at_site += ns;
            } else if stack.contains("[cut") {
                shares.cut += ns;
            } else if stack.contains("[stack not sampled]") {
                shares.unsampled += ns;
            }
        }
        shares
    }
}

/// Idle and unobserved time, copies: no launch site of a kernel is to be expected.
fn is_no_kernel(stack: &str) -> bool {
    ["[idle", "[unobserved", "[memcpy", "[memset"].iter().any(|part| stack.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_kernels_by_what_stands_above_them() {
        let shares = Shares::of(
            "main;cuda_worker::sites::Thread::mlp_up;launch;k 60\n\
             [cut: no unwind information];launch;k 30\n[stack not sampled];k 10\n\
             [idle: host_bound];main 900\nmain;mlp_upper;k 5\nmain;[memcpy HtoD] 7\n",
        );
        assert_eq!(shares, Shares { kernels: 105, at_site: 60, cut: 30, unsampled: 10 });
    }
}
