//! `warplens diff` and `analyze --diff`: two recordings of a program that changed, as pictures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::{Recording, assert_refused, run};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::require;

use super::LIMIT;

const HZ: u32 = 997;
const OBSERVED: Duration = Duration::from_secs(3);

/// Records one version of the program.
fn record(version: &str, folder: &Path) -> PathBuf {
    let mut program = command("python3");
    program.arg(artefacts::program("changed.py")).arg(version);
    let mut child = Child::start(&mut program, folder, &format!("program-{version}")).unwrap();
    child.line("working", LIMIT).unwrap();
    let recording = Recording::of_host(&[child.pid()], HZ, folder, version).unwrap();
    // Its length is what is observed; nothing waits for anything.
    std::thread::sleep(OBSERVED);
    let (ended, out) = recording.finish().unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    child.signal(Signal::TERM);
    assert_eq!(child.wait(LIMIT).unwrap().code, 0);
    out
}

/// The frames of a picture: samples, and the shares before and after that their tooltips tell.
fn frames(picture: &Path) -> BTreeMap<String, (u64, String)> {
    let text = fs::read_to_string(picture).unwrap();
    let mut frames = BTreeMap::new();
    for title in text.split("<title>").skip(1).filter_map(|part| part.split_once("</title>")) {
        let (name, value) = title.0.rsplit_once(" (").unwrap();
        let samples = value.split_once(' ').unwrap().0.replace(',', "").parse().unwrap();
        let note = value.split_once("; ").map_or("", |(_, note)| note.trim_end_matches(')'));
        frames.entry(name.to_owned()).or_insert((samples, note.to_owned()));
    }
    frames
}

/// Of `before 25.00 %, after 50.00 %`.
fn shares(note: &str) -> (f64, f64) {
    let number = |start: &str| {
        let (_, rest) = note.split_once(start).unwrap_or_else(|| panic!("{note}"));
        rest.split_once(" %").unwrap().0.parse().unwrap()
    };
    (number("before "), number("after "))
}

fn check(picture: &Path) {
    let frames = frames(picture);
    let note =
        |name: &str| frames.get(name).unwrap_or_else(|| panic!("{name}: {frames:#?}")).1.clone();
    // A round of 40 parts became one of 60: kept 20, grown 10 and then 30, the third 10.
    for (name, before, after) in [
        ("changed.kept", 50.0, 33.3),
        ("changed.grown", 25.0, 50.0),
        ("changed.replacement", 0.0, 16.7),
    ] {
        let (was, is) = shares(&note(name));
        // Of 1 500 samples at least: three standard deviations and what the interpreter's own cost differs.
        assert!((was - before).abs() < 6.0 && (is - after).abs() < 6.0, "{name}: {was} {is}");
    }
    assert!(note("changed.replacement").ends_with(", new"), "{frames:#?}");
    assert!(note("changed.replaced").ends_with(", gone"), "{frames:#?}");
    assert!(note("[only before]").ends_with(", gone"), "{frames:#?}");
}

#[test]
fn a_program_that_changed_shows_where() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|version| record(version, folder.path()));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let changed = folder.path().join("changed");
    let arguments = ["diff", &text(&before), &text(&after), "-o", &text(&changed)];
    let ended = run(&arguments, folder.path(), "diff", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(last.contains("cpu.diff.svg"), "{ended:?}");
    check(&changed.join("cpu.diff.svg"));
    for picture in ["gpu.diff.svg", "offcpu.diff.svg"] {
        assert!(changed.join(picture).exists(), "{picture}");
    }
    let analyzed = folder.path().join("analyzed");
    let arguments = ["analyze", &text(&after), "--diff", &text(&before), "-o", &text(&analyzed)];
    let ended = run(&arguments, folder.path(), "analyze", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let picture = |folder: &Path| fs::read(folder.join("cpu.diff.svg")).unwrap();
    assert!(picture(&analyzed) == picture(&changed), "both ways draw the same");
    assert!(analyzed.join("cpu.svg").exists());
    // A report has no stacks to compare.
    let report = text(&before.join("report.json"));
    let arguments = ["diff", &report, &text(&after), "-o", &text(&changed)];
    let ended = run(&arguments, folder.path(), "of-a-report", LIMIT).unwrap();
    assert_refused(&ended, 2, "holds no stacks");
}
