//! Python and native stacks of processes without a GPU, on and off the CPU, against what the programs
//! themselves and `py-spy` know.

mod bad;
mod crowd;
mod shares;
mod slow_disk;
mod stops;
mod waits;

use std::fs;
use std::path::Path;
use std::time::Duration;

use warplens_tests::harness::agent::Recording;
use warplens_tests::harness::child::Ended;
use warplens_tests::harness::python::Gated;
use warplens_tests::judge::host::{CpuVerdict, Folded, ProgramTruth};

/// The longest work of a program, on a machine that is busy with other things.
const WORK_LIMIT: Duration = Duration::from_secs(100);

/// A sampling frequency that shares no period with anything.
const HZ: u32 = 997;

/// What a program knows of its work, and the folder of what was recorded of it.
struct Observed {
    truth: ProgramTruth,
    folder: tempfile::TempDir,
}

impl Observed {
    fn text(&self, name: &str) -> String {
        let path = self.folder.path().join("out").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Records `program` from its gate to the end of its work.
fn observe(program: &mut Gated, folder: tempfile::TempDir) -> Observed {
    let pid = program.child.pid();
    let recording = Recording::of_host(&[pid], HZ, folder.path(), "out").unwrap();
    finish(program, recording, folder)
}

/// Opens the gate, and ends the recording when the work is done.
fn finish(program: &mut Gated, recording: Recording, folder: tempfile::TempDir) -> Observed {
    let truth = program.work(WORK_LIMIT).unwrap();
    let (ended, out) = recording.finish().unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(out.starts_with(folder.path()));
    Observed { truth, folder }
}

fn assert_ended(program: Gated) {
    let ended: Ended = program.end().unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

/// Every function above 5 % within 2 points, every line in its function, `least` samples or more.
fn assert_shares(text: &str, truth: &ProgramTruth, least: u64, what: &str) -> CpuVerdict {
    let folded = Folded::parse(text).unwrap();
    let verdict = warplens_tests::judge::host::cpu(&folded, truth);
    println!("{what}: {} samples, worst {:.2} points", verdict.samples, verdict.worst());
    for row in verdict.rows.iter().chain([&verdict.none]) {
        println!("{:>16} {:6.2} % of {:6.2} %", row.function, row.found, row.truth);
    }
    assert!(verdict.samples >= least, "{what}: only {} samples", verdict.samples);
    assert!(verdict.judged() >= 4, "{what}: too few functions to judge: {verdict:#?}");
    assert!(verdict.worst() < 2.0, "{what}: {verdict:#?}");
    assert!(verdict.misplaced.is_empty(), "{what}: {:#?}", verdict.misplaced);
    verdict
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to)
        .unwrap_or_else(|error| panic!("copy {} to {}: {error}", from.display(), to.display()));
}
