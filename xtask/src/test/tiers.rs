//! The tiers: what each needs, what it runs, and what stops it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::artefacts::{Artefacts, TESTS_PACKAGE};
use crate::build;
use crate::child::{self, Stream};
use crate::hta;
use crate::kubernetes;
use crate::nvidia;
use crate::real_vllm;
use crate::setup::is_root;
use crate::test::tally::{Counts, Tally};
use crate::tidy;
use crate::workspace::Workspace;

/// A rung of the ladder.
#[derive(Debug)]
pub(crate) struct Tier {
    pub name: &'static str,
    pub about: &'static str,
    /// May be missing without failing the run: it needs what most machines do not have.
    pub optional: bool,
    pub run: fn(&Workspace) -> Result<Outcome>,
}

/// What became of a tier.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A check without parts.
    Passed,
    /// Tests, counted.
    Ran(Counts),
    /// Tests, counted, and what is wrong with the run beyond failed tests.
    Spoiled(Counts, String),
    /// Something it needs is not here.
    CannotRun(String),
}

/// What a SKIP line of a single test means for its tier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Skips {
    /// It fails the tier: everything this tier needs is part of the set-up.
    Fail,
    /// It is counted and shown: the test needs what is no part of the repository or its set-up.
    Count,
}

/// In order of cost.
pub(crate) const TIERS: &[Tier] = &[
    Tier { name: "fmt", about: "rustfmt has nothing to change", optional: false, run: fmt },
    Tier { name: "tidy", about: "rules of the house", optional: false, run: tidy_tier },
    Tier {
        name: "build",
        about: "release agent, shim, kernel programs, simulator",
        optional: false,
        run: build_tier,
    },
    Tier { name: "clippy", about: "no warning in any target", optional: false, run: clippy },
    Tier { name: "unit", about: "unit and property tests", optional: false, run: unit },
    Tier {
        name: "golden",
        about: "outputs and recordings as they were",
        optional: false,
        run: golden,
    },
    Tier { name: "sim", about: "the simulated CUDA itself", optional: false, run: sim },
    Tier {
        name: "shim",
        about: "the shim under the simulated CUDA, hostile hosts",
        optional: false,
        run: shim,
    },
    Tier {
        name: "real",
        about: "the shim under NVIDIA's own libraries",
        optional: true,
        run: real,
    },
    Tier { name: "cli", about: "commands, bad input, exit codes", optional: false, run: cli },
    Tier {
        name: "deploy",
        about: "manifests, unit and image against schemas and code (schemas from PyPI)",
        optional: true,
        run: deploy,
    },
    Tier { name: "bpf", about: "kernel programs in this kernel (root)", optional: false, run: bpf },
    Tier { name: "e2e", about: "record against ground truth (root)", optional: false, run: e2e },
    Tier {
        name: "chaos",
        about: "kills, stops, full disks and rings, hostile workers, at random instants (root)",
        optional: false,
        run: chaos,
    },
    Tier {
        name: "hta",
        about: "traces against HolisticTraceAnalysis (from PyPI)",
        optional: true,
        run: hta_tier,
    },
    Tier { name: "gpu", about: "a real NVIDIA GPU", optional: true, run: gpu },
    Tier {
        name: "real-vllm",
        about: "a real vLLM server on CPU (root)",
        optional: true,
        run: real_vllm,
    },
];

/// The agent's integration test of the kernel programs.
const KERNEL_TESTS: &str = "bpf";

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
    command.args(["--workspace", "--lib", "--bins", "--locked", "--no-fail-fast"]);
    run_all(vec![command], "unit", Skips::Count)
}

/// Integration tests of the single crates: whole outputs and recordings.
fn golden(workspace: &Workspace) -> Result<Outcome> {
    let mut targets = test_targets(workspace, |folder| !folder.starts_with("tests"))?;
    // The kernel's tests are a tier of their own.
    targets.retain(|target| target.name != KERNEL_TESTS);
    if targets.is_empty() {
        return Ok(Outcome::CannotRun("no crate has integration tests".to_owned()));
    }
    run_all(vec![only(workspace, &targets)], "golden", Skips::Count)
}

/// An integration test of a package.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    package: String,
    name: String,
}

/// `cargo test` of these alone. The packages are named too: two may have tests of one name.
fn only(workspace: &Workspace, targets: &[Target]) -> Command {
    let mut command = workspace.cargo("test");
    command.args(["--locked", "--no-fail-fast"]);
    for target in targets {
        command.args(["-p", &target.package, "--test", &target.name]);
    }
    command
}

/// Integration tests of the packages whose folder, relative to the root, is `wanted`.
fn test_targets(workspace: &Workspace, wanted: impl Fn(&Path) -> bool) -> Result<Vec<Target>> {
    let metadata = workspace.metadata(&["--no-deps"])?;
    Ok(targets_in(&metadata, |manifest| {
        manifest
            .parent()
            .and_then(|folder| folder.strip_prefix(&workspace.root).ok())
            .is_some_and(&wanted)
    }))
}

fn targets_in(metadata: &Value, wanted: impl Fn(&Path) -> bool) -> Vec<Target> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if !package["manifest_path"].as_str().is_some_and(|path| wanted(Path::new(path))) {
            continue;
        }
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["kind"] == serde_json::json!(["test"]) {
                found.push(Target {
                    package: package["name"].as_str().unwrap_or_default().to_owned(),
                    name: target["name"].as_str().unwrap_or_default().to_owned(),
                });
            }
        }
    }
    found
}

/// The simulator's own tests, and the integration crate's tests on it.
fn sim(workspace: &Workspace) -> Result<Outcome> {
    let integration = integration_command(workspace, "sim")?;
    let mut commands = vec![integration];
    let targets = test_targets(workspace, |folder| folder.starts_with("tests/sim-cuda"))?;
    if !targets.is_empty() {
        let mut own = only(workspace, &targets);
        own.args(["--", "--test-threads", "1", "--show-output"]).env("REQUIRE", "sim");
        Artefacts::locate(workspace)?.describe_to(&mut own, workspace);
        commands.push(own);
    }
    run_all(commands, "sim", Skips::Fail)
}

fn shim(workspace: &Workspace) -> Result<Outcome> {
    integration(workspace, "shim")
}

fn cli(workspace: &Workspace) -> Result<Outcome> {
    integration(workspace, "cli")
}

fn deploy(workspace: &Workspace) -> Result<Outcome> {
    match kubernetes::python(workspace) {
        Ok(python) => {
            let mut command = integration_command(workspace, "deploy")?;
            command.env(kubernetes::PYTHON, python);
            // systemd and root are no part of the set-up: tests that need them are counted where they are not.
            run_all(vec![command], "deploy", Skips::Count)
        }
        Err(error) => {
            Ok(Outcome::CannotRun(format!("Kubernetes' schemas could not be installed: {error:#}")))
        }
    }
}

fn real(workspace: &Workspace) -> Result<Outcome> {
    match nvidia::fetch(workspace) {
        Ok(folder) => {
            let mut command = integration_command(workspace, "real")?;
            command.env("WARPLENS_NVIDIA_DIR", folder);
            run_all(vec![command], "real", Skips::Fail)
        }
        Err(error) => {
            Ok(Outcome::CannotRun(format!("NVIDIA's libraries could not be fetched: {error:#}")))
        }
    }
}

/// The agent's tests of traces that ask the peer.
fn hta_tier(workspace: &Workspace) -> Result<Outcome> {
    match hta::with_traces(workspace) {
        Ok(python) => {
            let mut command = workspace.cargo("test");
            command.args(["-p", "warplens", "--locked", "--test", "traces", "--", "hta::"]);
            command.args(["--test-threads", "1", "--show-output"]);
            command.env("REQUIRE", "hta").env(hta::PYTHON, python);
            run_all(vec![command], "hta", Skips::Fail)
        }
        Err(error) => Ok(Outcome::CannotRun(format!(
            "HolisticTraceAnalysis could not be installed: {error:#}"
        ))),
    }
}

fn bpf(workspace: &Workspace) -> Result<Outcome> {
    if let Some(reason) = without_kernel_programs() {
        return Ok(Outcome::CannotRun(reason));
    }
    build::ebpf(workspace)?;
    let mut agent = workspace.cargo("test");
    agent.args(["-p", "warplens", "--locked", "--test", KERNEL_TESTS, "--"]);
    agent.args(["--test-threads", "1", "--show-output"]).env("REQUIRE", "bpf");
    run_all(vec![agent, integration_command(workspace, "bpf")?], "bpf", Skips::Fail)
}

fn e2e(workspace: &Workspace) -> Result<Outcome> {
    match without_kernel_programs() {
        Some(reason) => Ok(Outcome::CannotRun(reason)),
        None => integration(workspace, "e2e"),
    }
}

fn chaos(workspace: &Workspace) -> Result<Outcome> {
    match without_kernel_programs() {
        Some(reason) => Ok(Outcome::CannotRun(reason)),
        None => integration(workspace, "chaos"),
    }
}

/// The tier `chaos` without its short pieces of the soak: how many tests passed, and what was wrong.
pub(crate) fn chaos_round(workspace: &Workspace) -> Result<(Counts, Vec<String>)> {
    let mut command = integration_command(workspace, "chaos")?;
    command.args(["--skip", "chaos::soak::"]);
    let mut failed = Vec::new();
    let outcome = run_heard(vec![command], "chaos", Skips::Fail, |line| {
        failed.extend(
            line.strip_prefix("test ")
                .and_then(|rest| rest.strip_suffix(" ... FAILED"))
                .map(str::to_owned),
        );
    })?;
    Ok(match outcome {
        Outcome::Ran(counts) => (counts, failed),
        Outcome::Spoiled(counts, why) => (counts, failed.into_iter().chain([why]).collect()),
        Outcome::Passed => (Counts::default(), failed),
        Outcome::CannotRun(why) => (Counts::default(), vec![why]),
    })
}

fn gpu(workspace: &Workspace) -> Result<Outcome> {
    if !nvidia::has_gpu() {
        return Ok(Outcome::CannotRun("no NVIDIA GPU on this machine".to_owned()));
    }
    integration(workspace, "gpu")
}

fn real_vllm(workspace: &Workspace) -> Result<Outcome> {
    let script = match real_vllm::script(workspace) {
        Ok(script) => script,
        Err(error) => return Ok(Outcome::CannotRun(format!("{error:#}"))),
    };
    if let Some(reason) = without_kernel_programs() {
        return Ok(Outcome::CannotRun(reason));
    }
    let mut command = integration_command(workspace, "real_vllm")?;
    command.env(real_vllm::SCRIPT, script);
    run_all(vec![command], "real-vllm", Skips::Fail)
}

/// Why this process cannot load programs into the kernel, as far as that shows from outside.
fn without_kernel_programs() -> Option<String> {
    (!is_root())
        .then(|| "loading programs into the kernel needs root: run it under sudo".to_owned())
}

fn integration(workspace: &Workspace, module: &'static str) -> Result<Outcome> {
    run_all(vec![integration_command(workspace, module)?], module, Skips::Fail)
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

/// Runs them all, also after one has failed, and adds up.
fn run_all(commands: Vec<Command>, name: &str, skips: Skips) -> Result<Outcome> {
    run_heard(commands, name, skips, |_line| {})
}

/// The same; `hear` is told every line.
fn run_heard(
    commands: Vec<Command>,
    name: &str,
    skips: Skips,
    mut hear: impl FnMut(&str) + Send,
) -> Result<Outcome> {
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for mut command in commands {
        let before = tally.counts();
        let status = child::run_all_lines(
            &mut command,
            &format!("tier {name}"),
            TEST_LIMIT,
            |stream, line| {
                match stream {
                    Stream::Output => println!("{line}"),
                    Stream::Error => eprintln!("{line}"),
                }
                tally.line(line);
                hear(line);
            },
        )?;
        let counts = tally.counts();
        if counts.total() == before.total() {
            wrong.push(format!("no test ran ({status})"));
        } else if !status.success() && counts.failed == before.failed {
            wrong.push(format!("the run itself failed ({status})"));
        }
    }
    if skips == Skips::Fail && !tally.skips.is_empty() {
        wrong.push(format!("skipped: {}", tally.skips.join("; ")));
    }
    let counts = tally.counts();
    if wrong.is_empty() {
        Ok(Outcome::Ran(counts))
    } else {
        Ok(Outcome::Spoiled(counts, wrong.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn spoiled(scripts: &[&str], skips: Skips) -> Option<String> {
        match run_all(scripts.iter().map(|script| shell(script)).collect(), "x", skips).unwrap() {
            Outcome::Spoiled(_, why) => Some(why),
            _ => None,
        }
    }

    const ONE: &str = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'";

    #[test]
    fn a_run_without_tests_or_with_skips_is_not_green() {
        assert_eq!(spoiled(&[ONE], Skips::Fail), None);
        assert!(spoiled(&["true"], Skips::Fail).is_some());
        assert!(spoiled(&[ONE, "true"], Skips::Fail).is_some());
        assert!(spoiled(&[&format!("{ONE}; exit 1")], Skips::Fail).is_some());
        assert!(spoiled(&[&format!("{ONE}; echo SKIP a: b")], Skips::Fail).is_some());
        assert!(spoiled(&[&format!("{ONE}; echo SKIP a: b >&2")], Skips::Fail).is_some());
        assert_eq!(spoiled(&[&format!("{ONE}; echo SKIP a: b")], Skips::Count), None);
    }

    #[test]
    fn test_targets_are_those_of_the_packages_asked_for() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "manifest_path": "/x/a/Cargo.toml",
             "targets": [{"name": "t", "kind": ["test"]}, {"name": "a", "kind": ["lib"]}]},
            {"name": "b", "manifest_path": "/x/b/Cargo.toml",
             "targets": [{"name": "u", "kind": ["test"]}]}]});
        let found = targets_in(&metadata, |path| path.starts_with("/x/a"));
        assert_eq!(found, [Target { package: "a".to_owned(), name: "t".to_owned() }]);
    }
}
