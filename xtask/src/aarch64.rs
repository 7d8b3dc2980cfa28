//! The other architecture: everything type-checked, the shim built. Nothing of it has ever run.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::child;
use crate::workspace::Workspace;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// The standard library is compiled, too.
const LIMIT: Duration = Duration::from_mins(20);

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if !child::succeeds(std::process::Command::new(COMPILER).arg("--version")) {
        bail!("no {COMPILER}: install Debian's gcc-aarch64-linux-gnu and libc6-dev-arm64-cross");
    }
    let cargo = |subcommand: &str| {
        let mut command = workspace.cargo(subcommand);
        command.args(["--target", TARGET, "-Zbuild-std", "--locked"]);
        // Without a toolchain of its own for the target: its library is built from source.
        command.env("RUSTC_BOOTSTRAP", "1");
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER);
        command
    };
    let mut check = cargo("check");
    check.args(["-p", "warplens", "-p", "warplens-analysis", "-p", "warplens-wire", "-p", "xtask"]);
    child::run(&mut check, "cargo check for aarch64", LIMIT)?;
    let mut build = cargo("build");
    build.args(["--release", "-p", "warplens-cuda-shim"]);
    child::run(&mut build, "cargo build of the shim for aarch64", LIMIT)?;
    println!("aarch64: everything type-checks, the shim links; neither has run");
    Ok(())
}
