//! An agent on a machine whose processors are all taken.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
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
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Number of a thread's scheduling class by its name: 0 is the ordinary one, 2 real-time with turns. Empty once the
/// process is gone.
fn classes(pid: u32) -> BTreeMap<String, Vec<u32>> {
    let mut classes: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { continue };
        let (before, rest) = stat.rsplit_once(')').unwrap();
        let name = before.split_once('(').unwrap().1.to_owned();
        // Field 41 of the line, counted behind the name.
        let class = rest.split_whitespace().nth(38).unwrap().parse().unwrap();
        classes.entry(name).or_default().push(class);
    }
    classes
}

/// Raises this thread above the agent's: an ordinary one, as those that take the processors are, may not have a look
/// in the tenth of a second that is looked at.
fn come_first() {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let mut chrt = Command::new("chrt");
    chrt.args(["--rr", "--pid", "2"]).arg(thread.file_name().unwrap());
    assert!(chrt.status().unwrap().success(), "the agent had the class, and this thread has not");
}

#[test]
fn nothing_is_lost_where_every_processor_is_taken() {
    require!(E2e);
    let folder = folder();
    let python = python::of_minor((3, 11)).unwrap();
    let mut program = python.program("crowd.py");
    let mut crowd = Child::start(&mut program, folder.path(), "crowd").unwrap();
    crowd.line("\"ready\"", LIMIT).unwrap();
    let mut recording = Recording::of_host(&[crowd.pid()], HZ, folder.path(), "out").unwrap();
    let before = process::tree_cpu_seconds(crowd.pid());
    thread::sleep(OBSERVED);
    let used = process::tree_cpu_seconds(crowd.pid()) - before;
    let agent = recording.child.pid();
    let observing = classes(agent);
    come_first();
    recording.child.signal(Signal::INT);
    let mut writing = Vec::new();
    while recording.child.alive() {
        writing.push(classes(agent));
        thread::sleep(LOOK_EVERY);
    }
    let (ended, out) = recording.finish().unwrap();
    crowd.signal(Signal::TERM);
    crowd.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    // Who reads what the kernel writes comes first; who looks for names does not.
    assert_eq!(observing["warplens"], [2], "{observing:?}");
    assert_eq!(observing["warplens-names"], [0], "{observing:?}");
    // So does who writes what was seen, when nothing is observed any more, but for what is over its share: until
    // the thread that sees to the order ends, last of all.
    writing.retain(|classes| {
        classes.contains_key("warplens-first") && !classes.contains_key("warplens-keeps")
    });
    let first = |classes: &&BTreeMap<_, _>| classes["warplens"] == [2];
    println!("first in {} of {} looks", writing.iter().filter(first).count(), writing.len());
    assert!(writing.iter().any(|classes| first(&classes)), "{writing:?}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(!report.contains("ring buffer full"), "{report}");
    let text = fs::read_to_string(out.join("cpu.folded")).unwrap();
    let counts = text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    let (samples, expected) = (counts.sum::<f64>(), used * f64::from(HZ));
    println!("{samples} samples of {used:.1} s of CPU");
    // The frequency varies by half, from round to round of 0.6 s.
    assert!(samples > expected * 0.7, "{samples} of {expected}: {report}");
}
