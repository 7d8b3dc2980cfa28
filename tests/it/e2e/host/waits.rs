//! Known time off the CPU: each function's waits, and why it waited.

use warplens_tests::harness::python::{self, Gated, Python};
use warplens_tests::judge::host::{Folded, off_cpu};
use warplens_tests::require;

use super::{assert_ended, folder, observe};

/// Distance from the program's own clock that is allowed, percent. Its clock also counts the time a
/// thread waits for a CPU without having slept, and sleeps too short to be told.
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
        println!("{:>16} {:9.3} ms of {:9.3} ms", row.function, row.found / 1e6, row.truth / 1e6);
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
