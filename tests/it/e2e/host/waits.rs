//! Known time off the CPU: each function's waits, and why it waited.

use warplens_tests::harness::python::{self, Gated, Python};
use warplens_tests::judge::host::{Folded, off_cpu};
use warplens_tests::require;

use super::{assert_ended, folder, observe};

/// Distance allowed from what the program's own clocks say, percent: sleeps too short to be told.
const BOUND_PERCENT: f64 = 3.0;

/// What sleeps too short to be told lasted in all, as the report says, ns.
fn short_sleeps(report: &str) -> f64 {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let notes = report["notes"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str);
    let all = notes.filter_map(|note| note.split_once("sleeps were too short to be told, "));
    all.filter_map(|(_, all)| all.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() * 1e6
}

fn waits_of(python: &Python) {
    let folder = folder();
    let mut program =
        Gated::start(&mut python.program("waits.py"), folder.path(), "program").unwrap();
    let observed = observe(&mut program, folder);
    assert_ended(program);
    let text = observed.text("offcpu.folded");
    let folded = Folded::parse(&text).unwrap();
    let verdict = off_cpu(&folded, &observed.truth);
    let what = python.describe();
    println!("{what}: worst {:.2} %", verdict.worst_percent());
    for row in verdict.judged.iter().chain(&verdict.others) {
        let [found, least, most] = [row.found, row.least, row.most].map(|ns| ns / 1e6);
        println!("{:>16} {found:9.3} ms of {least:9.3} to {most:9.3} ms", row.function);
    }
    assert!(verdict.judged.len() >= 8, "{what}: {verdict:#?}");
    let mut excused = short_sleeps(&observed.text("report.json"));
    for row in verdict.judged.iter().filter(|row| row.distance_percent() >= BOUND_PERCENT) {
        println!("{:>16} is off; {:.3} ms were too short to be told", row.function, excused / 1e6);
        excused -= row.least - row.found;
        assert!(row.found < row.least && excused >= 0.0, "{what}: {verdict:#?}");
    }
    assert!(verdict.misplaced.is_empty(), "{what}: {:#?}", verdict.misplaced);
}

#[test]
fn every_function_waited_as_long_as_it_says_on_the_required_versions() {
    require!(E2e);
    for python in python::required().unwrap() {
        waits_of(&python);
    }
}

#[test]
fn every_function_waited_as_long_as_it_says_on_whatever_else_is_there() {
    require!(E2e);
    let required = python::required().unwrap();
    for python in python::all().iter().filter(|python| !required.contains(python)) {
        waits_of(python);
    }
}
