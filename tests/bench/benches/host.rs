//! What watching a Python program costs: its own time for the same work, how long it was stopped, and the
//! watcher's CPU, while it begins and after that, at 99 samples a second; of us, of `py-spy` with and without
//! native frames, and of `perf`.
//!
//! Watchers take turns, so that what the machine does meanwhile meets all of them. `py-spy` and `perf` are
//! asked for what they would be asked for in earnest: files that a flame graph can be drawn from.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use warplens_bench::{figure, median};
use warplens_tests::harness::child::{Child, command};
use warplens_tests::harness::{artefacts, process, python};

/// Turns of every watcher.
const TURNS: usize = 3;
/// Some twenty seconds of work.
const ROUNDS: &str = "4000";
/// A watcher that begins reads files and sets itself up; behind this it only watches.
const START: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_mins(5);
const HZ: &str = "99";

#[derive(Deserialize)]
struct Line {
    spent: Spent,
}

/// What the program says of its work.
#[derive(Clone, Copy, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the program's figures")]
struct Spent {
    wall_ns: u64,
    cpu_ns: u64,
    waited_ns: u64,
}

/// One turn of a watcher.
#[derive(Clone, Copy)]
struct Turn {
    spent: Spent,
    /// CPU of the watcher in its first [`START`], seconds.
    start_seconds: f64,
    /// After that, percent of one processor.
    steady_percent: f64,
    /// All of it, percent of one processor.
    watcher_percent: f64,
    watcher_mib: f64,
}

/// Who watches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Nobody,
    Warplens,
    PySpy,
    PySpyNative,
    Perf,
    PerfDwarf,
}

impl Watcher {
    const ALL: [Self; 6] =
        [Self::Nobody, Self::Warplens, Self::PySpy, Self::PySpyNative, Self::Perf, Self::PerfDwarf];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Warplens => "warplens",
            Self::PySpy => "py-spy",
            Self::PySpyNative => "py-spy-native",
            Self::Perf => "perf",
            Self::PerfDwarf => "perf-dwarf",
        }
    }

    /// The command that watches `pid` until it is interrupted; nobody needs none.
    fn command(self, pid: u32, folder: &Path) -> Result<Option<Command>> {
        let pid = pid.to_string();
        let out = |name: &str| folder.join(name).display().to_string();
        let perf = |extra: &[&str]| {
            let mut perf = command("perf");
            perf.args(["record", "-q", "-F", HZ, "-o", &out("perf.data"), "-p", &pid]).args(extra);
            perf
        };
        let spy = |extra: &[&str]| -> Result<Command> {
            let mut spy = command(artefacts::py_spy()?);
            spy.args(["record", "-f", "raw", "-r", HZ, "-d", "600", "-o", &out("spy.txt")]);
            spy.args(["-p", &pid]).args(extra);
            Ok(spy)
        };
        Ok(Some(match self {
            Self::Nobody => return Ok(None),
            Self::Warplens => {
                let mut record = command(artefacts::agent()?);
                record.args(["record", "--pid", &pid, "-d", "10m", "--cpu-hz", HZ]);
                record.args(["-o", &out("warplens")]);
                record
            }
            Self::PySpy => spy(&[])?,
            Self::PySpyNative => spy(&["--native"])?,
            Self::Perf => perf(&["-g"]),
            Self::PerfDwarf => perf(&["--call-graph", "dwarf,16384"]),
        }))
    }
}

fn main() -> Result<()> {
    let python = python::of_minor((3, 12))?;
    let watchers: Vec<Watcher> = Watcher::ALL.into_iter().filter(|&who| is_there(who)).collect();
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); watchers.len()];
    for _ in 0..TURNS {
        for (watcher, turns) in watchers.iter().zip(&mut turns) {
            turns.push(turn(&python, *watcher)?);
        }
    }
    let bare = turns[0].clone();
    for (watcher, turns) in watchers.iter().zip(&turns) {
        let name = watcher.name();
        let of = |value: fn(&Turn) -> f64| median(turns.iter().map(value).collect());
        figure(&format!("host/{name}-stopped"), of(stopped_percent), "% of the program's time");
        if *watcher == Watcher::Nobody {
            continue;
        }
        // Each turn against the bare one of its own round.
        let slower = turns.iter().zip(&bare).map(|(watched, bare)| {
            float(watched.spent.cpu_ns) / float(bare.spent.cpu_ns) * 100.0 - 100.0
        });
        figure(
            &format!("host/{name}-slower"),
            median(slower.collect()),
            "% more CPU of the program",
        );
        figure(&format!("host/{name}-start"), of(|turn| turn.start_seconds), "s of CPU");
        figure(&format!("host/{name}-steady"), of(|turn| turn.steady_percent), "% of a core");
        figure(&format!("host/{name}-cpu"), of(|turn| turn.watcher_percent), "% of a core");
        figure(&format!("host/{name}-memory"), of(|turn| turn.watcher_mib), "MiB RssAnon");
    }
    Ok(())
}

/// `perf` is no part of the set-up.
#[expect(clippy::print_stderr, reason = "standard output is for figures")]
fn is_there(watcher: Watcher) -> bool {
    let perf = matches!(watcher, Watcher::Perf | Watcher::PerfDwarf);
    let there = !perf || Command::new("perf").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIP host/{}: there is no perf here", watcher.name());
    }
    there
}

fn turn(python: &python::Python, watcher: Watcher) -> Result<Turn> {
    let folder = tempfile::tempdir()?;
    let mut program = python.program("steady.py");
    program.args(["--rounds", ROUNDS]).current_dir(folder.path());
    let mut program = Child::start(&mut program, folder.path(), "program")?;
    program.line("\"ready\"", LIMIT)?;
    let began = Instant::now();
    let mut watching = match watcher.command(program.pid(), folder.path())? {
        Some(mut command) => Some(Child::start(&mut command, folder.path(), "watcher")?),
        None => None,
    };
    let mut started: Option<(f64, f64)> = None;
    let line = loop {
        // What a watcher used is asked while both are there: it may end with the program.
        let used = watching.as_ref().map(|child| used(child.pid()));
        if let (None, Some((cpu, _)), true) = (started, used, began.elapsed() >= START) {
            started = Some((began.elapsed().as_secs_f64(), cpu));
        }
        std::thread::sleep(Duration::from_millis(20));
        if let Some(line) = program.stdout().lines().find(|line| line.contains("\"spent\"")) {
            break (line.to_owned(), used);
        }
        ensure!(began.elapsed() < LIMIT, "the program does not end");
    };
    let elapsed = began.elapsed().as_secs_f64();
    let (cpu, mib) = line.1.unwrap_or((0.0, 0.0));
    ensure!(watcher == Watcher::Nobody || cpu > 0.0, "{} did not run", watcher.name());
    if let Some(mut watching) = watching.take() {
        watching.signal(Signal::INT);
        let ended = watching.wait(LIMIT)?;
        check(watcher, folder.path()).with_context(|| format!("{ended:?}"))?;
    }
    let Line { spent } = serde_json::from_str(&line.0)?;
    let (begin, start_seconds) = started.unwrap_or((0.0, 0.0));
    Ok(Turn {
        spent,
        start_seconds,
        steady_percent: 100.0 * (cpu - start_seconds) / (elapsed - begin),
        watcher_percent: 100.0 * cpu / elapsed,
        watcher_mib: mib,
    })
}

/// CPU seconds and memory of a watcher with its children.
fn used(pid: u32) -> (f64, f64) {
    let tree = process::tree(pid);
    let cpu = tree.iter().filter_map(|&pid| process::cpu_seconds(pid)).sum();
    let mib = tree.iter().filter_map(|&pid| process::status_mib(pid, "RssAnon")).sum();
    (cpu, mib)
}

/// A watcher that saw nothing would be cheap.
fn check(watcher: Watcher, folder: &Path) -> Result<()> {
    let (file, part) = match watcher {
        Watcher::Nobody => return Ok(()),
        Watcher::Warplens => ("warplens/cpu.folded", "steady.deep"),
        Watcher::PySpy | Watcher::PySpyNative => ("spy.txt", "deep (steady.py"),
        Watcher::Perf | Watcher::PerfDwarf => {
            let length = fs::metadata(folder.join("perf.data"))?.len();
            ensure!(length > 20_000, "perf wrote {length} bytes");
            return Ok(());
        }
    };
    let text = fs::read_to_string(folder.join(file)).with_context(|| format!("read {file}"))?;
    ensure!(text.contains(part), "{file} does not show `{part}`");
    Ok(())
}

/// Neither on a CPU nor waiting for one, though it never sleeps.
fn stopped_percent(turn: &Turn) -> f64 {
    let Spent { wall_ns, cpu_ns, waited_ns } = turn.spent;
    100.0 * float(wall_ns.saturating_sub(cpu_ns + waited_ns)) / float(wall_ns)
}

#[expect(clippy::cast_precision_loss, reason = "times of seconds in ns, below 2^52")]
fn float(value: u64) -> f64 {
    value as f64
}
