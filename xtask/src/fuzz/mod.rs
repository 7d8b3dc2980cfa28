//! `cargo xtask fuzz`: every reader of what others wrote, fed with what libFuzzer comes upon. What was found worth
//! keeping stays in the target folder, so that each run goes on from the one before.

mod ledger;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::ledger::{Ledger, Run};
use crate::child;
use crate::workspace::{Workspace, clean_environment};

/// As `tests/fuzz/src/readers/mod.rs` has them: what workers write, and others into them, comes first.
const READERS: [&str; 25] = [
    "ring_memory",
    "shim_memory",
    "activity_buffers",
    "interpreter",
    "unwind_tables",
    "stack_copies",
    "records",
    "kernel_events",
    "recording",
    "recording_file",
    "chrome_trace",
    "report",
    "elf",
    "proc_text",
    "proc_arguments",
    "perf_map",
    "config",
    "kernel_names",
    "nsys_export",
    "bundle",
    "bundle_entries",
    "breaker_state",
    "daemon_talk",
    "vllm_metrics",
    "kernel_log",
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

/// Makes an export of Nsight Systems with a kernel, a copy and their names.
const SMALL_EXPORT: &str = "
import os, sqlite3, sys
if not os.path.exists(sys.argv[1]):
    base = sqlite3.connect(sys.argv[1])
    base.executescript('''
        PRAGMA page_size = 512;
        CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);
        INSERT INTO StringIds VALUES (1, 'kernel');
        CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT, end INT, deviceId INT, contextId INT, streamId INT,
            correlationId INT, globalPid INT, demangledName INT, shortName INT, graphNodeId INT, gridX INT);
        INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (10, 20, 0, 1, 7, 1, 281474976710656, 1, 1, NULL, 1);
        CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INT, end INT, deviceId INT, contextId INT, streamId INT,
            correlationId INT, globalPid INT, bytes INT, copyKind INT);
        INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (20, 30, 0, 1, 7, 2, 281474976710656, 64, 1);
    ''')
    base.commit()
";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these readers; all of them otherwise
    readers: Vec<String>,
    /// Seconds for each reader
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seconds: u64,
    /// Only while nobody else wants the processor
    #[arg(long)]
    idle: bool,
    /// Readers at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// Go on, in pieces of that length, until each reader has so many seconds of processor time without a finding behind
    /// it, those of earlier runs included
    #[arg(long)]
    until: Option<u32>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let known = |name: &&String| !READERS.contains(&name.as_str());
    if let Some(unknown) = args.readers.iter().find(known) {
        bail!("no reader {unknown}: there are {}", READERS.join(", "));
    }
    if args.idle {
        become_idle()?;
    }
    let program = build(workspace)?;
    let commit = child::output(
        Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(&workspace.root),
        "git rev-parse",
        Duration::from_mins(1),
    )?;
    let campaign = Campaign {
        workspace,
        program,
        seconds: args.seconds,
        commit: String::from_utf8_lossy(&commit.stdout).trim().to_owned(),
        state: Mutex::new(State { ledger: Ledger::read(workspace)?, found: Vec::new() }),
    };
    let wanted = |name: &&str| args.readers.is_empty() || args.readers.iter().any(|r| r == name);
    loop {
        let readers: Vec<&str> = READERS
            .into_iter()
            .filter(wanted)
            .filter(|r| campaign.is_open(r, args.until))
            .collect();
        campaign.round(&readers, usize::from(args.jobs))?;
        if args.until.is_none() || readers.is_empty() {
            break;
        }
    }
    let found = campaign.state.into_inner().unwrap_or_else(PoisonError::into_inner).found;
    if found.is_empty() {
        return Ok(());
    }
    bail!("findings in {}", found.join(", "))
}

/// What all the readers' runs share.
#[derive(Debug)]
struct Campaign<'a> {
    workspace: &'a Workspace,
    program: PathBuf,
    seconds: u64,
    commit: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// Readers with a finding.
    found: Vec<&'static str>,
}

impl Campaign<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader has not got its time yet, and nothing was found in it.
    fn is_open(&self, reader: &str, until: Option<u32>) -> bool {
        let state = self.state();
        until.is_none_or(|until| state.ledger.seconds(reader) < f64::from(until))
            && !state.found.contains(&reader)
    }

    /// Each of them once, `jobs` at a time.
    fn round(&self, readers: &[&'static str], jobs: usize) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(&reader) = readers.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.one(reader)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let results = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| bail!("a worker thread panicked")));
            // All are waited for before the first error is told.
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn one(&self, reader: &'static str) -> Result<()> {
        if child::interrupted() {
            bail!("interrupted; what was done is in docs/fuzzing.md");
        }
        let run = feed(self.workspace, &self.program, reader, self.seconds)?;
        let mut state = self.state();
        state.ledger.add(reader, run, &self.commit);
        state.ledger.write(self.workspace)?;
        if run.found {
            state.found.push(reader);
        }
        Ok(())
    }
}

/// One reader, for so many seconds.
fn feed(workspace: &Workspace, program: &Path, reader: &str, seconds: u64) -> Result<Run> {
    let folder = workspace.target.join("fuzz-corpus").join(reader);
    let findings = workspace.target.join("fuzz-findings").join(reader);
    for folder in [&folder, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    plant(workspace, reader, &folder)?;
    // Nobody comes upon a whole file of these kinds.
    match reader {
        "elf" => {
            fs::copy("/bin/true", folder.join("true")).context("copy /bin/true")?;
        }
        "nsys_export" => {
            let mut python = Command::new("python3");
            python.args(["-c", SMALL_EXPORT]).arg(folder.join("small"));
            child::run(&mut python, "python3, for a small export", Duration::from_mins(1))?;
        }
        _ => {}
    }
    // The shell tells the processor time.
    let mut command = Command::new("bash");
    clean_environment(&mut command);
    command
        .args(["-c", "TIMEFORMAT='processor %U %S'; time \"$@\"", "fuzz"])
        .arg(program)
        .arg(&folder)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={LENGTH_MAX}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        // SQLite has two tables of one name in one file, each of a function's own.
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        .env("WARPLENS_FUZZ", reader);
    let mut said = Said::default();
    let deadline = Duration::from_secs(seconds * 3 + 120);
    let status =
        child::run_all_lines(&mut command, reader, deadline, |_stream, line| said.hear(line))?;
    println!("{reader}: {}; {}; {:.0} s of processor time", said.done, said.coverage, said.seconds);
    if !status.success() {
        println!("  found something: {}", findings.display());
    }
    Ok(Run { seconds: said.seconds, inputs: said.inputs, found: !status.success() })
}

/// The scheduling class of what only runs when nothing else does; children have it, too.
fn become_idle() -> Result<()> {
    let mut command = Command::new("chrt");
    command.args(["--all-tasks", "--idle", "--pid", "0", &std::process::id().to_string()]);
    child::run(&mut command, "chrt", Duration::from_mins(1))
}

/// Puts the seeds of the tests among the inputs: they reach what nobody comes upon.
fn plant(workspace: &Workspace, reader: &str, folder: &Path) -> Result<()> {
    let path = workspace.root.join(format!("tests/fuzz/seeds/{reader}.hex"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    for (number, line) in text.lines().enumerate() {
        let seed = bytes_of(line).with_context(|| format!("{}: no hex", path.display()))?;
        let place = folder.join(format!("seed-{number}"));
        fs::write(&place, seed).with_context(|| format!("write {}", place.display()))?;
    }
    Ok(())
}

/// The bytes that a line of hex stands for.
fn bytes_of(line: &str) -> Option<Vec<u8>> {
    let pairs = line.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What libFuzzer and the shell said.
#[derive(Debug, Default)]
struct Said {
    done: String,
    coverage: String,
    inputs: u64,
    seconds: f64,
}

impl Said {
    fn hear(&mut self, line: &str) {
        if let Some(at) = line.find("cov: ") {
            let part = line[at..].split(" corp:").next().unwrap_or_default();
            part.trim().clone_into(&mut self.coverage);
        } else if let Some(times) = line.strip_prefix("processor ") {
            self.seconds = times.split(' ').filter_map(|time| time.parse::<f64>().ok()).sum();
        } else if let Some(rest) = line.strip_prefix("Done ") {
            self.inputs = rest.split(' ').next().and_then(|runs| runs.parse().ok()).unwrap_or(0);
            line.clone_into(&mut self.done);
        } else if line.contains("ERROR: ") || line.contains("panicked") {
            line.clone_into(&mut self.done);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_bytes() {
        assert_eq!(bytes_of("00ff7a"), Some(vec![0, 255, 0x7a]));
        assert_eq!(bytes_of(""), Some(Vec::new()));
        assert_eq!(bytes_of("0g"), None);
    }

    #[test]
    fn what_was_said_is_counted() {
        let mut said = Said::default();
        for line in [
            "#524288\tpulse  cov: 1200 ft: 3400 corp: 90/3Kb lim: 4096 exec/s: 9 rss: 70Mb",
            "Done 12345 runs in 61 second(s)",
            "processor 58.125 1.500",
        ] {
            said.hear(line);
        }
        assert_eq!((said.inputs, said.coverage.as_str()), (12345, "cov: 1200 ft: 3400"));
        assert!((said.seconds - 59.625).abs() < 1e-9);
    }
}
