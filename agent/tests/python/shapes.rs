//! Stacks of many shapes: every frame's function, file and line equals what the interpreter says, and
//! native and Python frames make one stack.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use warplens::capture::Frame;
use warplens::python::{Native, PythonSymbols, Runtime, Version, Walked, merge};
use warplens::stack::{Place, Remark};
use wire::kernel::python_walk;
use wire::limits::PYTHON_FRAMES;

use crate::support::{Program, asleep, find, interpreters};

#[test]
fn of_3_10() {
    every("shapes::of_3_10", Version::V3_10);
}

#[test]
fn of_3_11() {
    every("shapes::of_3_11", Version::V3_11);
}

#[test]
fn of_3_12() {
    every("shapes::of_3_12", Version::V3_12);
}

#[test]
fn of_3_13() {
    every("shapes::of_3_13", Version::V3_13);
}

#[test]
fn of_3_14() {
    every("shapes::of_3_14", Version::V3_14);
}

fn every(test: &str, version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let library = compile(&folder);
    for interpreter in interpreters(test, &version.to_string()) {
        check(&interpreter, &library, version);
    }
}

fn compile(folder: &TempDir) -> std::path::PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/checkpoint.c");
    let library = folder.path().join("checkpoint.so");
    let status = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("the C compiler that links Rust programs");
    assert!(status.success());
    library
}

fn check(interpreter: &Path, library: &Path, version: Version) {
    let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/shapes.py");
    let mut command = Command::new(interpreter);
    let mut program = Program::start(command.arg(&shapes).env("CHECKPOINT", library));
    let mut found: Option<Runtime> = None;
    let mut symbols = PythonSymbols::new();
    let mut count = 0;
    while let Some(line) = program.line() {
        let truth: Value = serde_json::from_str(&line).expect("a line of the program");
        let shape = truth["shape"].as_str().unwrap();
        let tid = u32::try_from(truth["tid"].as_u64().unwrap()).unwrap();
        let native = program.line().expect("the native stack");
        let native: Vec<u64> =
            native.split(' ').map(|address| u64::from_str_radix(address, 16).unwrap()).collect();
        asleep(program.pid(), tid);
        let runtime = found.get_or_insert_with(|| find(program.pid()));
        assert_eq!(runtime.version(), version);
        let context = format!("{} of {}", shape, interpreter.display());
        let walked = runtime.walk(tid);
        let mut place = Vec::new();
        let places = merge(runtime.seams(), whole(&native), &walked.frames, walked.end, |frame| {
            let found = symbols.place(runtime, frame, 1_000_000_000 * (count + 1));
            place.push(found);
            found
        });
        let frames: Vec<Frame> = place
            .iter()
            .map(|place| match place {
                Place::Python(number) => symbols.frame(*number),
                other => panic!("{other:?}"),
            })
            .collect();
        compare(&context, &truth["frames"], &frames, &walked);
        fits(&context, runtime, &places, &walked);
        count += 1;
        program.go_on();
    }
    assert!(count > 80, "{count} shapes on {}", interpreter.display());
    let losses = symbols.losses();
    assert_eq!((losses.unreadable, losses.late, losses.forgotten), (0, 0, 0));
}

/// glibc's `backtrace` keeps 4096 frames, more than any shape has.
fn whole(addresses: &[u64]) -> Native<'_> {
    Native { addresses, cut: None }
}

/// Function, file and line of every frame; of the leaf, `checkpoint` itself, only that it is it.
fn compare(context: &str, truth: &Value, frames: &[Frame], walked: &Walked) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let truth: Vec<(String, String, Option<u32>)> = truth
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| {
            let line = frame[2].as_u64().map(|line| u32::try_from(line).unwrap());
            (text(&frame[0]), text(&frame[1]), line)
        })
        .collect();
    let (leaf, callers) = frames.split_first().unwrap_or_else(|| panic!("{context}: no frames"));
    assert_eq!(leaf.function, "shapes.checkpoint", "{context}");
    let end = if truth.len() < PYTHON_FRAMES { python_walk::WHOLE } else { python_walk::TRUNCATED };
    assert_eq!(walked.end, end, "{context}");
    let kept = truth.len().min(callers.len());
    if end == python_walk::WHOLE {
        assert_eq!(callers.len(), truth.len(), "{context}: {callers:#?}");
    } else {
        assert!(kept > PYTHON_FRAMES - 20, "{context}");
    }
    for (frame, (name, file, line)) in callers.iter().zip(&truth) {
        assert_eq!(frame.file.as_deref(), Some(file.as_str()), "{context}");
        assert!(frame.function.ends_with(&format!(".{name}")), "{context}: {frame:?} {name}");
        assert_eq!(frame.line, *line, "{context}: {frame:?}");
    }
}

/// One stack: no activation of the loop is left, all Python frames are there, and it ends natively.
fn fits(context: &str, runtime: &Runtime, places: &[Place], walked: &Walked) {
    let remarks: Vec<Remark> = places
        .iter()
        .filter_map(|place| match place {
            Place::Remark(remark) => Some(*remark),
            _ => None,
        })
        .collect();
    if walked.end == python_walk::TRUNCATED {
        assert_eq!(remarks, [Remark::PythonTooDeep], "{context}");
        return;
    }
    assert_eq!(remarks, [], "{context}: {places:?}");
    let evaluates =
        |address: u64| runtime.seams().evaluation.iter().any(|part| part.contains(&(address - 1)));
    for place in places {
        assert!(!matches!(place, Place::User(address) if evaluates(*address)), "{context}");
    }
    assert!(matches!(places.last(), Some(Place::User(_))), "{context}");
}
