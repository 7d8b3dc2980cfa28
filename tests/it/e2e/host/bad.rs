//! Processes that are not what they seem, or not for long: the agent does bounded work, says what it
//! could not read, and goes on with the others.

use std::time::{Duration, Instant};

use warplens_tests::harness::agent::Recording;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::harness::python::{self, Gated};
use warplens_tests::harness::{hostile, process};
use warplens_tests::judge::host::{Folded, PythonFrame};
use warplens_tests::require;

use super::{HZ, assert_ended, assert_shares, folder};

/// What the agent may have of its own while it looks at a hostile process, MiB: what it has at a healthy
/// one, and every table of Python's names full.
const AGENT_MIB: f64 = 250.0;
/// And how much of a processor it may use, at ten times the usual frequency.
const AGENT_CORES: f64 = 0.6;
/// Characters of a frame: a module, a function and a file, each as long as a name may be, and a line.
const FRAME_MAX: usize = 3 * 4096 + 20;
const LIMIT: Duration = Duration::from_secs(30);

/// How much CPU and memory the agent used.
struct Cost {
    pid: u32,
    began: Instant,
    cpu_seconds: f64,
}

impl Cost {
    fn begin(pid: u32) -> Self {
        Self { pid, began: Instant::now(), cpu_seconds: process::cpu_seconds(pid).unwrap() }
    }

    fn assert_bounded(&self, what: &str) {
        let spent = process::cpu_seconds(self.pid).unwrap() - self.cpu_seconds;
        let cores = spent / self.began.elapsed().as_secs_f64();
        let memory = process::status_mib(self.pid, "RssAnon").unwrap();
        println!("{what}: the agent used {cores:.3} cores and {memory:.1} MiB");
        assert!(cores < AGENT_CORES, "{what}: {cores} cores");
        assert!(memory < AGENT_MIB, "{what}: {memory} MiB");
    }
}

/// A process that forges Python's structures, beside a program whose shares must stay right.
fn beside_a_forger(trap: &str) {
    let python = &python::required().unwrap()[1];
    let folder = folder();
    let forger = hostile::build_forger(folder.path()).unwrap();
    let mut trapped = Child::start(command(&forger).arg(trap), folder.path(), "forger").unwrap();
    trapped.line("ready", LIMIT).unwrap();
    let mut shares = python.program("shares.py");
    shares.args(["--cpu-seconds", "6"]);
    let mut program = Gated::start(&mut shares, folder.path(), "program").unwrap();
    let pids = [program.child.pid(), trapped.pid()];
    let recording = Recording::of_host(&pids, HZ, folder.path(), "out").unwrap();
    let agent = recording.child.pid();
    let cost = Cost::begin(agent);
    let truth = program.work(super::WORK_LIMIT).unwrap();
    cost.assert_bounded(trap);
    let observed = finish_work(recording, truth, folder);
    assert_ended(program);
    assert!(trapped.alive(), "nobody stopped the hostile process");
    trapped.close_input();
    assert_eq!(trapped.wait(LIMIT).unwrap().code, 0);

    let text = observed.text("cpu.folded");
    let folded = Folded::parse(&text).unwrap();
    // Whoever runs `_PyEval_EvalFrameDefault` in the forger's own file is the forger.
    let healthy: String = text
        .lines()
        .filter(|line| is_of(line, "shares.py"))
        .fold(String::new(), |all, line| all + line + "\n");
    let forged = folded.total() - Folded::parse(&healthy).unwrap().total();
    println!("{trap}: {forged} of {} samples are not of the healthy program", folded.total());
    assert!(forged > 500, "{trap}: the hostile process was hardly sampled: {forged}");
    assert_shares(&healthy, &observed.truth, 5_000, trap);
    for frame in folded.stacks.iter().flat_map(|(frames, _)| frames) {
        let length = frame.chars().count();
        assert!(length <= FRAME_MAX, "{trap}: a frame of {length} characters");
        assert!(!frame.chars().any(char::is_control), "{trap}: {frame:?}");
    }
    // What could not be read is said: by the stacks, or by the report, which names the process.
    let report = observed.text("report.json");
    let said = text.contains("[cut") || report.contains(&pids[1].to_string());
    assert!(said, "{trap}: nothing says that the forger's Python could not be read");
}

fn finish_work(
    recording: Recording,
    truth: warplens_tests::judge::host::ProgramTruth,
    folder: tempfile::TempDir,
) -> super::Observed {
    let (ended, _out) = recording.finish().unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    super::Observed { truth, folder }
}

fn is_of(line: &str, file: &str) -> bool {
    line.rsplit_once(' ').is_some_and(|(stack, _)| {
        stack.split(';').filter_map(PythonFrame::parse).any(|frame| frame.file == file)
    })
}

#[test]
fn frames_that_call_themselves_end_somewhere() {
    require!(E2e);
    beside_a_forger("loop");
}

#[test]
fn endless_code_objects_fill_no_memory() {
    require!(E2e);
    beside_a_forger("long");
}

#[test]
fn pointers_to_anywhere_lead_nowhere() {
    require!(E2e);
    beside_a_forger("wild");
}

#[test]
fn absurd_lengths_are_not_believed() {
    require!(E2e);
    beside_a_forger("absurd");
}

#[test]
fn structures_that_change_while_they_are_read_do_no_harm() {
    require!(E2e);
    beside_a_forger("changing");
}

/// Children fork, exec, die and are killed at every moment.
#[test]
fn a_storm_of_processes_is_survived() {
    require!(E2e);
    for python in python::required().unwrap() {
        let folder = folder();
        let mut program =
            Gated::start(&mut python.program("storm.py"), folder.path(), "program").unwrap();
        let pid = program.child.pid();
        let recording = Recording::of_host(&[pid], HZ, folder.path(), "out").unwrap();
        let cost = Cost::begin(recording.child.pid());
        let truth = program.work(super::WORK_LIMIT).unwrap();
        cost.assert_bounded("storm");
        let observed = finish_work(recording, truth, folder);
        assert_ended(program);
        let text = observed.text("cpu.folded");
        let folded = Folded::parse(&text).unwrap();
        let steady = folded.percent_with(|frame| {
            PythonFrame::parse(frame).is_some_and(|frame| frame.function == "storm.steady")
        });
        println!("storm: {} samples, {steady:.1} % in its function", folded.total());
        let own = observed.truth.truth["steady"].cpu_ns;
        // Its own samples alone; the children's come on top.
        let least = own / 1_000_000_000 * u64::from(HZ) / 2;
        assert!(folded.total() >= least, "{} of {least} samples", folded.total());
        assert!(steady > 5.0, "{steady} % in the steady function");
    }
}
