//! What is run in each kernel: the tests of the tier `bpf`, built as that tier builds them, `warplens doctor`, and the
//! bench of probes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::artefacts::{Artefacts, TESTS_PACKAGE};
use crate::build::{self, BUILD_LIMIT};
use crate::child;
use crate::workspace::Workspace;

/// Built, with the environment that tells tests where things are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub agent: PathBuf,
    /// Of the agent: the kernel programs, loaded and attached.
    pub kernel_tests: PathBuf,
    /// Of the whole: launches counted by eBPF against the shim's count and the truth.
    pub integration_tests: PathBuf,
    pub bench: PathBuf,
    pub environment: Vec<(OsString, OsString)>,
}

/// Builds all of them.
pub(crate) fn build(workspace: &Workspace) -> Result<Programs> {
    let artefacts = build::everything(workspace)?;
    let tests = executables(
        workspace
            .cargo("test")
            .args(["-p", "warplens", "--test", "bpf", "-p", TESTS_PACKAGE])
            .args(["--test", "it"]),
    )?;
    let benches =
        executables(workspace.cargo("bench").args(["-p", "warplens-bench", "--bench", "probe"]))?;
    Ok(Programs {
        kernel_tests: named(&tests, "bpf")?,
        integration_tests: named(&tests, "it")?,
        bench: named(&benches, "probe")?,
        environment: environment(&artefacts, workspace),
        agent: artefacts.agent,
    })
}

/// As a test run has it; the rest of what it may look at is told too, since a booted kernel has no environment.
fn environment(artefacts: &Artefacts, workspace: &Workspace) -> Vec<(OsString, OsString)> {
    let mut described = Command::new("env");
    artefacts.describe_to(&mut described, workspace);
    let inherited = ["PATH", "HOME"]
        .into_iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let told =
        described.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    inherited.chain(told).chain([("REQUIRE".into(), "bpf".into())]).collect()
}

/// Name and path of every program that this build makes.
fn executables(command: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    command.args(["--locked", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = child::output(command, "the build of the tests", BUILD_LIMIT)?;
    if !output.status.success() {
        bail!("the build of the tests failed ({})", output.status);
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(messages: &str) -> Vec<(String, PathBuf)> {
    messages
        .lines()
        .filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect()
}

fn named(programs: &[(String, PathBuf)], name: &str) -> Result<PathBuf> {
    programs
        .iter()
        .find(|(of, _)| of == name)
        .map(|(_, path)| path.clone())
        .with_context(|| format!("cargo built no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_what_cargo_says_it_linked() {
        let text = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"bpf\"},\"executable\":\"/t/bpf-1\"}\n\
                    {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"wire\"},\"executable\":null}\n\
                    {\"reason\":\"build-finished\",\"success\":true}\n";
        let programs = parse(text);
        assert_eq!(named(&programs, "bpf").unwrap(), PathBuf::from("/t/bpf-1"));
        named(&programs, "wire").unwrap_err();
    }
}
