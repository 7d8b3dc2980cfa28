//! The tiers: what each needs, what it runs, and what stops it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::artefacts::{Artefacts, TESTS_PACKAGE};
use crate::build;
use crate::child;
use crate::nvidia;
use crate::setup::is_root;
use crate::test::tally::{Counts, Tally};
use crate::tidy;
use crate::workspace::Workspace;

/// A rung of the ladder.
pub struct Tier {
    pub name: &'static str,
    pub about: &'static str,
    /// May be missing without failing the run: it needs what most machines do not have.
    pub optional: bool,
    pub run: fn(&Workspace) -> Result<Outcome>,
}

/// What became of a tier.
pub enum Outcome {
    /// A check without parts.
    Passed,
    /// Tests, counted.
    Ran(Counts),
    /// Something it needs is not here.
    CannotRun(String),
}

/// What a SKIP line of a single test means for its tier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skips {
    /// It fails the tier: everything this tier needs is part of the set-up.
    Fail,
    /// It is counted and shown: the test compares with data that is no part of the repository.
    Count,
}

/// In order of cost.
pub const TIERS: &[Tier] = &[
    Tier { name: "fmt", about: "rustfmt has nothing to change", optional: false, run: fmt },
    Tier { name: "tidy", about: "rules of the house", optional: false, run: tidy_tier },
    Tier { name: "build", about: "release agent, shim, kernel programs, simulator", optional: false, run: build_tier },
    Tier { name: "clippy", about: "no warning in any target", optional: false, run: clippy },
    Tier { name: "unit", about: "unit and property tests", optional: false, run: unit },
    Tier { name: "golden", about: "outputs and recordings as they were", optional: false, run: golden },
    Tier { name: "sim", about: "the simulated CUDA itself", optional: false, run: sim },
    Tier { name: "shim", about: "the shim under the simulated CUDA, hostile hosts", optional: false, run: shim },
    Tier { name: "real", about: "the shim under NVIDIA's own libraries", optional: true, run: real },
    Tier { name: "cli", about: "commands, bad input, exit codes", optional: false, run: cli },
    Tier { name: "bpf", about: "kernel programs in this kernel (root)", optional: false, run: bpf },
    Tier { name: "e2e", about: "record against ground truth (root)", optional: false, run: e2e },
    Tier { name: "gpu", about: "a real NVIDIA GPU", optional: true, run: gpu },
    Tier { name: "vllm", about: "a real vLLM server", optional: true, run: vllm },
];

/// A cold debug build of every test, and then the tests.
const TEST_LIMIT: Duration = Duration::from_mins(25);

fn fmt(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo("fmt");
    command.args(["--all", "--check"]);
    child::run(&mut command, "cargo fmt --all --check", TEST_LIMIT)?;
    let mut command = workspace.cargo("fmt");
    command.args(["--check"]).current_dir(workspace.root.join("ebpf"));
    child::run(&mut command, "cargo fmt --check in ebpf/", TEST_LIMIT)?;
    Ok(Outcome::Passed)
}

fn tidy_tier(workspace: &Workspace) -> Result<Outcome> {
    tidy::run(workspace).map(|()| Outcome::Passed)
}

fn build_tier(workspace: &Workspace) -> Result<Outcome> {
    build::everything(workspace).map(|_| Outcome::Passed)
}

fn clippy(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo("clippy");
    command.args(["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    child::run(&mut command, "cargo clippy", TEST_LIMIT)?;
    let mut command = build::ebpf_cargo(workspace, "clippy");
    command.args(["--release", "--locked", "--", "-D", "warnings"]);
    child::run(&mut command, "cargo clippy in ebpf/", TEST_LIMIT)?;
    Ok(Outcome::Passed)
}

fn unit(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo("test");
    command.args(["--workspace", "--exclude", TESTS_PACKAGE, "--lib", "--bins", "--locked", "--no-fail-fast"]);
    tests(command, "unit", Skips::Count)
}

/// Integration tests of the single crates: whole outputs and recordings.
fn golden(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo("test");
    command.args(["-p", "warplens", "-p", "warplens-analysis", "--test", "*", "--locked", "--no-fail-fast"]);
    tests(command, "golden", Skips::Count)
}

fn sim(workspace: &Workspace) -> Result<Outcome> {
    integration(workspace, "sim")
}

fn shim(workspace: &Workspace) -> Result<Outcome> {
    integration(workspace, "shim")
}

fn cli(workspace: &Workspace) -> Result<Outcome> {
    integration(workspace, "cli")
}

fn real(workspace: &Workspace) -> Result<Outcome> {
    match nvidia::fetch(workspace) {
        Ok(folder) => {
            let mut command = integration_command(workspace, "real")?;
            command.env("WARPLENS_NVIDIA_DIR", folder);
            tests(command, "real", Skips::Fail)
        }
        Err(error) => Ok(Outcome::CannotRun(format!("NVIDIA's libraries could not be fetched: {error:#}"))),
    }
}

fn bpf(workspace: &Workspace) -> Result<Outcome> {
    match without_kernel_programs() {
        Some(reason) => Ok(Outcome::CannotRun(reason)),
        None => integration(workspace, "bpf"),
    }
}

fn e2e(workspace: &Workspace) -> Result<Outcome> {
    match without_kernel_programs() {
        Some(reason) => Ok(Outcome::CannotRun(reason)),
        None => integration(workspace, "e2e"),
    }
}

fn gpu(workspace: &Workspace) -> Result<Outcome> {
    if !std::path::Path::new("/dev/nvidiactl").exists() {
        return Ok(Outcome::CannotRun("no NVIDIA GPU on this machine".to_owned()));
    }
    integration(workspace, "gpu")
}

fn vllm(workspace: &Workspace) -> Result<Outcome> {
    match std::env::var_os("WARPLENS_VLLM") {
        Some(_) => integration(workspace, "vllm"),
        None => Ok(Outcome::CannotRun("WARPLENS_VLLM names no Python with vLLM installed".to_owned())),
    }
}

/// Why this process cannot load programs into the kernel, as far as that shows from outside.
fn without_kernel_programs() -> Option<String> {
    (!is_root()).then(|| "loading programs into the kernel needs root: run it under sudo".to_owned())
}

fn integration(workspace: &Workspace, module: &'static str) -> Result<Outcome> {
    tests(integration_command(workspace, module)?, module, Skips::Fail)
}

/// The integration crate's tests of one module, one after the other: they measure processes.
fn integration_command(workspace: &Workspace, module: &str) -> Result<Command> {
    let artefacts = Artefacts::locate(workspace).or_else(|_| build::everything(workspace))?;
    let mut command = workspace.cargo("test");
    command.args(["-p", TESTS_PACKAGE, "--locked", "--test", "it", "--", &format!("{module}::")]);
    command.args(["--test-threads", "1", "--show-output"]).env("REQUIRE", module);
    artefacts.describe_to(&mut command, workspace);
    Ok(command)
}

fn tests(mut command: Command, name: &str, skips: Skips) -> Result<Outcome> {
    let mut tally = Tally::default();
    let status = child::run_lines(&mut command, &format!("tier {name}"), TEST_LIMIT, |line| {
        println!("{line}");
        tally.line(line);
    })
    .with_context(|| format!("run tier {name}"))?;
    let counts = tally.counts();
    if counts.total() == 0 {
        bail!("no test ran ({status})");
    }
    if !status.success() && counts.failed == 0 {
        bail!("{counts}, and the run itself failed ({status})");
    }
    if skips == Skips::Fail && !tally.skips.is_empty() {
        bail!("{counts}; skipped: {}", tally.skips.join("; "));
    }
    Ok(Outcome::Ran(counts))
}
