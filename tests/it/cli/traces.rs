//! Chrome traces larger than the memory that reading them may take.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::wait;
use warplens_tests::require;
use warplens_tests::traces::{self, Made};

/// Text of the trace: more events than memory is kept for, so that they go over the disk as those
/// of any larger trace do.
const BYTES: u64 = 400_000_000;

/// Peak memory, KiB. A trace of any size is to stay below 300 MB.
const MEMORY_MAX: u64 = 300_000_000 / 1024;

const LIMIT: Duration = Duration::from_mins(5);

/// A large trace in `folder`, made from a real one where there is one.
fn large(folder: &Path) -> (PathBuf, Made) {
    let real = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/corpus/traces/hta-a100-graphs-rank0.json.gz");
    let document = if real.is_file() { traces::load(&real).unwrap() } else { traces::small() };
    let path = folder.join("large.json");
    let made = traces::repeat(&document, BYTES, &mut File::create(&path).unwrap()).unwrap();
    (path, made)
}

/// Runs `analyze --json`, and its peak memory in KiB.
fn analyze(path: &Path, folder: &Path) -> (Ended, u64) {
    let mut command = warplens(&["analyze", path.to_str().unwrap(), "--json"]).unwrap();
    let mut child = Child::start(&mut command, folder, "analyze").unwrap();
    let status = format!("/proc/{}/status", child.pid());
    let mut peak = 0;
    // The kernel keeps the peak, so only what the last moments add can be missed.
    wait::until(LIMIT, || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(now.unwrap_or(0));
        (!child.alive()).then_some(())
    });
    (child.wait(LIMIT).unwrap(), peak)
}

fn kernels(ended: &Ended) -> u64 {
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let devices = report["devices"].as_array().unwrap();
    devices.iter().map(|device| device["kernels"].as_u64().unwrap()).sum()
}

#[test]
fn a_large_trace_is_read_whole_in_bounded_memory() {
    require!(Cli);
    let folder = tempfile::tempdir().unwrap();
    let (path, made) = large(folder.path());
    let (ended, peak) = analyze(&path, folder.path());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(kernels(&ended), made.kernels, "{made:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["defects"], serde_json::json!([]));
    assert!(peak > 0 && peak < MEMORY_MAX, "{peak} KiB");
    println!("{made:?}: peak {peak} KiB");

    // The same, cut in the middle of an event.
    let cut = made.bytes / 2 + 1;
    File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
    let (ended, peak) = analyze(&path, folder.path());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // Whole repetitions before the cut are there, what follows the next one is not.
    let counted = kernels(&ended);
    let each = made.kernels / made.repeats;
    let whole = cut / (made.bytes / made.repeats + 1);
    assert!((whole - 1) * each <= counted && counted <= (whole + 1) * each, "{counted} of {each}");
    let says = format!("the trace ends before its end at byte {cut} of its text: ");
    assert!(ended.stdout.contains(&says), "{}", ended.stderr);
    assert!(peak > 0 && peak < MEMORY_MAX, "{peak} KiB");
}
