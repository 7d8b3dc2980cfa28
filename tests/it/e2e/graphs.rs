//! Kernels replayed from graphs hang under the stack they were captured under, to the nanosecond, however
//! the graph came about and whichever agent saw its capture.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::{record, start_record, warplens};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::judge::captures::{self, Expected};
use warplens_tests::judge::shares;
use warplens_tests::require;
use wire::shim::Level;

use super::{LIMIT, assert_recorded, same_when_analyzed};

/// The last libcupti whose records do not tell the source node, and the first whose do.
const WITHOUT_SOURCE: &str = "13.3";
const WITH_SOURCE: &str = "13.4";

const BEFORE_SHIM: &str = "[captured before the shim was there]";
const NOT_TAKEN: &str = "[capture stack not taken]";
const UPDATED: &str = "[graph updated since its capture]";

fn run(cupti: &str) -> Run {
    Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_SIM_CUPTI", cupti)
}

fn work(run: &Run, scenario: &str, more: &[&str]) -> Child {
    let arguments = ["--seconds", "0", "--rate", "400", "--graphs", "60", "--scenario", scenario];
    run.work(&[&arguments, more].concat()).unwrap()
}

fn wait_for(pid: u32, level: Level) {
    let there = wait::until(LIMIT, || {
        ring::look(pid).filter(|view| view.level() >= level as u32).map(|_view| ())
    });
    assert!(there.is_some(), "never at level {level:?}");
}

/// Ends the worker and holds the profile against the truth.
fn assert_captures(
    run: &Run,
    worker: &mut Child,
    (ended, out): (&Ended, &Path),
    expected: Expected<'_>,
    what: &str,
) {
    worker.signal(Signal::TERM);
    let end = worker.wait(LIMIT).unwrap();
    assert_eq!(end.code, 0, "{what}: {end:?}");
    assert_recorded(run, ended, out, what);
    let output = shares::worker_output(&run.folder().join("worker.stdout")).unwrap();
    assert!(output.capture_labels.len() > 5, "{output:?}");
    let rows = captures::judge(&run.truth(), out, &output.capture_labels, expected).unwrap();
    assert!(rows.iter().any(|row| row.truth > 10_000_000), "{what}: nothing replayed: {rows:#?}");
    let differences: Vec<_> = rows.iter().filter(|row| !row.agrees()).collect();
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

/// The agent is there when graphs are captured.
fn captured_under_the_agent(scenario: &str, cupti: &str, expected: Expected<'_>) {
    let run = run(cupti);
    let mut worker = work(&run, scenario, &["--capture-on-signal"]);
    let (mut agent, out) = start_record(worker.pid(), 4, run.folder(), "out").unwrap();
    wait_for(worker.pid(), Level::Stacks);
    worker.signal(Signal::USR1);
    let ended = agent.wait(LIMIT).unwrap();
    let what = format!("{scenario} with libcupti {cupti}");
    assert_captures(&run, &mut worker, (&ended, &out), expected, &what);
    same_when_analyzed(&run, &out);
}

#[test]
fn every_replayed_kernel_hangs_under_its_capture_by_the_chain_of_clones() {
    require!(E2e);
    for scenario in ["full", "pieces", "clone", "child", "recapture"] {
        captured_under_the_agent(scenario, WITHOUT_SOURCE, Expected::Stacks);
    }
}

#[test]
fn every_replayed_kernel_hangs_under_its_capture_by_the_source_node() {
    require!(E2e);
    for scenario in ["full", "pieces", "clone", "child", "recapture", "update"] {
        captured_under_the_agent(scenario, WITH_SOURCE, Expected::Stacks);
    }
}

#[test]
fn an_update_that_cannot_be_followed_is_said_to_be() {
    require!(E2e);
    captured_under_the_agent("update", WITHOUT_SOURCE, Expected::Marker(UPDATED));
}

#[test]
fn capture_stacks_outlive_the_agent_that_took_them() {
    require!(E2e);
    for (scenario, cupti) in [("child", WITHOUT_SOURCE), ("full", WITH_SOURCE)] {
        let run = run(cupti);
        let mut worker = work(&run, scenario, &["--capture-on-signal"]);
        let (mut first, _) = start_record(worker.pid(), 2, run.folder(), "first").unwrap();
        wait_for(worker.pid(), Level::Stacks);
        worker.signal(Signal::USR1);
        let ended = first.wait(LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
        let (ended, out) = record(worker.pid(), 3, run.folder(), "second").unwrap();
        let what = format!("{scenario} under a second agent");
        assert_captures(&run, &mut worker, (&ended, &out), Expected::Stacks, &what);
        same_when_analyzed(&run, &out);
    }
}

#[test]
fn what_was_captured_without_an_agent_or_a_shim_is_said_to_be() {
    require!(E2e);
    for cupti in [WITHOUT_SOURCE, WITH_SOURCE] {
        for (level, marker) in [("watching", NOT_TAKEN), ("dormant", BEFORE_SHIM)] {
            let run = run(cupti).with("WARPLENS_LEVEL", level);
            let mut worker = work(&run, "full", &[]);
            // Long enough for a capture.
            std::thread::sleep(Duration::from_millis(300));
            let (ended, out) = record(worker.pid(), 2, run.folder(), "out").unwrap();
            let what = format!("captured at level {level} with libcupti {cupti}");
            let expected = Expected::Marker(marker);
            assert_captures(&run, &mut worker, (&ended, &out), expected, &what);
        }
    }
}

/// The tables of a worker and the size of a profile, in the middle and at the end of many replays.
#[test]
fn replays_leave_the_graph_table_as_it_is() {
    require!(E2e);
    let run = run(WITHOUT_SOURCE);
    let mut worker = run
        .work(&["--seconds", "0", "--rate", "100", "--graphs", "1000", "--capture-on-signal"])
        .unwrap();
    let (mut agent, out) = start_record(worker.pid(), 6, run.folder(), "out").unwrap();
    wait_for(worker.pid(), Level::Stacks);
    worker.signal(Signal::USR1);
    let used = || ring::look(worker.pid()).map(|view| view.graph_tables());
    let captured = wait::until(LIMIT, || used().filter(|used| used.0 > 0)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let early = used().unwrap();
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(used(), Some(early), "after the first replays {captured:?}");
    // 25 kernels at five places, captured once and cloned once, one executable graph, one graph gone.
    assert_eq!((early.0, early.1 > 5), (52, true), "{early:?}");
    let what = "many replays";
    assert_captures(&run, &mut worker, (&ended, &out), Expected::Stacks, what);
    let folded = std::fs::read_to_string(out.join("gpu.folded")).unwrap();
    let lines = folded.lines().filter(|line| line.contains(";[graph ")).count();
    assert!((5..40).contains(&lines), "{lines} different stacks of five kernels");
}

/// vLLM's way: whole graphs for decoding and pieces around attention, captured while the server starts.
#[test]
fn a_server_observed_from_its_start_has_every_capture_stack() {
    require!(E2e);
    let run = Run::new(2).unwrap();
    let out = run.folder().join("out");
    let mut command = warplens(&["run", "-o", out.to_str().unwrap(), "--", "python3"]).unwrap();
    command
        .arg(artefacts::program("sim_vllm.py"))
        .args(["--gpus", "2", "--seconds", "5", "--rate", "6000", "--single-rate", "1500"])
        .env("LD_LIBRARY_PATH", artefacts::simulator().unwrap())
        .env("WARPLENS_SHIM", artefacts::shim().unwrap())
        .env("WARPLENS_SIM_DEVICES", "2")
        .env("WARPLENS_SIM_TRUTH", run.truth());
    let ended = Child::run(&mut command, run.folder(), "run", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let folded = std::fs::read_to_string(out.join("gpu.folded")).unwrap();
    let graphs: Vec<(&str, &str)> =
        folded.lines().filter_map(|line| line.split_once(";[graph ")).collect();
    // Six batch sizes, and pieces of several layers.
    let executed: std::collections::BTreeSet<&str> =
        graphs.iter().filter_map(|(_, rest)| Some(rest.split_once(']')?.0)).collect();
    assert!(executed.len() > 8, "{executed:?}");
    let of_copies = |rest: &str| rest.contains(";[memcpy") || rest.contains(";[memset");
    let without: Vec<&str> = graphs
        .iter()
        .map(|&(_, rest)| rest)
        .filter(|rest| !rest.contains("cudaLaunchKernel;") && !of_copies(rest))
        .collect();
    assert!(without.is_empty(), "{without:#?}");
}
