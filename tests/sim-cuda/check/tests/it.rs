//! Runs every case of the probe on the simulated libraries, in a process of its own.

#![expect(clippy::expect_used, reason = "failing loudly is what a test is for")]

use sim_check::{library_folder, run, scratch};

fn probe(case: &str, settings: &[(&str, &str)]) {
    let truth = scratch(case);
    let truth_text = truth.to_str().expect("a path of ASCII");
    let mut all = vec![("WARPLENS_SIM_TRUTH", truth_text)];
    all.extend_from_slice(settings);
    run(env!("CARGO_BIN_EXE_probe"), &[case], &all);
    drop(std::fs::remove_dir_all(truth));
}

#[test]
fn callbacks() {
    probe("nesting", &[]);
    probe("only-what-is-enabled", &[]);
    probe("external-correlation", &[]);
    probe("correlation-wraps", &[("WARPLENS_SIM_CORRELATION_START", "4294967280")]);
    probe("resources", &[]);
}

#[test]
fn every_version_has_its_layout() {
    let versions = "12.0 12.1 12.2 12.3 12.4 12.5 12.6 12.8 12.9 13.0 13.1 13.2 13.3 13.4 13.5";
    for version in versions.split(' ') {
        probe("layout", &[("WARPLENS_SIM_CUPTI", version)]);
        probe("records", &[("WARPLENS_SIM_CUPTI", version)]);
    }
}

#[test]
fn records() {
    probe("flush", &[]);
    probe("full-buffers", &[]);
    probe("refused-buffers", &[]);
    probe("timestamp-callback", &[]);
    probe("api-records", &[]);
    probe("threads", &[]);
}

#[test]
fn scenarios_do_what_they_say() {
    for seed in ["1", "2", "3"] {
        probe(
            "scenario",
            &[
                ("WARPLENS_SIM_SEED", seed),
                ("WARPLENS_SIM_LATE", "20,50"),
                ("WARPLENS_SIM_ZERO", "50"),
                ("WARPLENS_SIM_DROP", "20"),
            ],
        );
    }
}

#[test]
fn graphs() {
    probe("graph-replay", &[]);
    probe("graph-branches", &[]);
    probe("graph-children", &[]);
    probe("graph-update", &[]);
}

#[test]
fn device() {
    probe("names-are-reused", &[]);
    probe("runtime", &[]);
    probe("numbers", &[]);
    probe("waiting", &[]);
    probe("host-function", &[]);
    probe("devices", &[("WARPLENS_SIM_DEVICES", "4"), ("CUDA_VISIBLE_DEVICES", "2,0")]);
    probe("prescribed", &[]);
    probe("proc-address", &[]);
}

#[test]
fn memory() {
    probe("memory", &[("WARPLENS_SIM_MEMORY", "1073741824")]);
    probe("virtual-memory", &[]);
}

#[test]
fn faults() {
    probe("second-subscriber", &[]);
    for error in ["15", "39", "999"] {
        probe("subscribe-error", &[("WARPLENS_SIM_ERROR_SUBSCRIBE", error)]);
    }
    for error in ["35", "15", "999"] {
        probe("enable-error", &[("WARPLENS_SIM_ERROR_ENABLE", error)]);
    }
    for version in ["12.9", "13.5"] {
        probe("no-device", &[("WARPLENS_SIM_DEVICES", "0"), ("WARPLENS_SIM_CUPTI", version)]);
    }
    probe("failing-launches", &[("WARPLENS_SIM_FAIL_EVERY", "5")]);
    probe("fork", &[]);
}

#[test]
fn injection_is_the_real_drivers() {
    let library = library_folder().join("libsim_injected.so");
    let path = library.to_str().expect("a path of ASCII");
    for devices in ["1", "0"] {
        for answer in ["0", "1"] {
            probe(
                "injection",
                &[
                    ("CUDA_INJECTION64_PATH", path),
                    ("SIM_INJECTED_ANSWER", answer),
                    ("WARPLENS_SIM_DEVICES", devices),
                ],
            );
        }
    }
    // Also as a bare name on the loader's path.
    probe(
        "injection",
        &[("CUDA_INJECTION64_PATH", "libsim_injected.so"), ("SIM_INJECTED_ANSWER", "1")],
    );
    probe("injection-missing", &[("CUDA_INJECTION64_PATH", "/nonexistent/library.so")]);
    probe("injection-missing", &[("CUDA_INJECTION64_PATH", "libc.so.6")]);
}

#[test]
fn launches_are_all_accounted_for() {
    probe("cost", &[]);
}

#[test]
fn cudarc_runs_on_it() {
    run(env!("CARGO_BIN_EXE_cudarc-client"), &[], &[("WARPLENS_SIM_DEVICES", "2")]);
}
