//! A child of `vfork` has its parent's memory until it executes a program, and with it the parent's ring.

use warplens_tests::harness::agent::record;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::hostile::build;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::{ring, wait};
use warplens_tests::require;

use super::LIMIT;

#[test]
fn a_ring_is_that_of_the_process_that_made_it() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let program = build("borrow", run.folder()).unwrap();
    let mut command = run.command(&program).unwrap();
    command.arg("60");
    let mut parent = Child::start(&mut command, run.folder(), "borrow").unwrap();
    wait::until(LIMIT, || ring::look(parent.pid()).map(drop)).unwrap();
    // It begins while there is a child, and meets some thirty more.
    let (ended, out) = record(parent.pid(), 3, run.folder(), "record").unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("another agent"), "{ended:?}");
    let report = std::fs::read_to_string(out.join("report.json")).unwrap();
    assert!(report.contains("hostile_kernel"), "{report}");
    assert!(!report.contains("is not seen"), "{report}");
    let ended = parent.wait(LIMIT).unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "cuInit 0\n"), "{ended:?}");
}
