//! `cargo xtask fuzz`: every reader of what others wrote, fed with what libFuzzer comes upon. What was found worth
//! keeping stays in the target folder, so that each run goes on from the one before.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::workspace::{Workspace, clean_environment};

/// As `tests/fuzz/src/readers.rs` has them.
const READERS: [&str; 11] = [
    "records",
    "kernel_events",
    "recording",
    "recording_file",
    "chrome_trace",
    "report",
    "elf",
    "proc_text",
    "proc_arguments",
    "config",
    "kernel_names",
];

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Coverage as libFuzzer reads it, and the address sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Zsanitizer=address --cfg fuzzing";

const BUILD_LIMIT: Duration = Duration::from_mins(30);
/// An input may take so long, and so much memory.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 2048;
/// Bytes of an input: a small program's file fits.
const LENGTH_MAX: u32 = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these readers; all of them otherwise
    readers: Vec<String>,
    /// Seconds for each reader
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seconds: u64,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let known = |name: &&String| !READERS.contains(&name.as_str());
    if let Some(unknown) = args.readers.iter().find(known) {
        bail!("no reader {unknown}: there are {}", READERS.join(", "));
    }
    let program = build(workspace)?;
    let wanted =
        |name: &&str| args.readers.is_empty() || args.readers.iter().any(|one| one == name);
    let mut found = Vec::new();
    for reader in READERS.into_iter().filter(|name| wanted(name)) {
        let folder = workspace.target.join("fuzz-corpus").join(reader);
        let findings = workspace.target.join("fuzz-findings").join(reader);
        for folder in [&folder, &findings] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        if reader == "elf" {
            // Nobody comes upon a whole file of that kind.
            fs::copy("/bin/true", folder.join("true")).context("copy /bin/true")?;
        }
        let mut command = Command::new(&program);
        clean_environment(&mut command);
        command
            .arg(&folder)
            .arg(format!("-max_total_time={}", args.seconds))
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .arg(format!("-max_len={LENGTH_MAX}"))
            .arg(format!("-artifact_prefix={}/", findings.display()))
            // SQLite has two tables of one name in one file, each of a function's own.
            .env("ASAN_OPTIONS", "detect_odr_violation=0")
            .env("WARPLENS_FUZZ", reader);
        let (status, last) = lines(&mut command, reader, args.seconds)?;
        println!("{reader}: {last}");
        if !status.success() {
            println!("  found something: {}", findings.display());
            found.push(reader);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!("findings in {}", found.join(", "))
}

/// What libFuzzer said last, and of its coverage.
fn lines(command: &mut Command, reader: &str, seconds: u64) -> Result<(ExitStatus, String)> {
    let (mut done, mut coverage) = (String::new(), String::new());
    let deadline = Duration::from_secs(seconds + 120);
    let status = child::run_all_lines(command, reader, deadline, |_stream, line| {
        if let Some(at) = line.find("cov: ") {
            let part = line[at..].split(" corp:").next().unwrap_or_default();
            part.trim().clone_into(&mut coverage);
        } else if line.starts_with("Done ") || line.contains("ERROR: ") || line.contains("panicked")
        {
            line.clone_into(&mut done);
        }
    })?;
    Ok((status, format!("{done}; {coverage}")))
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("fuzz");
    let folder = workspace.root.join("tests/fuzz");
    // What is fuzzed is what is shipped: the same versions of everything, but for the fuzzer's own.
    fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))
        .with_context(|| format!("copy Cargo.lock to {}", folder.display()))?;
    let mut command = Command::new("cargo");
    clean_environment(&mut command);
    command
        .args(["build", "--release", "--target", TARGET])
        .env("CARGO_TARGET_DIR", &target)
        // Stable rustc refuses a sanitizer otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .current_dir(folder);
    child::run(&mut command, "cargo build of the fuzzed readers", BUILD_LIMIT)?;
    Ok(target.join(TARGET).join("release/warplens-fuzz"))
}
