//! A program that forges an interpreter's structures: whatever it says, the work is bounded, nothing of
//! ours is read, and what cannot be told is counted.

use std::path::Path;
use std::process::Command;

use warplens::python::{
    PythonError, PythonLosses, PythonSymbols, Runtime, UNKNOWN, Version, Walked,
};
use wire::kernel::python_walk;
use wire::limits::PYTHON_FRAMES;

use crate::support::{Program, asleep};

struct Seen {
    walked: Walked,
    functions: Vec<String>,
    losses: PythonLosses,
}

/// Finds, walks and names the forged interpreter.
fn look(mode: &str) -> Result<Seen, PythonError> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("python3.12");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/hostile.c");
    let status = Command::new("cc")
        .args(["-O1", "-w", "-rdynamic", "-pthread", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success());
    let mut program = Program::start(Command::new(&program).arg(mode));
    assert_eq!(program.line().as_deref(), Some("ready"));
    asleep(program.pid(), program.pid());
    let runtime = Runtime::find(program.pid(), |_| None)?.expect("it looks like one");
    assert_eq!(runtime.version(), Version::V3_12);
    let walked = runtime.walk(program.pid());
    assert!(walked.frames.len() <= PYTHON_FRAMES);
    let mut symbols = PythonSymbols::new();
    let mut functions = Vec::new();
    for frame in &walked.frames {
        let number = symbols.number(&runtime, frame, 1);
        if number != UNKNOWN {
            functions.push(symbols.frame(number).function);
        }
    }
    let losses = symbols.losses();
    Ok(Seen { walked, functions, losses })
}

fn is_named(function: &str) -> bool {
    function.starts_with("evil\u{fffd}\u{fffd}[31m") && !function.contains(char::is_control)
}

#[test]
fn what_it_says_is_shown_without_its_control_characters() {
    let seen = look("honest").unwrap();
    assert_eq!(seen.walked.end, python_walk::WHOLE);
    assert_eq!(seen.functions.len(), 2);
    assert!(seen.functions.iter().all(|function| is_named(function)), "{:?}", seen.functions);
    assert_eq!(seen.losses, PythonLosses::default());
}

#[test]
fn frames_in_a_circle_are_cut() {
    let seen = look("loop").unwrap();
    assert_eq!(
        (seen.walked.frames.len(), seen.walked.end),
        (PYTHON_FRAMES, python_walk::TRUNCATED)
    );
}

#[test]
fn wild_pointers_end_the_walk() {
    for mode in ["wild", "kernel"] {
        let seen = look(mode).unwrap();
        assert_eq!((seen.walked.frames.len(), seen.walked.end), (2, python_walk::FAULT), "{mode}");
        assert_eq!(seen.functions.len(), 1);
        assert_eq!(seen.losses.unreadable, 1);
    }
}

#[test]
fn a_list_of_threads_without_an_end_is_left() {
    let seen = look("threads").unwrap();
    assert_eq!(seen.walked.end, python_walk::NO_THREAD_STATE);
}

#[test]
fn absurd_lengths_are_refused() {
    let seen = look("strings").unwrap();
    // The first 4096 characters of what follows in its memory, or nothing.
    assert!(seen.functions.iter().all(|function| function.chars().count() < 3 * 4097));
    for mode in ["table", "large table"] {
        let seen = look(mode).unwrap();
        assert_eq!(seen.functions.len(), 2, "{mode}");
    }
}

#[test]
fn structures_that_are_nowhere_are_refused() {
    for (mode, passes) in [("lock", true), ("interpreter", true), ("key", false)] {
        let error = look(mode).map(|seen| seen.functions).unwrap_err();
        assert_eq!(error.passes(), passes, "{mode}: {error}");
    }
}
