//! Stacks with a signal handler in them.

use std::path::Path;

use warplens::stack::Remark;
use warplens::unwind::{End, Unwinder};

use crate::support::{Held, compile, source, start_of, step};

const FLAGS: [&str; 3] = ["-O2", "-rdynamic", "-fomit-frame-pointer"];

fn held(dir: &Path, way: &str) -> (Held, String) {
    let program = compile(dir, "signal", &[source("signal.c")], &FLAGS);
    let program = program.to_str().unwrap().to_owned();
    (step(dir, &[&program, way]), program)
}

/// Handler, what it returns to, and what was interrupted, at its first instruction.
fn check(way: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (held, program) = held(dir.path(), way);
    let mut unwinder = Unwinder::new();
    let start = |name: &str| start_of(held.pid, Path::new(&program), name);
    assert!(held.snapshots.len() > 5);
    for snapshot in &held.snapshots {
        let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
        assert_eq!(end, End::Root, "{frames:x?}");
        let mut functions =
            |at: usize| unwinder.function_at(held.pid, frames[at]).map(|range| range.start);
        let handler = snapshot.truth.len();
        assert_eq!(functions(handler), Some(start("handler")), "{frames:x?}");
        if way == "own-return" {
            assert_eq!(frames[handler + 1], start("plain_return"));
        }
        assert_eq!(frames[handler + 2], start("interrupted"), "{frames:x?}");
        assert_eq!(functions(handler + 3), Some(start("calls_interrupted")), "{frames:x?}");
        assert_eq!(functions(handler + 4), Some(start("main")), "{frames:x?}");
    }
}

#[test]
fn through_the_c_librarys_return() {
    check("");
}

#[test]
fn through_a_return_without_unwind_information() {
    check("own-return");
}

/// The interrupted stack is another than the copied one: what is missing is said.
#[test]
fn on_a_stack_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (held, program) = held(dir.path(), "own-stack");
    let mut unwinder = Unwinder::new();
    for snapshot in &held.snapshots {
        let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
        assert_eq!(end, End::Cut(Remark::StackUnread), "{frames:x?}");
        let interrupted = start_of(held.pid, Path::new(&program), "interrupted");
        assert_eq!(frames[snapshot.truth.len() + 2..], [interrupted]);
    }
    assert_eq!(unwinder.losses().stack_unread, held.snapshots.len() as u64);
}
