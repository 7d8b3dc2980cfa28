//! An agent on a machine whose processors are all taken.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::Recording;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::{process, python};
use warplens_tests::require;

use super::folder;

const LIMIT: Duration = Duration::from_mins(1);
const OBSERVED: Duration = Duration::from_secs(10);
const HZ: u32 = 99;

/// Number of a thread's scheduling class by its name: 0 is the ordinary one, 2 real-time with turns.
fn classes(pid: u32) -> BTreeMap<String, Vec<u32>> {
    let mut classes: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { continue };
        let (before, rest) = stat.rsplit_once(')').unwrap();
        let name = before.split_once('(').unwrap().1.to_owned();
        // Field 41 of the line, counted behind the name.
        let class = rest.split_whitespace().nth(38).unwrap().parse().unwrap();
        classes.entry(name).or_default().push(class);
    }
    classes
}

#[test]
fn nothing_is_lost_where_every_processor_is_taken() {
    require!(E2e);
    let folder = folder();
    let python = python::of_minor((3, 11)).unwrap();
    let mut program = python.program("crowd.py");
    let mut crowd = Child::start(&mut program, folder.path(), "crowd").unwrap();
    crowd.line("\"ready\"", LIMIT).unwrap();
    let spinning =
        || -> f64 { process::tree(crowd.pid()).into_iter().filter_map(process::cpu_seconds).sum() };
    let recording = Recording::of_host(&[crowd.pid()], HZ, folder.path(), "out").unwrap();
    let before = spinning();
    std::thread::sleep(OBSERVED);
    let used = spinning() - before;
    let classes = classes(recording.child.pid());
    let (ended, out) = recording.finish().unwrap();
    crowd.signal(Signal::TERM);
    crowd.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    // Who reads what the kernel writes comes first; who looks for names does not.
    assert_eq!(classes["warplens"], [2], "{classes:?}");
    assert_eq!(classes["warplens-names"], [0], "{classes:?}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(!report.contains("ring buffer full"), "{report}");
    let text = fs::read_to_string(out.join("cpu.folded")).unwrap();
    let counts = text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    let (samples, expected) = (counts.sum::<f64>(), used * f64::from(HZ));
    println!("{samples} samples of {used:.1} s of CPU");
    // The frequency varies by half, from round to round of 0.6 s.
    assert!(samples > expected * 0.7, "{samples} of {expected}: {report}");
}
