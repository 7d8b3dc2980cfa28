//! Known time off the CPU: each function's waits, and why it waited.

use warplens_tests::harness::python::{self, Gated, Python};
use warplens_tests::judge::host::{Folded, off_cpu};
use warplens_tests::require;

use super::{assert_ended, folder, observe};

/// Distance allowed from what the program's own clocks say, percent: sleeps too short to be told.
const BOUND_PERCENT: f64 = 3.0;

/// The longest of the program's waits, each of 30 ms and what a busy machine adds, ns.
const LONGEST_NS: f64 = 45e6;

/// Sleeps whose time is missing, as the report says: some virtual machines do not tell every switch.
fn missing_sleeps(report: &str) -> u32 {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let notes = report["notes"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str);
    let told = notes.filter(|note| note.contains("sleeps have no known end"));
    told.filter_map(|note| note.split(' ').next()?.parse::<u32>().ok()).sum()
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
    let missing = missing_sleeps(&observed.text("report.json"));
    let mut excused = f64::from(missing) * LONGEST_NS;
    for row in verdict.judged.iter().filter(|row| row.distance_percent() >= BOUND_PERCENT) {
        println!("{:>16} is off, and the report misses {missing} sleeps", row.function);
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
