//! Verification mode: launches counted by eBPF at the driver's exports, against the shim's count
//! and the ground truth, from a process's first launch on.

use std::time::Duration;

use sim_truth::Truth;
use warplens::bpf::host::Host;
use warplens::bpf::probe::Probe;
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::server::Run;
use warplens_tests::require;

const LIMIT: Duration = Duration::from_secs(90);

/// Why this kernel cannot count launches.
fn obstacle() -> Option<String> {
    let features = Host::read().features();
    features.into_iter().find(|feature| feature.probe == Probe::LaunchCount)?.obstacle
}

/// `run --verify` of the Rust worker; the worker's launch calls and failures by the ground truth.
fn verify(arguments: &[&str]) {
    let run = Run::new(1).unwrap();
    let out = run.folder().join("out");
    let mut command = warplens(&["run", "--verify", "-o", out.to_str().unwrap(), "--"]).unwrap();
    command
        .arg(artefacts::cuda_worker().unwrap())
        .args(arguments)
        .env("LD_LIBRARY_PATH", artefacts::simulator().unwrap())
        .env("WARPLENS_SHIM", artefacts::shim().unwrap())
        .env("WARPLENS_SIM_TRUTH", run.truth());
    let ended = Child::run(&mut command, run.folder(), "verify", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");

    let files: Vec<_> = std::fs::read_dir(run.truth()).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "one process used CUDA");
    let truth = Truth::read(&files[0].path()).unwrap();
    let report = std::fs::read_to_string(out.join("report.json")).unwrap();
    if let Some(obstacle) = obstacle() {
        assert!(report.contains("is not verified: "), "{obstacle}, and the report does not say so");
        println!("SKIP bpf: {obstacle}");
        return;
    }
    let counters = truth.counters;
    let calls = counters.launches + counters.launches_failed;
    let failed = counters.launches_failed;
    let expected = format!(
        "eBPF counted {calls} ({failed} failed), the shim {calls} ({failed} failed): equal"
    );
    assert!(calls > 500, "{counters:?}");
    let said: Vec<&str> = report.lines().filter(|line| line.contains("eBPF counted")).collect();
    assert!(report.contains(&expected), "{expected} is not what it says: {said:?}");
}

#[test]
fn ebpf_and_shim_count_every_launch_once() {
    require!(Bpf);
    verify(&["--seconds", "2", "--rate", "1000", "--graphs", "20", "--threads", "3"]);
}

#[test]
fn failed_launches_are_counted_apart() {
    require!(Bpf);
    verify(&["--seconds", "2", "--rate", "1000", "--graphs", "20", "--fail-every", "7"]);
}
