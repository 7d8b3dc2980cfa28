//! What happens to workers: killed, stopped, and what they do themselves while they are recorded.

use rustix::process::Signal;
use warplens_tests::harness::agent::assert_refused;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::dice::{self, Dice};
use warplens_tests::judge::honest;
use warplens_tests::judge::truth::GroundTruth;
use warplens_tests::require;

use super::{CALM, END_LIMIT, Host, Trouble, shimmed};

/// How often the simulator writes its truth down, and the time a busy machine takes for it, ns.
const TRUTH_NS: u64 = 1_000_000_000;

#[test]
fn workers_are_killed_at_any_instant() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    for round in 0..dice::rounds(3) {
        let mut host = Host::start(shimmed(), &CALM);
        let (mut agent, out) = host.record(30, "killed");
        // Before it is met, while it is met, and when it is counted.
        if round % 2 > 0 {
            host.wait_until_armed(&agent);
        }
        std::thread::sleep(dice.millis(1500));
        host.child.signal(Signal::KILL);
        let ended = agent.wait(END_LIMIT).unwrap();
        let what = format!("round {round} of killed workers");
        assert_refused(&ended, 1, &host.pid().to_string());
        assert_eq!(host.child.wait(END_LIMIT).unwrap().code, -9, "{what}");
        if !out.join("report.json").exists() {
            continue;
        }
        let truth = GroundTruth::read(&host.run.truth()).unwrap();
        let ends = truth.devices.values().flatten().map(|piece| piece.enter);
        let until = ends.max().unwrap_or(0).saturating_sub(TRUTH_NS);
        let complaints =
            honest::judge_files(&host.run.truth(), &out.join("report.json"), Some(until)).unwrap();
        assert!(complaints.is_empty(), "{what}: {complaints:#?}");
    }
}

#[test]
fn workers_are_stopped_and_go_on() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let mut host = Host::start(shimmed(), &CALM);
    let (mut agent, out) = host.record(6, "stopped");
    host.wait_until_armed(&agent);
    for _ in 0..dice::rounds(4) {
        std::thread::sleep(dice.millis(700));
        for signal in [Signal::STOP, Signal::CONT] {
            host.child.signal(signal);
            host.bare.signal(signal);
            std::thread::sleep(dice.millis(900));
        }
    }
    let ended = agent.wait(END_LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    host.assert_honest(&out, "stopped workers");
    host.finish("stopped workers");
}

/// Records a worker that makes trouble of its own.
fn record_troubled(kind: &str, exact: bool) {
    let seed = dice::seed();
    for round in 0..dice::rounds(2) {
        let what = format!("`{kind}`, round {round}");
        let trouble = Trouble { kind, seed: seed.wrapping_add(round.into()) };
        let mut host = Host::start(shimmed(), &trouble);
        let (mut agent, out) = host.record(3, kind);
        let ended = agent.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        if exact {
            host.assert_exact(&out, &what);
        } else {
            host.assert_honest(&out, &what);
        }
        host.finish(&what);
    }
}

#[test]
fn workers_fork_while_they_launch_and_children_outlive_them() {
    require!(Chaos);
    record_troubled("forks", true);
}

#[test]
fn threads_launch_once_and_end_or_are_cancelled() {
    require!(Chaos);
    record_troubled("threads", true);
}

/// What such a launch came to nobody is told: time behind it is unobserved, and nothing is made up.
#[test]
fn threads_are_cancelled_in_the_middle_of_a_launch() {
    require!(Chaos);
    record_troubled("cancels", false);
}

#[test]
fn libraries_are_opened_and_closed_under_the_feet_of_their_users() {
    require!(Chaos);
    record_troubled("reload", true);
}

/// What the agent makes of such a ring is anything; it comes to an end, and the worker to its own.
#[test]
fn workers_scribble_over_the_ring() {
    require!(Chaos);
    let seed = dice::seed();
    for round in 0..dice::rounds(2) {
        let what = format!("scribbling, round {round}");
        let seed = seed.wrapping_add(round.into());
        let trouble = Trouble { kind: "scribble", seed };
        let mut host = Host::start(shimmed(), &trouble);
        let (mut agent, _out) = host.record(3, "scribble");
        let ended = agent.wait(END_LIMIT).unwrap();
        assert!([0, 1].contains(&ended.code), "{what}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{what}: {ended:?}");
        host.finish(&what);
    }
}

/// The second life has a ring of its own; what the agent saw of the first one ends with it.
#[test]
fn workers_become_another_program() {
    require!(Chaos);
    let seed = dice::seed();
    for round in 0..dice::rounds(2) {
        let what = format!("exec, round {round}");
        let trouble = Trouble { kind: "exec", seed: seed.wrapping_add(round.into()) };
        let mut host = Host::start(shimmed(), &trouble);
        let (mut agent, _out) = host.record(4, "exec");
        let ended = agent.wait(END_LIMIT).unwrap();
        assert!([0, 1].contains(&ended.code), "{what}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{what}: {ended:?}");
        host.finish(&what);
    }
}

/// A libcupti of somebody else's, with some of its habits, under a whole agent.
#[test]
fn a_foreign_cupti_has_its_habits() {
    require!(Chaos);
    let seed = dice::seed();
    let mut dice = Dice::new(seed);
    let habits =
        ["long-records", "strangers", "shuffled", "crowd", "tiny-stacks", "launching-threads"]
            .into_iter()
            .chain([
                "small-fills",
                "odd-graphs",
                "nested-callbacks",
                "flush-elsewhere",
                "late-buffers",
            ])
            .chain(["no-times", "unasked-callbacks", "pairs", "early-buffers", "empties", "drops"])
            .collect::<Vec<_>>();
    for round in 0..dice::rounds(3) {
        let mut items = vec![format!("seed={}", seed.wrapping_add(round.into()))];
        items.extend((0..4).map(|_| habits[dice.below(habits.len())].to_owned()));
        let character = items.join(",");
        let library = artefacts::foreign_cupti().unwrap();
        let run = shimmed()
            .with("WARPLENS_CUPTI", library.to_str().unwrap())
            .with("WARPLENS_SIM_FOREIGN", &character);
        let mut host = Host::start(run, &CALM);
        let (mut agent, out) = host.record(3, "foreign");
        let ended = agent.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{character}: {ended:?}");
        host.assert_honest(&out, &character);
        host.finish(&character);
    }
}
