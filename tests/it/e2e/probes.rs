//! Kernel programs that an operator switches off, one by one: the feature is gone, and who asks is told by whom.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::{record_with, run};
use warplens_tests::harness::server::Run;
use warplens_tests::require;

use super::daemon::{configuration, start_configured};
use super::{LIMIT, assert_recorded};

#[test]
fn a_recording_without_some_probes_is_exact_and_says_what_is_missing() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut worker = run.work(&["--seconds", "0", "--rate", "2000"]).unwrap();
    let without = "launch-stacks,cpu-samples,python,thread-states,processes";
    let (ended, out) =
        record_with(worker.pid(), 3, &["--without", without], run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(LIMIT).unwrap().code, 0);
    assert_recorded(&run, &ended, &out, "without probes");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    for feature in [
        "thread states",
        "Python stacks",
        "process starts and ends",
        "stacks of launches",
        "CPU samples",
    ] {
        let said = format!("{feature} are switched off by --without");
        assert!(report.contains(&said), "{said}: {report}");
    }
    let folded = fs::read_to_string(out.join("gpu.folded")).unwrap();
    assert!(!folded.contains("__libc_start_call_main"), "no stack was taken: {folded}");
}

#[test]
fn a_daemon_and_doctor_say_what_the_configuration_switches_off() {
    require!(E2e);
    let folder = Run::new(1).unwrap();
    let text = format!(
        "{}\n[probes]\noff = [\"python\"]\n[[probes.deny]]\nprobe = \"thread-states\"\nkernel = \"*\"\n",
        configuration(folder.folder(), "")
    );
    let (mut agent, _address) = start_configured(&folder, &text, &[]);
    let config = folder.folder().join("warplens.toml");
    let doctor = run(
        &["doctor", "--json", "--config", config.to_str().unwrap()],
        folder.folder(),
        "doctor",
        LIMIT,
    );
    let document: Value = serde_json::from_str(&doctor.unwrap().stdout).unwrap();
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    for (feature, why) in [
        ("Python stacks", "probes.off in the configuration"),
        ("thread states", "probes.deny in the configuration: kernel"),
    ] {
        let said = format!("{feature} are switched off by {why}");
        assert!(ended.stderr.contains(&said), "{said}: {}", ended.stderr);
        let checks = document["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == feature).unwrap();
        assert_eq!(check["state"], "missing", "{check}");
        assert!(check["found"].as_str().unwrap().contains(why), "{check}");
    }
}
