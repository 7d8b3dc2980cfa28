//! Known time off the CPU: each function's waits, and why it waited.

use warplens_tests::harness::python::{self, Gated, Python};
use warplens_tests::judge::host::{Folded, off_cpu};
use warplens_tests::require;

use super::{assert_ended, folder, observe};

/// Distance allowed from what the program's own clocks say, percent: sleeps too short to be told.
const BOUND_PERCENT: f64 = 3.0;

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
    assert!(verdict.worst_percent() < BOUND_PERCENT, "{what}: {verdict:#?}");
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
