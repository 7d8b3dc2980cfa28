//! The agent's command line with bad input: one clear line, the right exit status, nothing
//! half-written.

mod hostile_input;
mod servers;
mod traces;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::{assert_refused, run, warplens};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended, command};
use warplens_tests::require;
use wire::limits::{GRAPH_ENTRIES, NAMES_BYTES, RING_SLOTS};
use wire::shim::{
    CAPTURES_OFFSET, CURSORS_OFFSET, GRAPHS_OFFSET, HEADER_OFFSET, MAGIC, MEMFD_NAME, NAMES_OFFSET,
    RING_OFFSET, STATS_OFFSET, TOTAL_BYTES,
};

const LIMIT: Duration = Duration::from_mins(1);

/// A PID above the kernel's largest.
const NO_PROCESS: &str = "4194305";

fn warp(arguments: &[&str], folder: &Path) -> Ended {
    run(arguments, folder, "warplens", LIMIT).unwrap()
}

/// Nothing but the two files that hold the command's own output.
fn assert_untouched(folder: &Path) {
    let left: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("warplens.std"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_missing_process_is_named() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ended = warp(
        &["record", "--pid", NO_PROCESS, "-d", "1s", "-o", out.to_str().unwrap()],
        folder.path(),
    );
    assert_refused(&ended, 1, NO_PROCESS);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_untouched(folder.path());
}

#[test]
fn an_unwritable_folder_is_named_before_anything_is_recorded() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let own = std::process::id().to_string();
    let file = folder.path().join("warplens.stdin");
    fs::write(&file, "a file, no folder").unwrap();
    for out in [file.to_str().unwrap(), "/proc/nowhere/out"] {
        let ended = warp(&["record", "--pid", &own, "-d", "1s", "-o", out], folder.path());
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(out), "{ended:?}");
        assert_untouched(folder.path());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a file, no folder");
}

#[test]
fn wrong_usage_exits_with_two() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["record"][..],
        &["record", "--pid", "x"],
        &["record", "--pid", "1", "-d", "never"],
        &["analyze"],
        &["no-such-command"],
    ] {
        let ended = warp(arguments, folder.path());
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn files_that_are_no_recording_are_told_apart() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty_folder = files.path().join("folder");
    fs::create_dir(&empty_folder).unwrap();
    for path in [
        write("empty.warplens", b""),
        write("short.warplens", b"WARP"),
        write("text.warplens", b"this is no recording at all, just text\n"),
        write("zeros.warplens", &[0; 4096]),
        write("fake.sqlite", b"SQLite format 3\0but nothing behind it"),
        write("picture.png", b"\x89PNG\r\n\x1a\n"),
        files.path().join("absent.warplens").to_str().unwrap().to_owned(),
        empty_folder.to_str().unwrap().to_owned(),
    ] {
        for more in [&[][..], &["--json"]] {
            let arguments: Vec<&str> =
                ["analyze", &path].into_iter().chain(more.iter().copied()).collect();
            let ended = warp(&arguments, folder.path());
            assert_refused(&ended, 1, &path);
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
            assert!(ended.stdout.is_empty(), "{ended:?}");
        }
    }
}

#[test]
fn every_known_kernel_is_classified_as_the_table_says() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let table = fs::read_to_string(artefacts::kernel_table()).unwrap();
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split('\t');
            (fields.next().unwrap(), fields.next().unwrap())
        })
        .collect();
    let mut child =
        Child::start(&mut warplens(&["classify"]).unwrap(), folder.path(), "warplens").unwrap();
    for (name, _class) in &rows {
        assert!(child.write(&format!("{name}\n")));
    }
    child.close_input();
    let ended = child.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let wrong: Vec<String> = rows
        .iter()
        .zip(ended.stdout.lines())
        .filter(|((name, class), line)| !line.starts_with(&format!("{name}\t{class}\t")))
        .map(|((_name, class), line)| format!("{class} expected: {line}"))
        .collect();
    assert_eq!(ended.stdout.lines().count(), rows.len(), "{ended:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A process that shows a ring of its own making.
fn hostile_ring(mode: &str, folder: &Path) -> Child {
    let layout = serde_json::json!({
        "name": MEMFD_NAME, "magic": MAGIC, "version": wire::WIRE_VERSION, "total": TOTAL_BYTES,
        "header": HEADER_OFFSET, "stats": STATS_OFFSET, "cursors": CURSORS_OFFSET,
        "ring": RING_OFFSET, "slots": RING_SLOTS, "names": NAMES_OFFSET,
        "names_bytes": NAMES_BYTES, "graphs": GRAPHS_OFFSET, "graph_entries": GRAPH_ENTRIES,
        "captures": CAPTURES_OFFSET,
    });
    let mut python = command("python3");
    python.arg(artefacts::program("hostile_ring.py")).args([mode, &layout.to_string()]);
    let mut child = Child::start(&mut python, folder, mode).unwrap();
    child.line("ready", LIMIT).unwrap();
    child
}

/// Modes of `hostile_ring.py` that can be told from a shim's ring by looking: kind of file, seals,
/// size, header, and lengths and positions that are impossible.
const IMPOSSIBLE: [&str; 9] =
    ["sparse", "unsealed", "small", "version", "magic", "regular", "tail", "head", "names"];

/// Modes that look right and are full of nonsense.
const NONSENSE: [&str; 5] = ["garbage", "racing", "pending", "graphs", "records"];

#[test]
fn a_ring_that_lies_cannot_hurt_the_agent() {
    require!(Cli);
    // Each is mostly waiting, for a shim that never answers.
    let results: Vec<Option<&str>> = std::thread::scope(|scope| {
        let lies: Vec<_> = IMPOSSIBLE
            .iter()
            .chain(&NONSENSE)
            .map(|&mode| (mode, scope.spawn(move || lie(mode, IMPOSSIBLE.contains(&mode)))))
            .collect();
        lies.into_iter().map(|(mode, lie)| lie.join().is_err().then_some(mode)).collect()
    });
    let wrong: Vec<&str> = results.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "these did not end as they should: {wrong:?}");
}

fn lie(mode: &str, refused: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut process = hostile_ring(mode, folder.path());
    let pid = process.pid().to_string();
    let out = folder.path().join("out");
    let ended =
        warp(&["record", "--pid", &pid, "-d", "2s", "-o", out.to_str().unwrap()], folder.path());
    assert!(matches!(ended.code, 0 | 1), "{mode}: {ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{mode}: {ended:?}");
    assert!(process.alive(), "{mode}: the agent must not hurt the process");
    if refused {
        assert_refused(&ended, 1, &format!("ring of process {pid}"));
    }
    if ended.code == 0 {
        let report = fs::read_to_string(out.join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["schema"], "warplens.report/v1", "{mode}");
        let said = |part: &str| report[part].as_array().map_or(0, Vec::len);
        assert!(said("defects") + said("notes") > 0, "{mode}: nothing said about it: {report}");
    } else {
        assert!(!out.exists(), "{mode}: nothing half-written: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{mode}");
    }
    process.signal(Signal::KILL);
}
