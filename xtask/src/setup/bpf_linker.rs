//! `bpf-linker`, which turns LLVM bitcode into a BPF object.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::child;
use crate::setup::say;
use crate::workspace::Workspace;

/// The last series that brings rustc's own LLVM along; from 0.11 on it wants a system LLVM.
const SERIES: &str = "0.10.";
const VERSION: &str = "0.10.3";

/// It compiles for about three minutes on two cores.
const LIMIT: Duration = Duration::from_mins(20);

/// Installs it unless one of the right series answers.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    match installed() {
        Some(version) if version.starts_with(SERIES) => {
            say("there", &format!("bpf-linker {version}"));
            return Ok(());
        }
        Some(version) => say("replace", &format!("bpf-linker {version} by {VERSION}")),
        None => {}
    }
    say("install", &format!("bpf-linker {VERSION} (cargo install, about three minutes)"));
    let mut command = workspace.cargo("install");
    command
        .args([&format!("bpf-linker@{VERSION}"), "--locked", "--force"])
        // Away from the workspace: its rustflags and target folder are not for a tool.
        .current_dir("/")
        .env_remove("CARGO_TARGET_DIR");
    child::run(&mut command, "cargo install bpf-linker", LIMIT)
}

fn installed() -> Option<String> {
    let mut command = Command::new("bpf-linker");
    command.arg("--version");
    let output = child::output(&mut command, "bpf-linker", Duration::from_secs(30)).ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().last().map(str::to_owned)
}
