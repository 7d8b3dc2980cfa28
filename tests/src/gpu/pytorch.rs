//! Questions 1, 5, 6, 7 and 8 with PyTorch: a decode loop with random weights (`tests/programs/gpu`).
//!
//! No part of this has run: it needs PyTorch and a GPU. Counts on the same steps are differences: what a run of twice
//! the steps records more than a run of these steps, so that beginning and warm-up are in neither.

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use wire::shim::Level;

use super::ask::{Found, StepError};
use super::place::{Cuda, Place, last};
use super::recording::Facts;
use super::steps::{Counted, counted, median, spread};
use crate::harness::child::Child;
use crate::harness::ring;

/// Steps of one run that is counted.
const STEPS: u64 = 100;

/// What the program says when it is ready.
#[derive(Clone, Debug, Deserialize)]
struct Ready {
    pid: u32,
}

/// And at its end.
#[derive(Clone, Debug, Deserialize)]
struct End {
    seconds: f64,
    tokens_per_second: f64,
    profiled_kernels: Vec<u64>,
    cupti_path: String,
}

/// Nothing, where PyTorch finds a GPU. It may find one that the worker could not open.
fn needs_pytorch(place: &Place) -> Result<(), StepError> {
    if let Cuda::NoGpu(why) = &place.tools.cuda {
        return Err(StepError::Cannot(why.clone()));
    }
    if place.tools.simulated.is_some() {
        return Err(StepError::Cannot("PyTorch does not run on the simulated CUDA".to_owned()));
    }
    let program =
        "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 'no CUDA in it')";
    match place.run(place.command(&place.tools.python).args(["-c", program]), "torch") {
        Ok(_) => Ok(()),
        Err(StepError::Interrupted) => Err(StepError::Interrupted),
        Err(error) => Err(StepError::Cannot(format!("no PyTorch with a GPU: {error}"))),
    }
}

fn event<T: serde::de::DeserializeOwned>(stdout: &str, name: &str) -> Option<T> {
    let part = format!("\"event\": \"{name}\"");
    stdout
        .lines()
        .filter(|line| line.contains(&part))
        .find_map(|line| serde_json::from_str(line).ok())
}

fn ended(stdout: &str) -> Result<End, StepError> {
    event(stdout, "end")
        .ok_or_else(|| StepError::Failed("the decode loop did not say what it did".to_owned()))
}

/// Runs the loop under `warplens run`, or alone; its output, and the report.
fn decode(
    place: &Place,
    arguments: &[&str],
    observed: Option<&[&str]>,
) -> Result<(End, Value), StepError> {
    let program = place.tools.programs.join("decode.py");
    let mut command = match observed {
        None => place.command(&place.tools.python),
        Some(more) => {
            let mut command = place.warplens(&["run", "--cpu-hz", "0", "-o", "out"]);
            command.args(more).arg("--").arg(&place.tools.python);
            command
        }
    };
    // PyTorch brings a CUPTI of its own, which the shim is to find.
    command.env_remove("WARPLENS_CUPTI").arg(program).args(arguments);
    let said = place.run(&mut command, "decode")?;
    let report = if observed.is_some() { place.report("out")? } else { Value::Null };
    Ok((ended(&said.stdout)?, report))
}

fn with_cupti(found: Found, cupti: &str) -> Found {
    found.and(format!("PyTorch had {cupti} loaded."))
}

/// Kernels that so many steps more record.
fn more_kernels(place: &Place, mode: &str) -> Result<(u64, String), StepError> {
    let mut kernels = [0_u64; 2];
    let mut cupti = String::new();
    for (times, kernels) in (1..).zip(&mut kernels) {
        let steps = (times * STEPS).to_string();
        let arguments = ["--mode", mode, "--steps", &steps];
        let (end, report) = decode(place, &arguments, Some(&["--stack-rate", "0"]))?;
        let counted = counted(&report);
        if counted.lost + counted.invalid > 0 {
            return Err(StepError::Failed(format!("{mode}: {counted:?}")));
        }
        *kernels = counted.kernels;
        cupti = end.cupti_path;
    }
    let [once, twice] = kernels;
    Ok((twice.saturating_sub(once), cupti))
}

/// Record counts against torch.profiler's on as many steps.
pub(super) fn counts(place: &Place) -> Result<Found, StepError> {
    needs_pytorch(place)?;
    let (mut found, mut cupti) = (Found::default(), String::new());
    for mode in ["eager", "graph"] {
        let (recorded, path) = more_kernels(place, mode)?;
        let trace = place.folder().join("trace.json").display().to_string();
        let steps = STEPS.to_string();
        let arguments = ["--mode", mode, "--steps", &steps, "--profile", &trace];
        let (end, _) = decode(place, &arguments, None)?;
        let profiled: u64 = end.profiled_kernels.iter().sum();
        let sentence = format!(
            "{mode}: {STEPS} steps record {recorded} kernels, torch.profiler's trace of {STEPS} steps has {profiled}."
        );
        if recorded != profiled || recorded == 0 {
            return Err(StepError::Failed(sentence));
        }
        (found, cupti) = (found.and(sentence), path);
    }
    Ok(with_cupti(found, &cupti))
}

/// Nodes of a captured decode step.
pub(super) fn graphs(place: &Place) -> Result<Found, StepError> {
    needs_pytorch(place)?;
    let (end, report) = decode(place, &["--mode", "graph", "--steps", "2000"], Some(&[]))?;
    let facts = Facts::read(&place.folder().join("out/recording.warplens"))
        .map_err(|error| StepError::Failed(error.to_string()))?;
    let Counted { kernels, lost, invalid } = counted(&report);
    let sentence = format!(
        "A captured decode step replayed 2000 times: {kernels} kernels, {} of them of graphs, {} of these without a node; {lost} lost, {invalid} without timestamps.",
        facts.replayed, facts.without_node
    );
    if facts.replayed == 0 || facts.without_node + lost + invalid > 0 {
        return Err(StepError::Failed(sentence));
    }
    Ok(with_cupti(Found::default().and(sentence), &end.cupti_path))
}

/// The level to wait for, and what `record` is told.
type Armed = (Level, [&'static str; 4]);

/// How the loop is observed: a name, whether it has the shim, and who observes.
const MODES: [(&str, bool, Option<Armed>); 5] = [
    ("off", false, None),
    ("dormant", true, None),
    ("counting", true, Some((Level::Counting, ["--stack-rate", "0", "--cpu-hz", "0"]))),
    ("with stacks", true, Some((Level::Stacks, ["--stack-rate", "100", "--cpu-hz", "0"]))),
    ("full", true, Some((Level::Stacks, ["--stack-rate", "100", "--cpu-hz", "99"]))),
];

/// Turns of each mode.
const TURNS: usize = 5;

/// Tokens a second, the modes in turns.
pub(super) fn overhead(place: &Place) -> Result<Found, StepError> {
    needs_pytorch(place)?;
    place.needs_root()?;
    let (mut found, mut cupti) = (Found::default(), String::new());
    for (mode, batch) in [("eager", "1"), ("eager", "64"), ("graph", "1"), ("graph", "64")] {
        let mut figures = vec![Vec::new(); MODES.len()];
        for _ in 0..TURNS {
            for ((_, shim, armed), figures) in MODES.iter().zip(&mut figures) {
                let end = paced(place, mode, batch, *shim, *armed)?;
                figures.push(end.tokens_per_second);
                cupti = end.cupti_path;
            }
        }
        let off = median(&figures[0]).unwrap_or(f64::NAN);
        for ((name, ..), figures) in MODES.iter().zip(&figures) {
            let Some(middle) = median(figures) else { continue };
            let (least, most) = spread(figures);
            found = found.and(format!(
                "{mode}, batch {batch}, {name}: {middle:.1} tokens a second (median of {TURNS}, {least:.1} to {most:.1}), {:+.2} %.",
                100.0 * (middle / off - 1.0)
            ));
        }
    }
    Ok(with_cupti(found, &cupti))
}

/// One run whose steps begin when the shim is at its level.
fn paced(
    place: &Place,
    mode: &str,
    batch: &str,
    shim: bool,
    armed: Option<Armed>,
) -> Result<End, StepError> {
    let mut command = place.command(&place.tools.python);
    command.env_remove("WARPLENS_CUPTI").arg(place.tools.programs.join("decode.py"));
    command.args(["--wait", "--mode", mode, "--batch", batch, "--steps", "1000"]);
    if shim {
        command.env("CUDA_INJECTION64_PATH", &place.tools.shim);
        if armed.is_none() {
            command.env("WARPLENS_LEVEL", "dormant");
        }
    }
    let mut decode = place.start(&mut command, "decode")?;
    let ready: Ready = place
        .until("the decode loop is ready", || {
            let over = !decode.alive();
            event(&decode.stdout(), "ready").map(Some).or(over.then_some(None))
        })?
        .ok_or_else(|| StepError::Failed(last(&decode.stderr()).to_owned()))?;
    let mut agent = None;
    if let Some((level, settings)) = armed {
        let mut command = place.warplens(&["record", "--pid", &ready.pid.to_string()]);
        let child =
            place.start(command.args(settings).args(["-d", "30m", "-o", "armed"]), "record")?;
        place.until("the shim is armed", || {
            ring::look(ready.pid).filter(|view| view.level() >= level as u32)
        })?;
        agent = Some(child);
    }
    decode.write("go\n");
    let said = place.end(&mut decode, "the decode loop")?;
    if let Some(mut agent) = agent {
        stop(place, &mut agent)?;
    }
    ended(&said.stdout)
}

fn stop(place: &Place, agent: &mut Child) -> Result<(), StepError> {
    agent.signal(Signal::INT);
    place.end(agent, "warplens record").map(|_| ())
}

/// Time by class of as many steps: recorded, and from torch.profiler's trace by `warplens analyze`.
pub(super) fn split(place: &Place) -> Result<Found, StepError> {
    needs_pytorch(place)?;
    let (mut found, mut cupti) = (Found::default(), String::new());
    for mode in ["eager", "graph"] {
        let mut recorded = Vec::new();
        let mut seconds = 0.0;
        for times in 1..=2 {
            let steps = (times * STEPS).to_string();
            let arguments = ["--mode", mode, "--steps", &steps];
            let (end, report) = decode(place, &arguments, Some(&["--stack-rate", "0"]))?;
            recorded.push(classes(&report));
            seconds = end.seconds / f64::from(u8::try_from(times).unwrap_or(1));
            cupti = end.cupti_path;
        }
        let trace = place.folder().join("trace.json").display().to_string();
        let steps = STEPS.to_string();
        decode(place, &["--mode", mode, "--steps", &steps, "--profile", &trace], None)?;
        let analysed = place.run(&mut place.warplens(&["analyze", &trace, "--json"]), "analyze")?;
        let analysed: Value = serde_json::from_str(&analysed.stdout)
            .map_err(|error| StepError::Failed(format!("analyze: {error}")))?;
        let mut busy = [0.0; 2];
        for (class, profiled) in CLASSES.iter().zip(classes(&analysed)) {
            let index = CLASSES.iter().position(|name| name == class).unwrap_or(0);
            let ours = recorded[1][index] - recorded[0][index];
            (busy[0], busy[1]) = (busy[0] + ours, busy[1] + profiled);
            found = found.and(format!(
                "{mode}, {class}: {:.3} ms recorded, {:.3} ms in torch.profiler's trace of {STEPS} steps ({:+.2} %).",
                ours / 1e6,
                profiled / 1e6,
                100.0 * (ours / profiled - 1.0)
            ));
        }
        found = found.and(format!(
            "{mode}: idle {:.2} % of the recorded steps, {:.2} % of the profiled ones, which the profiler makes longer.",
            100.0 * (1.0 - busy[0] / (seconds * 1e9)),
            100.0 * idle(&analysed)
        ));
    }
    Ok(with_cupti(found, &cupti))
}

const CLASSES: [&str; 3] = ["attention", "gemm", "other"];

/// Exclusive time of each class on all devices, ns.
fn classes(report: &Value) -> [f64; 3] {
    CLASSES.map(|class| sum(report, class))
}

fn sum(report: &Value, class: &str) -> f64 {
    let devices = report["devices"].as_array().into_iter().flatten();
    devices.filter_map(|device| device["exclusive_ns"][class].as_f64()).sum()
}

fn idle(report: &Value) -> f64 {
    let busy: f64 = classes(report).iter().sum::<f64>() + sum(report, "communication");
    let idle = sum(report, "idle");
    idle / (busy + idle).max(1.0)
}

/// torch.profiler started and stopped while the shim is armed.
pub(super) fn neighbours(place: &Place) -> Result<Found, StepError> {
    needs_pytorch(place)?;
    let trace = place.folder().join("trace.json").display().to_string();
    let arguments = ["--profile", &trace, "--again", "2", "--steps", "200"];
    let (alone, _) = decode(place, &arguments, None)?;
    let (beside, report) = decode(place, &arguments, Some(&[]))?;
    let Counted { kernels, lost, invalid } = counted(&report);
    let unobserved = sum(&report, "unobserved") / 1e9;
    let sentence = format!(
        "torch.profiler three times in one process: its traces have {:?} kernels alone and {:?} under `warplens run`, which recorded {kernels} kernels, {lost} lost, {invalid} without timestamps, {unobserved:.1} s unobserved.",
        alone.profiled_kernels, beside.profiled_kernels
    );
    if alone.profiled_kernels != beside.profiled_kernels {
        return Err(StepError::Failed(sentence));
    }
    Ok(with_cupti(Found::default().and(sentence), &beside.cupti_path))
}
