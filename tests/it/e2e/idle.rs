//! Idle causes against what the simulator and the program know: one run per cause and one with all
//! of them. `sim_idle.py` makes the gaps, `judge::idle` says what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::{record, warplens};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::server::Run;
use warplens_tests::judge::idle::{self, Bounds, Causes};
use warplens_tests::judge::kernels::Busy;
use warplens_tests::judge::report::Device;
use warplens_tests::judge::sweep::{Interval, instant_after_gaps, sweep};
use warplens_tests::judge::truth::{GroundTruth, Piece};
use warplens_tests::{judge, require};

use super::{LIMIT, assert_exact, assert_recorded, judged, report};

type Span = (u64, u64);

/// A running server that is idle for the given causes.
struct Idler {
    run: Run,
    child: Child,
    sleeps: PathBuf,
}

impl Idler {
    fn start(causes: &[&str], more: &[&str]) -> Self {
        let needs_peer = causes.iter().any(|cause| ["sync", "dependency"].contains(cause));
        let run = Run::new(if needs_peer { 2 } else { 1 })
            .unwrap()
            .with_shim()
            .unwrap()
            .with("WARPLENS_KEEP_FD", "1");
        let sleeps = run.folder().join("sleeps");
        fs::create_dir(&sleeps).unwrap();
        let mut command = run.command(Path::new("python3")).unwrap();
        command.arg(artefacts::program("sim_idle.py")).arg("--folder").arg(&sleeps).args(more);
        command.args(causes.iter().flat_map(|cause| ["--cause", cause]));
        let mut child = Child::start(&mut command, run.folder(), "idler").unwrap();
        child.line("\"serving\"", LIMIT).unwrap();
        Self { run, child, sleeps }
    }

    /// Ends it; its files are whole then.
    fn stop(&mut self) {
        self.child.signal(Signal::TERM);
        let ended = self.child.wait(LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
    }

    /// The first device, whose gaps were made.
    #[expect(clippy::print_stdout, reason = "the figures behind a verdict, shown where it fails")]
    fn judge(&self, out: &Path, sleeps: Option<&Path>) -> (Device, Causes) {
        let judged = idle::judge(&self.run.truth(), sleeps, &out.join("report.json")).unwrap();
        let (device, causes) = judged.into_iter().next().unwrap();
        let rows = idle::compare(&device, &causes);
        let wrong: Vec<_> = rows.iter().filter(|row| !row.agrees()).collect();
        assert!(wrong.is_empty(), "{wrong:#?} of {rows:#?}");
        for row in &rows {
            println!("{}: {}", row.what, row.report);
        }
        println!("widest bracket {} of {} ns", causes.width(), causes.idle);
        (device, causes)
    }
}

/// Records a server that is idle for these causes; the first of them takes at least `percent` of
/// its idle time.
fn check(causes: &[&str], percent: u64) -> Causes {
    let mut idler = Idler::start(causes, &[]);
    let (ended, out) = record(idler.child.pid(), 4, idler.run.folder(), "out").unwrap();
    idler.stop();
    assert_recorded(&idler.run, &ended, &out, causes[0]);
    let (_, found) = idler.judge(&out, Some(&idler.sleeps));
    let cause = causes[0].strip_suffix("_engine").unwrap_or(causes[0]);
    let cause = cause.strip_suffix("_polling").unwrap_or(cause);
    let Bounds { least, most } = found.of(cause);
    assert!(
        least * 100 >= found.idle * percent,
        "only {least} of {} ns idle are {cause}: the scenario shows nothing: {found:?}",
        found.idle
    );
    // What nobody knows must not hide a wrong answer. On a quiet machine it is a few percent.
    assert!(least * 2 >= most, "{found:?}");
    found
}

#[test]
fn nobody_asks_for_anything() {
    require!(E2e);
    check(&["no_requests"], 50);
}

#[test]
fn a_polling_worker_without_requests_is_idle_for_the_same_reason() {
    require!(E2e);
    check(&["no_requests_polling"], 50);
}

#[test]
fn a_busy_host_is_late() {
    require!(E2e);
    let mut idler = Idler::start(&["host_bound"], &[]);
    let (ended, out) = record(idler.child.pid(), 5, idler.run.folder(), "named").unwrap();
    idler.stop();
    assert_eq!(ended.code, 0, "{ended:?}");
    // What makes it late is one function, and that is what is named.
    let late = &report(&out)["devices"][0];
    let all = late["idle_cause_ns"]["host_bound"].as_u64().unwrap();
    let stacks = late["host_bound"].as_array().unwrap();
    let spins = stacks.iter().filter(|stack| {
        stack["frame"].as_str().is_some_and(|frame| frame.starts_with("idle.spin (idle.py:"))
    });
    let named: u64 = spins.map(|stack| stack["total_ns"].as_u64().unwrap()).sum();
    assert!(named * 10 >= all * 8, "{named} of {all} ns: {stacks:#?}");
    check(&["host_bound"], 50);
}

#[test]
fn a_sleeping_worker_of_a_busy_engine_is_late_not_unasked() {
    require!(E2e);
    check(&["host_bound_engine"], 50);
}

#[test]
fn a_host_that_waits_for_a_device_does_not_launch() {
    require!(E2e);
    check(&["sync"], 50);
}

#[test]
fn queued_work_waits_for_another_device() {
    require!(E2e);
    let found = check(&["dependency"], 50);
    // Queued before the device ran dry: no clock but the device's decides.
    assert!(found.of("dependency").least > 0);
}

#[test]
fn queued_work_is_on_its_way() {
    require!(E2e);
    check(&["launch_latency"], 5);
}

#[test]
fn all_causes_in_one_run() {
    require!(E2e);
    let causes = [
        "no_requests",
        "no_requests_polling",
        "host_bound",
        "host_bound_engine",
        "sync",
        "dependency",
        "launch_latency",
    ];
    let found = check(&causes, 10);
    for cause in ["no_requests", "host_bound", "sync", "dependency", "launch_latency"] {
        assert!(found.of(cause).least > 0, "{cause}: {found:?}");
    }
}

/// Without the privilege to load programs nobody knows who slept.
#[test]
fn without_thread_states_long_lulls_have_no_known_cause() {
    require!(E2e);
    let mut idler = Idler::start(&["no_requests"], &["--lull", "0.3"]);
    let out = idler.run.folder().join("out");
    let agent = warplens(&["record", "--pid", &idler.child.pid().to_string(), "-d", "4s"]).unwrap();
    let mut command = without_bpf(&agent);
    command.arg("-o").arg(&out);
    let ended = Child::run(&mut command, idler.run.folder(), "agent", Duration::from_mins(1));
    let ended = ended.unwrap();
    idler.stop();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_exact(&judged(&idler.run, &out), "without kernel programs");
    let (_, found) = idler.judge(&out, None);
    assert!(found.of("unknown").least * 100 >= found.idle * 80, "{found:?}");
    assert!(ended.stderr.contains("thread states"), "{ended:?}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(report.contains("never called no_requests"), "{report}");
}

/// The server that looks like vLLM's, with two workers: nobody asks it for anything for half a second
/// at a time.
#[test]
fn lulls_of_a_server_are_told_from_its_busy_time() {
    require!(E2e);
    let run = Run::new(2).unwrap().with_shim().unwrap();
    let arguments = ["--rate", "6000", "--single-rate", "1500", "--seed", "5", "--lull", "0.5"];
    let mut server = run.serve(&arguments).unwrap();
    let (ended, out) = record(server.pid(), 8, run.folder(), "out").unwrap();
    let stopped = server.stop().unwrap();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_recorded(&run, &ended, &out, "lulls");
    let mut lulls: Vec<Span> = Vec::new();
    // Between two steps, too, the engine has nothing to schedule until the clock says so.
    let mut unasked: Vec<Span> = Vec::new();
    for line in stopped.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["event"] == "lull" {
            lulls.push(serde_json::from_value(line["lull"].clone()).unwrap());
            let more: Vec<Span> = serde_json::from_value(line["unasked"].clone()).unwrap();
            unasked.extend(more);
        }
    }
    let truth = GroundTruth::read(&run.truth()).unwrap();
    let report = report(&out);
    for device in report["devices"].as_array().unwrap() {
        let edge = |name: &str| device["window"][name].as_u64().unwrap();
        let window = (edge("start_ns"), edge("end_ns"));
        let digits = judge::report::digits(device["uuid"].as_str().unwrap());
        // What of that time the device was idle.
        let busy = |seen: &Piece| Interval { start: seen.start, end: seen.end, busy: Busy::Other };
        let ran = truth.devices[&digits].iter().filter(|piece| piece.visible());
        let pieces: Vec<Interval> = ran.map(busy).collect();
        let unobserved = device["exclusive_ns"]["unobserved"].as_u64().unwrap();
        let drained = instant_after_gaps(&pieces, window, unobserved);
        let idle = |more: &[Span]| {
            let more = more.iter().map(|&(start, end)| Interval { start, end, busy: Busy::Other });
            let all: Vec<Interval> = pieces.iter().copied().chain(more).collect();
            sweep(&all, &[], &[], (drained, window.1), drained).idle
        };
        let (least, most) = (idle(&[]) - idle(&lulls), idle(&[]) - idle(&unasked));
        let cause = |name: &str| device["idle_cause_ns"][name].as_u64().unwrap();
        let told = cause("no_requests");
        println!("{told} of {least} to {most} ns: {}", device["idle_cause_ns"]);
        assert!(least > 1_000_000_000, "{lulls:?}");
        // Whoever falls asleep takes a moment, and on a busy machine a longer one; a lull before
        // the first launch has nobody it waits for.
        assert!(told + cause("unknown") > least / 100 * 95, "{told} of at least {least} ns");
        // The worker may sleep for a moment within a step, too.
        assert!(told < most / 100 * 105, "{told} of at most {most} ns");
        assert!(cause("unknown") < 600_000_000);
    }
}

/// The same command with every capability but those to look at processes taken away.
fn without_bpf(agent: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-bpf,-perfmon,-sys_admin", "--inh-caps=-all"]);
    command.arg(agent.get_program()).args(agent.get_args());
    for (key, value) in agent.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command
}

/// All of it sleeps when the agent comes, and goes on doing so: there is no switch of a thread to see.
#[test]
fn a_server_asleep_from_the_start_has_no_requests() {
    require!(E2e);
    let mut idler = Idler::start(&["no_requests"], &["--lull", "60"]);
    let (_, out) = record(idler.child.pid(), 4, idler.run.folder(), "out").unwrap();
    idler.stop();
    let report = report(&out);
    let device = &report["devices"][0];
    let idle = device["exclusive_ns"]["idle"].as_u64().unwrap();
    let told = device["idle_cause_ns"]["no_requests"].as_u64().unwrap();
    assert!(idle > 2_000_000_000, "{device}");
    assert!(told * 100 >= idle * 98, "{device}");
}

/// The engine core is no part of what was asked for, and is looked at all the same: only its sleep
/// tells a lull.
#[test]
fn a_worker_named_alone_is_explained_with_its_engine() {
    require!(E2e);
    let mut idler = Idler::start(&["no_requests"], &[]);
    let worker = worker_of(idler.child.pid());
    let (ended, out) = record(worker, 4, idler.run.folder(), "out").unwrap();
    idler.stop();
    assert_recorded(&idler.run, &ended, &out, "a worker alone");
    let (_, found) = idler.judge(&out, Some(&idler.sleeps));
    assert!(found.of("no_requests").least * 100 >= found.idle * 50, "{found:?}");
}

fn worker_of(pid: u32) -> u32 {
    let title = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let tree = warplens_tests::harness::process::tree(pid);
    tree.into_iter().find(|pid| title(pid).starts_with("VLLM::Worker")).unwrap()
}
