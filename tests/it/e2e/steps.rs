//! Engine steps as the work tells them, against what the simulated scheduler scheduled.

use std::collections::BTreeMap;

use serde_json::Value;
use warplens_tests::harness::agent::record;
use warplens_tests::require;

use super::{assert_recorded, fresh_seed, report, serve};

/// Steps that the edges of a window may cut off, or that an engine was scheduling then.
const EDGES: u64 = 4;

#[test]
fn phases_and_batches_are_those_of_the_scheduler() {
    require!(E2e);
    let seed = fresh_seed();
    let run = warplens_tests::harness::server::Run::new(1).unwrap().with_shim().unwrap();
    // Enough kernels for every step to have some of each kind.
    let rates = ["--rate", "12000", "--single-rate", "3000", "--tell-steps"];
    let mut server = serve(&run, seed, &rates);
    let (ended, out) = record(server.pid(), 8, run.folder(), "out").unwrap();
    let stopped = server.stop().unwrap();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_recorded(&run, &ended, &out, &format!("seed {seed}"));

    let report = report(&out);
    let window = &report["devices"][0]["window"];
    let (start, end) = (window["start_ns"].as_u64().unwrap(), window["end_ns"].as_u64().unwrap());
    let (phases, batches) = scheduled(&stopped.stdout, start, end);
    let steps = &report["steps"][0]["phases"];
    // A step that catches up on nothing launches a sampler and no attention: its phase is unknown.
    let unknown = steps["unknown"]["count"].as_u64().unwrap_or(0);
    let all: u64 = phases.values().sum();
    assert!(unknown * 10 <= all, "seed {seed}: {steps}");
    for (phase, &expected) in &phases {
        let told = steps[phase]["count"].as_u64().unwrap_or(0);
        assert!(
            told <= expected + EDGES && told + unknown + EDGES >= expected,
            "seed {seed}: {phase}: {told} of {expected}: {steps}"
        );
    }
    let decode = &steps["decode"]["batch"];
    for (batch, &expected) in &batches {
        let told = count(decode, *batch);
        assert!(
            told <= expected + EDGES && told + unknown + EDGES >= expected,
            "seed {seed}: batch {batch}: {told} of {expected}: {decode}"
        );
    }
    let told: u64 = batches.keys().map(|&batch| count(decode, batch)).sum();
    assert_eq!(told, steps["decode"]["count"].as_u64().unwrap(), "{decode}");
}

/// Steps by phase, and decode steps by batch, that were scheduled in `[start, end)`.
fn scheduled(stdout: &str, start: u64, end: u64) -> (BTreeMap<String, u64>, BTreeMap<u64, u64>) {
    let (mut phases, mut batches) = (BTreeMap::new(), BTreeMap::new());
    let line = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["event"] == "steps")
        .unwrap();
    for step in line["steps"].as_array().unwrap() {
        let (at, phase) = (step[0].as_u64().unwrap(), step[1].as_str().unwrap());
        if (start..end).contains(&at) {
            *phases.entry(phase.to_owned()).or_default() += 1;
            if phase == "decode" {
                *batches.entry(step[2].as_u64().unwrap()).or_default() += 1;
            }
        }
    }
    (phases, batches)
}

/// Steps of this batch, which is one of the histogram's bounds.
fn count(histogram: &Value, batch: u64) -> u64 {
    let bounds = histogram["bounds"].as_array().unwrap();
    let place = bounds.iter().position(|bound| bound.as_u64() == Some(batch)).unwrap();
    histogram["counts"][place].as_u64().unwrap()
}
