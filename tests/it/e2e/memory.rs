//! Programs that take memory of the device, pinned memory and that of the virtual-memory API, each with what it does:
//! `tests/programs/memory`. All on the simulated CUDA. Those that take the host's: [`host`].

mod host;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Deserialize;
use serde_json::Value;
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::hostile::build_memory;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;

use super::LIMIT;

/// What a program does, by `truth.json`.
#[derive(Clone, Debug, Deserialize)]
struct Truth {
    program: String,
    #[serde(default)]
    honest: bool,
    place: String,
    /// One of these.
    verdicts: Vec<String>,
    /// Functions of a leak's stack, the innermost first.
    #[serde(default)]
    called: Vec<String>,
    /// Of the program's own seconds.
    #[serde(default)]
    bytes_per_second: f64,
    #[serde(default)]
    released_and_mapped: bool,
}

/// Of programs that take the host's memory, or CUDA's.
fn truths(host: bool) -> Vec<Truth> {
    let text = fs::read_to_string(artefacts::program("memory").join("truth.json")).unwrap();
    let all: Vec<Truth> = serde_json::from_str(&text).unwrap();
    all.into_iter().filter(|truth| truth.program.starts_with("host_") == host).collect()
}

/// Of the programs' own dice. The rest is the machine's.
const SEEDS: [u32; 2] = [11, 12];

/// Milliseconds of a program's second, and how many it runs.
const SECOND: u64 = 50;
const SECONDS: u64 = 80;

/// Runs a program under `warplens run` for so many of its seconds; the report.
fn observed(program: &Path, truth: &Truth, seed: u32, seconds: u64) -> Value {
    let place = Run::new(1).unwrap();
    let out = place.folder().join("out");
    let step = format!("{}ms", SECOND / 5);
    let mut command = warplens(&["run", "--cpu-hz", "0", "--memory-step", &step, "-o"]).unwrap();
    command.arg(&out).arg("--").arg(program);
    command.args(["--seed", &seed.to_string(), "--second", &SECOND.to_string()]);
    command.args(["--seconds", &seconds.to_string()]);
    if truth.honest {
        command.arg("--honest");
    }
    command
        .env("LD_LIBRARY_PATH", artefacts::simulator().unwrap())
        .env("WARPLENS_SIM_DEVICES", "1")
        .env("WARPLENS_SHIM", artefacts::shim().unwrap());
    let ended = Child::run(&mut command, place.folder(), "run", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{truth:?}: {ended:?}");
    serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
}

/// What of the report does not agree with the truth. `second`: milliseconds of the program's.
fn difference(truth: &Truth, second: u64, report: &Value) -> Option<String> {
    let findings = report["memory"]["findings"].as_array()?;
    let of_place: Vec<&Value> =
        findings.iter().filter(|found| found["where"] == truth.place.as_str()).collect();
    let Some(found) = of_place.first() else {
        return Some("nothing is said".to_owned());
    };
    let verdict = found["verdict"].as_str().unwrap_or_default();
    if !truth.verdicts.iter().any(|one| one == verdict) {
        return Some(format!("called {verdict}"));
    }
    if found["confidence"].as_f64().unwrap_or(0.0) <= 0.0 {
        return Some("said without confidence".to_owned());
    }
    let unseen = report["memory"]["processes"][0]["unseen"].as_array()?;
    if !unseen.is_empty() {
        return Some(format!("not seen: {unseen:?}"));
    }
    if truth.called.is_empty() {
        return None;
    }
    let stack: Vec<&str> = found["stack"].as_array()?.iter().filter_map(Value::as_str).collect();
    let mut inwards = stack.iter().rev();
    // Of Python with the module and the line.
    let is = |frame: &str, function: &str| {
        let name = frame.split(" (").next().unwrap_or(frame);
        // Of C++ with its arguments.
        let bare = name.split('(').next().unwrap_or(name);
        name == function || bare.rsplit('.').next() == Some(function)
    };
    if !truth.called.iter().all(|function| inwards.any(|frame| is(frame, function))) {
        return Some(format!("the stack is {stack:?}"));
    }
    let mapped = report["memory"]["processes"][0]["released_and_mapped"].as_u64().unwrap_or(0);
    if truth.released_and_mapped != (mapped > 0) {
        return Some(format!("{mapped} bytes are released and mapped"));
    }
    // A second of the program is shorter than one of the clock, by what calls take longer.
    let shown = found["ci"].as_array()?.iter().filter_map(Value::as_f64).collect::<Vec<_>>();
    let rate = truth.bytes_per_second * 1000.0 / f64::from(u32::try_from(second).unwrap());
    let near = shown[0] <= rate * 1.1 && shown[1] >= rate * 0.7;
    (!near).then(|| format!("{shown:?} bytes a second, of {rate}"))
}

#[test]
fn every_leak_is_found_with_its_code_and_nothing_else_is_called_one() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    let mut cases: Vec<(PathBuf, Truth, u32)> = Vec::new();
    for truth in truths(false) {
        let program = build_memory(&truth.program, folder.path()).unwrap();
        cases.extend(SEEDS.map(|seed| (program.clone(), truth.clone(), seed)));
    }
    let mut wrong: Vec<String> = Vec::new();
    for some in cases.chunks(4) {
        let told: Vec<Option<String>> = thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|(program, truth, seed)| {
                    scope.spawn(move || {
                        let report = observed(program, truth, *seed, SECONDS);
                        let difference = difference(truth, SECOND, &report)?;
                        let memory = &report["memory"]["findings"];
                        Some(format!("{truth:?}, seed {seed}: {difference}: {memory:#}"))
                    })
                })
                .collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        wrong.extend(told.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The truth of a program that leaks.
fn leaking(program: &str) -> Truth {
    truths(false).into_iter().find(|truth| truth.program == program && !truth.honest).unwrap()
}

#[test]
fn sixty_four_mib_a_cycle_is_a_leak_within_three_cycles() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    let truth = leaking("sleep_wake");
    let program = build_memory(&truth.program, folder.path()).unwrap();
    for seed in SEEDS {
        // Cycles of four seconds.
        let report = observed(&program, &truth, seed, 12);
        let found = &report["memory"]["findings"][0];
        let evidence = &report["memory"];
        assert_eq!(found["verdict"], "leak", "seed {seed}: {evidence:#}");
        assert_eq!(found["live_bytes"], 3 << 26, "seed {seed}: {evidence:#}");
    }
}

/// Of a process that runs, from some time on: what it freed before nobody knows.
#[test]
fn leaks_finds_what_a_running_process_leaks_and_says_so_with_its_exit_code() {
    require!(E2e);
    let place = Run::new(1).unwrap().with_shim().unwrap();
    let program = build_memory("pinned_cache", place.folder()).unwrap();
    let start = |arguments: &[&str], name: &str| {
        let mut command = place.command(&program).unwrap();
        command.args(["--second", "50", "--seconds", "2000"]).args(arguments);
        Child::start(&mut command, place.folder(), name).unwrap()
    };
    let look = |process: &Child, name: &str| {
        wait::until(LIMIT, || ring::look(process.pid())).unwrap();
        let out = place.folder().join(name);
        let mut command = warplens(&["leaks", "--pid", &process.pid().to_string()]).unwrap();
        command.args(["-d", "4s", "--step", "10ms", "--fail-on", "0.1", "--json", "-o"]).arg(&out);
        let ended = Child::run(&mut command, place.folder(), name, LIMIT).unwrap();
        let told: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((&told["schema"], &told["simulated"]), (&1.into(), &true.into()), "{told:#}");
        assert!(out.join("memory.svg").exists(), "{ended:?}");
        (ended, told["findings"][0].clone())
    };
    let leaking = start(&[], "leaking");
    let (ended, found) = look(&leaking, "found");
    assert_eq!(ended.code, 3, "{ended:?}");
    let what = (&found["verdict"], &found["where"], &found["process"]["pid"]);
    assert_eq!(what, (&"leak".into(), &"pinned".into(), &leaking.pid().into()), "{found:#}");
    let stack = found["stack"].as_array().unwrap();
    assert!(stack.iter().any(|frame| frame == "stage_request"), "{found:#}");

    let mut sawing = Child::start(
        place.command(&build_memory("batches", place.folder()).unwrap()).unwrap().args([
            "--second",
            "50",
            "--seconds",
            "2000",
        ]),
        place.folder(),
        "sawing",
    )
    .unwrap();
    let (ended, found) = look(&sawing, "sawtooth");
    assert_eq!((ended.code, &found["verdict"]), (0, &"sawtooth".into()), "{ended:?}");
    assert!(sawing.alive(), "it runs on");
}
