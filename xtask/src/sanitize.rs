//! `cargo xtask sanitize`: the shim under the address sanitizer, in its own tests and in the simulated CUDA with every hostile
//! host. It reads and writes memory of the process it is loaded into, by pointers that others give it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::artefacts::{self, Artefacts};
use crate::build;
use crate::child;
use crate::workspace::Workspace;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Tests that are left out, with the reason.
const WITHOUT: [(&str, &str); 2] = [
    ("callbacks_never_allocate", "its host puts its own functions in front of the allocator's"),
    ("an_exit_from_inside_a_call", "the same host"),
];

const LIMIT: Duration = Duration::from_mins(30);

/// The shim keeps what it has as long as the process lives, and hosts end by signals: what is never freed is no finding. In
/// hosts the sanitizer comes behind libraries that they were started with.
const OPTIONS: &str = "detect_leaks=0:verify_asan_link_order=0:detect_odr_violation=0";

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let runtime = runtime()?;
    let mut tests = instrumented(workspace, "test", "-Zsanitizer=address");
    tests.args(["-p", "warplens-cuda-shim", "-p", "warplens-wire", "--lib"]);
    child::run(&mut tests, "tests of the shim and the ring with the address sanitizer", LIMIT)?;

    // A library for programs that have no sanitizer of their own: it is loaded in front of them.
    let mut build = instrumented(workspace, "rustc", "-Zsanitizer=address -Zexternal-clangrt");
    build.args(["--release", "-p", "warplens-cuda-shim", "--crate-type", "cdylib"]);
    build.env("CARGO_TARGET_DIR", folder(workspace).join("shim"));
    child::run(&mut build, "cargo build of the shim with the address sanitizer", LIMIT)?;
    let release = folder(workspace).join("shim").join(TARGET).join("release");
    let artefacts = Artefacts {
        shim: release.join("libwarplens_cuda.so"),
        ..Artefacts::locate(workspace).or_else(|_| build::everything(workspace))?
    };

    let mut hosts = workspace.cargo("test");
    hosts.args(["-p", artefacts::TESTS_PACKAGE, "--test", "it", "--locked"]);
    hosts.args(["--", "--test-threads", "1", "shim::"]);
    hosts.args(WITHOUT.iter().flat_map(|(test, _reason)| ["--skip", test]));
    artefacts.describe_to(&mut hosts, workspace);
    // A host whose output nobody reads may be the one that is hurt.
    let reports = folder(workspace).join("reports");
    fs::remove_dir_all(&reports).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    fs::create_dir_all(&reports).with_context(|| format!("create {}", reports.display()))?;
    let options = format!("{OPTIONS}:log_path={}/report", reports.display());
    let preload = format!("env LD_PRELOAD={} ASAN_OPTIONS={options}", runtime.display());
    hosts.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", preload);
    let ran = child::run(&mut hosts, "the shim with the address sanitizer in every host", LIMIT);
    if fs::read_dir(&reports).is_ok_and(|mut found| found.next().is_some()) {
        bail!("the address sanitizer found something: {}", reports.display());
    }
    ran?;
    println!("the address sanitizer found nothing in the shim, alone and in its hosts");
    Ok(())
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("asan")
}

fn instrumented(workspace: &Workspace, subcommand: &str, flags: &str) -> Command {
    let mut command = workspace.cargo(subcommand);
    command
        .args(["--target", TARGET, "--locked"])
        .env("CARGO_TARGET_DIR", folder(workspace))
        // Stable rustc refuses a sanitizer otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .env("ASAN_OPTIONS", OPTIONS);
    command
}

/// The sanitizer's own library, which the C compiler brings.
fn runtime() -> Result<PathBuf> {
    let output =
        Command::new("cc").arg("-print-file-name=libasan.so").output().context("run cc")?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !path.is_absolute() {
        bail!("cc has no libasan.so: install GCC's address sanitizer (Debian: libgcc-12-dev)");
    }
    Ok(path)
}
