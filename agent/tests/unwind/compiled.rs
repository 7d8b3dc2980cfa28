//! C programs, compiled in every way that changes what unwinding has to do, walked through one
//! instruction at a time: at each, the stack must be what the calls and returns made it.

use std::process::Command;

use warplens::stack::Remark;
use warplens::symbols::{ANONYMOUS_CODE, Symbols};
use warplens::unwind::{End, Unwinder};

use crate::support::{Held, compile, source, start_of, step};

/// Unwinds every snapshot and compares it with the truth. All have the same callers below.
fn check(held: &Held) {
    let mut unwinder = Unwinder::new();
    let mut below: Option<Vec<u64>> = None;
    for (at, snapshot) in held.snapshots.iter().enumerate() {
        let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
        let leaf = snapshot.instruction_pointer();
        let hex = format!("step {at} at {leaf:#x}: {frames:x?}, truth {:x?}", snapshot.truth);
        assert_eq!(end, End::Root, "{hex}");
        assert_eq!(frames[0], leaf, "{hex}");
        let called = 1 + snapshot.truth.len();
        assert_eq!(frames.get(1..called), Some(&snapshot.truth[..]), "{hex}");
        let below = below.get_or_insert_with(|| frames[called..].to_vec());
        assert_eq!(&frames[called..], below, "{hex}");
    }
    let below = below.expect("there are snapshots");
    assert!((1..=5).contains(&below.len()), "main's callers: {below:x?}");
    assert_eq!(unwinder.losses().cut, 0);
    assert_eq!(unwinder.losses().whole, held.snapshots.len() as u64);
}

fn walk(flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "chain", &[source("chain.c")], flags);
    let held = step(dir.path(), &[program.to_str().unwrap()]);
    assert!(held.snapshots.len() > 1_000, "{} steps", held.snapshots.len());
    check(&held);
}

#[test]
fn optimised_without_frame_pointers() {
    walk(&["-O2", "-fomit-frame-pointer"]);
}

#[test]
fn with_frame_pointers() {
    walk(&["-O0"]);
}

#[test]
fn bound_late() {
    walk(&["-O1", "-Wl,-z,lazy", "-fcf-protection=none"]);
}

#[test]
fn bound_late_with_branch_protection() {
    walk(&["-O3", "-Wl,-z,lazy", "-fcf-protection=full"]);
}

#[test]
fn at_a_fixed_address_and_stripped() {
    walk(&["-O2", "-no-pie", "-s"]);
}

#[test]
fn linked_statically() {
    walk(&["-O2", "-static"]);
}

#[test]
fn linked_statically_without_a_search_table() {
    walk(&["-O2", "-static", "-Wl,--no-eh-frame-hdr"]);
}

#[test]
fn without_a_search_table() {
    walk(&["-O2", "-Wl,--no-eh-frame-hdr"]);
}

#[test]
fn realigned_for_vectors() {
    let flags = ["-O2", "-mavx2"];
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "chain", &[source("chain.c")], &flags);
    // Else the test is not about what it says.
    let rows = Command::new("readelf").arg("--debug-dump=frames").arg(program).output().unwrap();
    let rows = String::from_utf8_lossy(&rows.stdout).into_owned();
    assert!(rows.contains("DW_CFA_def_cfa_expression (DW_OP_breg6 (rbp)"), "no realigned frame");
    walk(&flags);
}

#[test]
fn a_call_that_ends_its_function() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["-O2", "-rdynamic", "-fomit-frame-pointer"];
    let program = compile(dir.path(), "noreturn", &[source("noreturn.c")], &flags);
    let held = step(dir.path(), &[program.to_str().unwrap()]);
    check(&held);
    let mut unwinder = Unwinder::new();
    let start = |name: &str| start_of(held.pid, &program, name);
    let (frames, _) = held.snapshots[0].unwind(&mut unwinder, held.pid);
    // The next function's first byte, which its caller is not.
    assert_eq!(frames[1], start("behind"));
    let main = unwinder.function_at(held.pid, frames[2]).unwrap();
    assert_eq!(main.start, start("main"));
}

/// Its stack is known nevertheless, because it must find back itself.
#[test]
fn code_without_unwind_information() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "plain", &[source("plain.c")], &["-O2"]);
    let program = program.to_str().unwrap();
    for arguments in [&[program][..], &[program, "made"]] {
        let held = step(dir.path(), arguments);
        assert!(held.snapshots.len() > 60, "{} steps", held.snapshots.len());
        check(&held);
    }
}

#[test]
fn code_made_at_run_time_is_cut_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "jit", &[source("jit.c")], &["-O2"]);
    let held = step(dir.path(), &[program.to_str().unwrap()]);
    let mut unwinder = Unwinder::new();
    for snapshot in &held.snapshots {
        let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
        assert_eq!(end, End::Cut(Remark::AnonymousCode));
        assert_eq!(frames, [snapshot.instruction_pointer()]);
    }
    assert_eq!(unwinder.losses().anonymous, held.snapshots.len() as u64);
    let address = held.snapshots[0].instruction_pointer();
    let name = || Symbols::new().resolve(held.pid, &[address])[0].frames[0].clone();
    assert_eq!((name().function.as_str(), name().module), (ANONYMOUS_CODE, None));
    let map = Removed(format!("/tmp/perf-{}.map", held.pid));
    std::fs::write(&map.0, format!("{:x} 5 made::here\n", address - 1)).unwrap();
    assert_eq!((name().function.as_str(), name().module), ("made::here", None));
}

/// A file that goes with its test.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
