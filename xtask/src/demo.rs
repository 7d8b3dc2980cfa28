//! `cargo xtask demo`: everything set up and built, a simulated vLLM on simulated GPUs started,
//! profiled, and the result held against what the simulator knows it did. Where a GPU and a running
//! vLLM are, those are profiled instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::artefacts::Artefacts;
use crate::build;
use crate::child;
use crate::load::{Load, Plan, fresh_seed};
use crate::nvidia;
use crate::setup::{self, is_root};
use crate::workspace::{Workspace, clean_environment};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds to profile
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seed of the simulated load; a fresh one is drawn and printed otherwise
    #[arg(long)]
    seed: Option<u32>,
    /// Kernels per second, all simulated GPUs together
    #[arg(long, default_value_t = 25_000)]
    rate: u32,
    /// Folder for the results
    #[arg(long, default_value = "warplens-out")]
    out: PathBuf,
    /// Simulate even where a GPU and a running vLLM are
    #[arg(long)]
    simulate: bool,
    /// Do not look for missing tools first
    #[arg(long)]
    no_setup: bool,
}

const GPUS: u32 = 2;

/// What `record` may take beyond the asked seconds: symbols, files, a slow machine.
const RECORD_SLACK: Duration = Duration::from_mins(3);

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if !args.no_setup {
        setup::run(workspace)?;
    }
    if !args.simulate
        && let Some(server) = real_server()
    {
        return real(workspace, args, server);
    }
    banner("SIMULATED: no GPU is used; kernels, times and devices below are the simulator's");
    if !is_root() {
        println!(
            "not root: programs cannot be loaded into the kernel, so stacks and the CPU profile will be \
             missing; GPU totals need no root. For all of it: sudo -E cargo xtask demo"
        );
    }
    let artefacts = build::everything(workspace)?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => fresh_seed()?,
    };
    let out = workspace.root.join(&args.out);
    let truth = workspace.target.join("demo/truth");
    println!(
        "simulated: starting a vLLM of {GPUS} simulated GPUs, {} kernels/s, seed {seed}",
        args.rate
    );
    let plan = Plan {
        gpus: GPUS,
        rate: args.rate,
        seed,
        limit: Duration::from_secs(args.seconds) + RECORD_SLACK,
        truth: truth.clone(),
    };
    let mut load = Load::start(workspace, &artefacts, &plan)?;
    println!("simulated: it serves; frontend {}, workers {:?}", load.frontend(), load.workers);
    let recorded = record(&artefacts, load.frontend(), args.seconds, &out);
    let alive = load.check_alive();
    for said in load.stop() {
        if let Some(process) = said["process"].as_str().filter(|process| process.contains("Worker"))
        {
            println!(
                "simulated: {process} launched {} kernels and {} graphs",
                said["launches_ok"], said["graph_launches"]
            );
        }
    }
    recorded?;
    alive?;
    judge(&artefacts, &truth, &out)?;
    what_to_open(workspace, &out)?;
    banner(&format!("SIMULATED, seed {seed}: the same load again with --seed {seed}"));
    Ok(())
}

/// `warplens record` on one process, with its own screen.
fn record(artefacts: &Artefacts, pid: u32, seconds: u64, out: &Path) -> Result<()> {
    let mut command = Command::new(&artefacts.agent);
    clean_environment(&mut command);
    command
        .args(["record", "--pid", &pid.to_string(), "-d", &format!("{seconds}s"), "-o"])
        .arg(out);
    child::run(&mut command, "warplens record", Duration::from_secs(seconds) + RECORD_SLACK)
}

/// Holds the report against the ground truth; a difference is an error.
fn judge(artefacts: &Artefacts, truth: &Path, out: &Path) -> Result<()> {
    println!("simulated: comparing the report with the simulator's ground truth");
    let mut command = Command::new(&artefacts.judge);
    clean_environment(&mut command);
    command.arg("--truth").arg(truth).arg("--report").arg(out.join("report.json"));
    child::run(&mut command, "the comparison with the ground truth (sim-judge)", RECORD_SLACK)
}

/// The files that are there, each with what it is for.
fn what_to_open(workspace: &Workspace, out: &Path) -> Result<()> {
    const FILES: [(&str, &str); 8] = [
        ("report.md", "the whole report, to read"),
        ("gpu.svg", "GPU time from host code to kernel, idle time included; open in a browser"),
        ("cpu.svg", "CPU time of the same processes; open in a browser"),
        ("trace.pftrace", "the timeline; open in https://ui.perfetto.dev"),
        ("gpu.speedscope.json", "GPU and CPU time by stack; open in https://www.speedscope.app"),
        ("report.json", "the same figures for programs"),
        ("gpu.pb.gz", "for `go tool pprof` and what reads its format"),
        ("recording.warplens", "everything again: warplens analyze recording.warplens"),
    ];
    let written: Vec<String> = fs::read_dir(out)
        .with_context(|| format!("list {}", out.display()))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    println!("look at, in {}:", workspace.short(out));
    for (name, about) in FILES.iter().filter(|(name, _)| written.iter().any(|file| file == name)) {
        println!("  {name:<20} {about}");
    }
    Ok(())
}

/// Profiles the vLLM that runs here.
fn real(workspace: &Workspace, args: &Args, server: u32) -> Result<()> {
    println!(
        "an NVIDIA GPU and a running vLLM (process {server}) are here: profiling those, nothing is simulated"
    );
    build::release(workspace)?;
    let agent = crate::artefacts::agent(workspace);
    let out = workspace.root.join(&args.out);
    let mut command = Command::new(agent);
    clean_environment(&mut command);
    command
        .args(["record", "--pid", &server.to_string(), "-d", &format!("{}s", args.seconds), "-o"])
        .arg(&out);
    let recorded = child::run(
        &mut command,
        "warplens record",
        Duration::from_secs(args.seconds) + RECORD_SLACK,
    );
    if recorded.is_err() {
        println!(
            "vLLM loads the shim only when it was started with it: CUDA_INJECTION64_PATH={} vllm serve ...; \
             the simulated demo: cargo xtask demo --simulate",
            crate::artefacts::shim(workspace).display()
        );
    }
    recorded?;
    what_to_open(workspace, &out)
}

/// A vLLM frontend on a machine with an NVIDIA driver.
fn real_server() -> Option<u32> {
    if !nvidia::has_gpu() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        is_server(&words).then_some(pid)
    })
}

/// `vllm serve ...`, whatever interpreter stands in front; the simulated one has its own options.
fn is_server(words: &[String]) -> bool {
    let serves = words.windows(2).any(|pair| {
        Path::new(&pair[0]).file_name().is_some_and(|name| name == "vllm") && pair[1] == "serve"
    });
    serves && !words.iter().any(|word| word.starts_with("--sim-"))
}

fn banner(text: &str) {
    let line = "=".repeat(text.chars().count() + 4);
    println!("{line}\n  {text}\n{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_command_line() {
        let check = |line: &str, expected: bool| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(is_server(&words), expected, "{line}");
        };
        check("python3 /opt/venv/bin/vllm serve some/model", true);
        check("vllm bench serve", false);
        check("python3 programs/vllm serve sim/model --sim-seed 3", false);
        check("grep vllm", false);
    }
}
