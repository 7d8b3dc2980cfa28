//! A recording of a worker in which another profiler has its turn.

use std::time::Duration;

use serde_json::Value;
use warplens_tests::harness::agent::start_record;
use warplens_tests::harness::neighbour::{Host, Way, programs};
use warplens_tests::harness::server::Run;
use warplens_tests::require;
use wire::shim::Level;

const STACKS: u32 = Level::Stacks as u32;

#[test]
fn a_recording_goes_on_when_another_profiler_is_done() {
    require!(E2e);
    let folder = tempfile::tempdir().unwrap();
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let run = run.with("WARPLENS_YIELD", "1").with("WARPLENS_CUPTI", "libcupti.so.12");
    let programs = programs(Way::Bound, folder.path());
    let mut host = Host::start(run, &programs);
    host.tell("load");
    let (mut agent, out) = start_record(host.pid(), 60, folder.path(), "record").unwrap();
    host.reaches("observed", |view| view.level() == STACKS);
    host.tell("launch 100");
    host.reaches("read", |view| view.activities() == 100);

    assert_eq!(host.tell("start"), "start 0");
    host.tell("launch 300");
    assert_eq!(host.tell("stop"), "stop 0");
    assert_eq!(host.tell("tell"), "kernels 300, launches 300, strange buffers 0, strange times 0");

    host.reaches("observed again", |view| view.level() == STACKS);
    host.tell("launch 40");
    host.reaches("read", |view| view.activities() == 140);
    // The watermark passes.
    std::thread::sleep(Duration::from_millis(500));
    agent.signal(rustix::process::Signal::INT);
    let ended = agent.wait(Duration::from_mins(1)).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    host.end();

    let text = std::fs::read_to_string(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let device = &report["devices"][0];
    assert_eq!(device["kernels"], 140, "{device:#}");
    assert_eq!(device["records"]["lost"], 0);
    assert_eq!(device["records"]["invalid"], 0);
    let parts: u64 = device["exclusive_ns"]
        .as_object()
        .unwrap()
        .values()
        .map(|nanoseconds| nanoseconds.as_u64().unwrap())
        .sum();
    assert_eq!(parts, device["window_ns"].as_u64().unwrap());
    // 300 kernels of 20 us, and a second of quiet.
    let unobserved = device["exclusive_ns"]["unobserved"].as_u64().unwrap();
    assert!(unobserved > 1_000_000_000, "unobserved {unobserved} ns");
    let notes = report["notes"].to_string() + &report["defects"].to_string();
    assert!(notes.contains("another profiler asked for CUPTI"), "{notes}");
    assert!(notes.contains("the other profiler is done"), "{notes}");
}
