//! Programs that take memory of the host's heap, entered while they run: none of them has the shim, or CUDA.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::hostile::{build_extension, build_memory};
use warplens_tests::harness::python::interpreter;
use warplens_tests::harness::{ring, wait};
use warplens_tests::require;

use super::super::LIMIT;
use super::{SEEDS, Truth, difference, truths};

/// How long a program is looked at: a leak of 1 MiB/s is to be found in that time.
const LOOK: &str = "60s";
/// Looks at a program whose memory may seem to rise by chance.
const LOOKS: usize = 3;
/// What memory that does not grow is called.
const STEADY: [&str; 3] = ["stable", "sawtooth", "burst"];

/// Of a program's second, ms: what they do to a heap cannot be done faster.
const SECOND: u64 = 1000;

/// How to start the program of this truth.
fn program(truth: &Truth, folder: &Path) -> Vec<PathBuf> {
    let script = artefacts::program("memory").join(&truth.program).with_extension("py");
    if script.exists() {
        let mut command = vec![interpreter(folder).unwrap(), script];
        if truth.program == "host_extension" {
            build_extension("tokenizer", folder).unwrap();
            command.push(folder.to_owned());
        }
        return command;
    }
    vec![build_memory(&truth.program, folder).unwrap()]
}

fn started(command: &[PathBuf], truth: &Truth, seed: u32, folder: &Path) -> Child {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).args(["--seed", &seed.to_string(), "--seconds", "300"]);
    if truth.honest {
        program.arg("--honest");
    }
    Child::start(&mut program, folder, "program").unwrap()
}

/// What `leaks` says of a process: its exit code and its report.
fn leaks(process: &Child, look: &str, folder: &Path, more: &[&str]) -> (i32, Value) {
    let out = folder.join("out");
    let mut command =
        warplens(&["leaks", "--pid", &process.pid().to_string(), "-d", look]).unwrap();
    command.args(["--json", "-o"]).arg(&out).args(more);
    command.env("WARPLENS_SHIM", artefacts::shim().unwrap());
    let ended = Child::run(&mut command, folder, "leaks", 2 * LIMIT).unwrap();
    let report = std::fs::read_to_string(out.join("report.json"));
    let report = report.unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.code, serde_json::from_str(&report).unwrap())
}

impl Truth {
    /// It does not grow, or stops.
    fn is_steady(&self) -> bool {
        let steady =
            |verdict: &String| verdict == "growth_to_plateau" || STEADY.contains(&verdict.as_str());
        self.verdicts.iter().any(steady)
    }
}

/// What a place is called.
fn verdict<'r>(report: &'r Value, place: &str) -> Option<&'r str> {
    let mut found = report["memory"]["findings"].as_array()?.iter();
    found.find(|found| found["where"] == place)?["verdict"].as_str()
}

#[test]
fn every_leak_of_the_heap_is_found_within_a_minute_and_nothing_else_is_called_one() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<(Vec<PathBuf>, Truth, u32)> = truths(true)
        .into_iter()
        .zip(SEEDS.into_iter().cycle())
        .map(|(truth, seed)| (program(&truth, folder.path()), truth, seed))
        .collect();
    // They mostly sleep.
    let wrong: Vec<String> = thread::scope(|scope| {
        let look = |(command, truth, seed): &(Vec<PathBuf>, Truth, u32)| {
            let folder = tempfile::tempdir().unwrap();
            let mut process = started(command, truth, *seed, folder.path());
            let look = || leaks(&process, LOOK, folder.path(), &["--fail-on", "0.5"]);
            let (mut code, mut report) = look();
            let mut truth = truth.clone();
            // By chance one steady heap in forty may rise for a minute; the finding says to observe it for longer. A
            // cache is full by then.
            for _ in 1..LOOKS {
                if !truth.is_steady() || verdict(&report, &truth.place) != Some("undecided") {
                    break;
                }
                truth.verdicts.extend(STEADY.map(str::to_owned));
                (code, report) = look();
            }
            assert!(process.alive(), "{truth:?}: it runs on");
            process.signal(Signal::TERM);
            let leaks = truth.verdicts == ["leak"];
            let difference = difference(&truth, SECOND, &report);
            let difference = difference
                .or_else(|| ((code == 3) != leaks).then(|| format!("exit code {code}")))?;
            let memory = &report["memory"]["findings"];
            Some(format!("{truth:?}, seed {seed}: {difference}: {memory:#}"))
        };
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(move || look(case))).collect();
        running.into_iter().filter_map(|one| one.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Nothing of a look stays but the shim, asleep, and the next look finds it.
#[test]
fn a_process_is_looked_at_again_and_left_alone() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    let truth = truths(true).into_iter().find(|truth| truth.program == "host_leak").unwrap();
    let command = program(&truth, folder.path());
    let mut process = started(&command, &truth, 11, folder.path());
    for look in 0..3 {
        let (_code, report) = leaks(&process, "3s", folder.path(), &["--step", "100ms"]);
        let mut found = report["memory"]["findings"].as_array().unwrap().iter();
        let heap = found.find(|found| found["where"] == "host_heap");
        let live = heap.and_then(|heap| heap["live_bytes"].as_u64());
        assert!(live.is_some_and(|live| live > 1 << 20), "look {look}: {report:#}");
    }
    // The shim looks four times a second.
    let asleep = || ring::look(process.pid()).filter(|view| view.level() == 0);
    wait::until(LIMIT, || asleep().map(drop)).unwrap();
    let (_code, report) = leaks(&process, "2s", folder.path(), &["--no-heap"]);
    // What the kernel counts needs nothing of the process.
    let places = report["memory"]["findings"].as_array().unwrap().iter();
    let places: Vec<&Value> = places.map(|found| &found["where"]).collect();
    assert_eq!(places, ["rss"], "{report:#}");
    assert!(process.alive());
    process.signal(Signal::TERM);
}
