//! The whole path on the simulator, judged against its ground truth.

mod attach;
mod borrowed;
mod bundle;
pub(crate) mod daemon;
mod detach;
mod diff;
mod entering;
mod evidence;
mod exhaustion;
mod farewell;
mod faults;
mod flight;
mod gpu_list;
mod graphs;
mod host;
mod idle;
mod levels;
mod memory;
mod namespaces;
mod neighbour;
mod pace;
mod probes;
mod servers;
mod steps;
mod successor;
mod trust;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::{assert_refused, record, run, start_record};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Ended, send};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::{Run, Server};
use warplens_tests::harness::wait;
use warplens_tests::judge::{self, Verdict, shares};
use warplens_tests::require;
use wire::shim::Level;

const LIMIT: Duration = Duration::from_mins(1);
/// The heartbeat's limit and a turn of the shim's thread.
const DORMANT_LIMIT: Duration = Duration::from_millis(4500);

/// Begins what stands where frames are missing.
const CUT: &str = "[cut";

/// A run with the shim, late and zero-timestamp records, and a seed of its own.
fn noisy_run(devices: u32, seed: u32) -> Run {
    Run::new(devices)
        .unwrap()
        .with_shim()
        .unwrap()
        .with("WARPLENS_SIM_SEED", &seed.to_string())
        .with("WARPLENS_SIM_LATE", "5,150")
        .with("WARPLENS_SIM_ZERO", "2")
}

fn fresh_seed() -> u32 {
    let seed =
        std::process::id() ^ u32::from(fs::read("/proc/self/stat").unwrap()[0]).rotate_left(9);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    seed ^ time.subsec_nanos()
}

fn judged(run: &Run, out: &Path) -> Verdict {
    judge::judge(&run.truth(), &out.join("report.json"), &artefacts::kernel_table()).unwrap()
}

fn assert_exact(verdict: &Verdict, what: &str) {
    let differences: Vec<_> = verdict.differences().collect();
    assert!(verdict.exact(), "{what}: {differences:#?} {:#?}", verdict.notes);
}

/// The recording ended well and its report is exact.
fn assert_recorded(run: &Run, ended: &Ended, out: &Path, what: &str) -> Verdict {
    assert_eq!(ended.code, 0, "{what}: {ended:?}");
    let verdict = judged(run, out);
    assert_exact(&verdict, what);
    verdict
}

fn report(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Kernels on a device, and how much of its window was observed, percent.
fn observed(device: &Value) -> (u64, f64) {
    let unobserved = device["exclusive_ns"]["unobserved"].as_f64().unwrap();
    let window = device["window_ns"].as_f64().unwrap();
    (device["kernels"].as_u64().unwrap(), 100.0 * (1.0 - unobserved / window))
}

fn serve(run: &Run, seed: u32, arguments: &[&str]) -> Server {
    let seed = seed.to_string();
    let all: Vec<&str> = arguments.iter().copied().chain(["--seed", &seed]).collect();
    run.serve(&all).unwrap()
}

#[test]
fn twenty_seconds_at_full_rate_are_exact() {
    require!(E2e);
    let seed = fresh_seed();
    println!("seed {seed}");
    let run = noisy_run(2, seed);
    let mut server = serve(&run, seed, &["--rate", "25000", "--single-rate", "6000"]);
    let (ended, out) = record(server.pid(), 20, run.folder(), "out").unwrap();
    let stopped = server.stop().unwrap();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let verdict = assert_recorded(&run, &ended, &out, &format!("seed {seed}"));
    assert_eq!((verdict.devices, verdict.processes), (2, 2));
    for device in report(&out)["devices"].as_array().unwrap() {
        let (kernels, percent) = observed(device);
        // Two thirds of the rate: the machine may be busy, but a trickle would prove nothing.
        assert!(kernels > 12_500 * 20 * 2 / 3, "seed {seed}: only {kernels} kernels");
        assert!(percent > 80.0, "seed {seed}: only {percent} % of the window was observed");
        assert!(device["records"]["invalid"].as_u64().unwrap() > 0, "{}", device["records"]);
    }
    assert_sampled(&out);
    let trace = fs::metadata(out.join("trace.pftrace")).unwrap();
    assert!(trace.len() > 1_000_000, "{} bytes for 300 000 kernels", trace.len());
    // From the interpreter's start through Python's functions down to the call.
    let folded = fs::read_to_string(out.join("gpu.folded")).unwrap();
    for call in ["cudaGraphLaunch", "cudaLaunchKernel"] {
        let whole = |line: &&str| {
            line.contains("__libc_start_call_main")
                && line.contains(" (worker.py:")
                && line.contains(call)
        };
        assert!(folded.lines().any(|line| whole(&line)), "no whole stack down to {call}");
    }
    same_when_analyzed(&run, &out);
    damaged_recordings_are_told_apart(&out);
}

/// At least 95 % of the kernels' time hangs under a sampled stack.
fn assert_sampled(out: &Path) {
    let found = shares::read(&out.join("gpu.folded"), &[]).unwrap();
    assert!(found.total_ns > 0 && found.sampled_percent >= 95.0, "{found:?}");
}

/// `analyze` of the recording gives the live report's devices and workers.
fn same_when_analyzed(run_folder: &Run, out: &Path) {
    let ended = run(
        &["analyze", out.join("recording.warplens").to_str().unwrap(), "--json"],
        run_folder.folder(),
        "analyze",
        LIMIT,
    )
    .unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let again: Value = serde_json::from_str(&ended.stdout).unwrap();
    let live = report(out);
    for part in ["simulated", "devices", "workers"] {
        assert_eq!(again[part], live[part], "{part}: analyze against record");
    }
}

/// Truncated and corrupt recordings: one line with the file's name, nothing on stdout.
fn damaged_recordings_are_told_apart(out: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(out.join("recording.warplens")).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut newer = whole.clone();
    newer[8] ^= 0x40;
    for (name, bytes) in [
        ("half.warplens", &whole[..whole.len() / 2]),
        ("cut.warplens", &whole[..whole.len() - 1]),
        ("start.warplens", &whole[..9]),
        ("flipped.warplens", &flipped[..]),
        ("newer.warplens", &newer[..]),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let ended = run(&["analyze", path.to_str().unwrap()], folder.path(), "analyze", LIMIT);
        let ended = ended.unwrap();
        assert_refused(&ended, 1, name);
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}

#[test]
fn launch_sites_get_their_shares() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut worker = run.work(&["--seconds", "0", "--rate", "4000", "--seed", "3"]).unwrap();
    let (ended, out) = record(worker.pid(), 10, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    let end = worker.wait(LIMIT).unwrap();
    assert_eq!(end.code, 0, "{end:?}");
    assert_recorded(&run, &ended, &out, "launch sites");
    let sites = shares::worker_output(&run.folder().join("worker.stdout")).unwrap().sites;
    let found = shares::read(&out.join("gpu.folded"), &sites).unwrap();
    assert!(found.worst() <= 2.0, "{found:#?}");
    assert!(found.under_sites_percent >= 95.0, "{found:#?}");
    // Built with frame pointers: every stack is whole, from the thread's first function on.
    let folded = fs::read_to_string(out.join("gpu.folded")).unwrap();
    assert!(!folded.contains(CUT), "{folded}");
    let sampled: Vec<&str> = folded.lines().filter(|line| line.contains("cuLaunch")).collect();
    assert!(!sampled.is_empty());
    for line in sampled {
        assert!(line.contains("start_thread") || line.contains("__libc_start_call_main"), "{line}");
    }
}

#[test]
fn launch_sites_are_found_behind_graphs_and_threads() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let arguments =
        ["--seconds", "0", "--rate", "2000", "--graphs", "40", "--threads", "3", "--alloc", "2"];
    let mut worker = run.work(&arguments).unwrap();
    let (ended, out) = record(worker.pid(), 6, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    let end = worker.wait(LIMIT).unwrap();
    assert_eq!(end.code, 0, "{end:?}");
    assert_recorded(&run, &ended, &out, "graphs and threads");
    let folded = fs::read_to_string(out.join("gpu.folded")).unwrap();
    assert!(folded.contains("replay_graph"), "replays hang under the function that launches them");
}

#[test]
fn failing_launches_do_not_disturb_the_figures() {
    require!(E2e);
    let run = noisy_run(1, 5);
    let mut worker = run
        .work(&["--seconds", "0", "--rate", "2000", "--graphs", "20", "--fail-every", "9"])
        .unwrap();
    let (ended, out) = record(worker.pid(), 5, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_recorded(&run, &ended, &out, "failing launches");
}

#[test]
fn correlation_ids_may_wrap_while_recording() {
    require!(E2e);
    // About two seconds of launches before the wrap.
    let start = (u64::from(u32::MAX) - 30_000).to_string();
    let run = noisy_run(1, 6).with("WARPLENS_SIM_CORRELATION_START", &start);
    let mut worker = run.work(&["--seconds", "0", "--rate", "5000", "--graphs", "10"]).unwrap();
    let (ended, out) = record(worker.pid(), 6, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_recorded(&run, &ended, &out, "wrapping correlation ids");
}

#[test]
fn dropped_records_are_counted_and_their_time_is_not_called_idle() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_SIM_DROP", "2");
    let mut worker = run.work(&["--seconds", "0", "--rate", "3000"]).unwrap();
    let (ended, out) = record(worker.pid(), 5, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    let verdict = assert_recorded(&run, &ended, &out, "dropped records");
    assert!(verdict.rows.iter().any(|row| row.what == "losses noticed"), "{:?}", verdict.notes);
}

#[test]
fn a_killed_agent_leaves_the_worker_and_its_successor_is_exact() {
    require!(E2e);
    let seed = fresh_seed();
    let run = noisy_run(1, seed);
    let mut server = serve(&run, seed, &["--rate", "8000", "--single-rate", "2000"]);
    let worker = server.workers[0].pid;
    let level = || ring::look(worker).map(|view| view.level());
    for round in 0..3 {
        let name = format!("killed{round}");
        let (agent, out) = start_record(server.pid(), 30, run.folder(), &name).unwrap();
        let armed = wait::until(LIMIT, || {
            level().filter(|&level| level >= Level::Counting as u32).map(|_level| ())
        });
        assert!(armed.is_some(), "round {round}: never armed: {}", agent.stderr());
        // Different moments of its life each round.
        std::thread::sleep(Duration::from_millis(150 + 700 * round));
        send(agent.pid(), Signal::KILL);
        drop(agent);
        if round == 1 {
            let dormant = wait::until(DORMANT_LIMIT, || {
                (level() == Some(Level::Dormant as u32)).then_some(())
            });
            assert!(dormant.is_some(), "still at level {:?}", level());
        }
        assert!(!out.join("report.json").exists(), "nothing half-written");
        let (ended, out) = record(server.pid(), 3, run.folder(), &format!("after{round}")).unwrap();
        assert_recorded(&run, &ended, &out, &format!("seed {seed} round {round}"));
        let window = report(&out)["devices"][0]["window_ns"].as_u64().unwrap();
        assert!(window > 2_500_000_000, "round {round}: observed only {window} ns of 3 s");
        assert_sampled(&out);
    }
    let stopped = server.stop().unwrap();
    assert_eq!(stopped.code, 0, "{stopped:?}");
}

#[test]
fn a_second_agent_is_told_who_holds_the_ring() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut worker = run.work(&["--seconds", "0", "--rate", "1000"]).unwrap();
    let (mut first, out) = start_record(worker.pid(), 5, run.folder(), "first").unwrap();
    let armed = wait::until(LIMIT, || {
        ring::look(worker.pid())
            .filter(|view| view.level() >= Level::Counting as u32)
            .map(|_view| ())
    });
    assert!(armed.is_some(), "{}", first.stderr());
    let (second, second_out) = record(worker.pid(), 1, run.folder(), "second").unwrap();
    assert_refused(&second, 1, &format!("PID {}", first.pid()));
    assert!(!second_out.exists(), "nothing half-written");
    let ended = first.wait(LIMIT).unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_recorded(&run, &ended, &out, "the first agent, disturbed by a second");
}

#[test]
fn a_process_that_ends_during_record_is_reported_as_far_as_it_went() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut worker = run.work(&["--seconds", "3", "--rate", "1000"]).unwrap();
    let pid = worker.pid();
    let (ended, out) = record(pid, 30, run.folder(), "out").unwrap();
    assert_refused(&ended, 1, &pid.to_string());
    worker.wait(LIMIT).unwrap();
    assert_exact(&judged(&run, &out), "until the process ended");
    same_when_analyzed(&run, &out);
}

#[test]
fn a_forking_worker_is_counted_once() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut worker = run.work(&["--seconds", "0", "--rate", "1000", "--fork"]).unwrap();
    let (ended, out) = record(worker.pid(), 3, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    let end = worker.wait(LIMIT).unwrap();
    assert_eq!(end.code, 0, "{end:?}");
    let verdict = assert_recorded(&run, &ended, &out, "a worker that forked");
    assert_eq!(verdict.processes, 1, "{:?}", verdict.notes);
}

#[test]
fn the_variant_without_frame_pointers_counts_the_same() {
    require!(E2e);
    // `cargo xtask sim` lays the variants out side by side.
    let variant = artefacts::simulator().unwrap().with_file_name("no-frame-pointers");
    assert!(variant.join("libcuda.so.1").exists(), "no simulator in {}", variant.display());
    let run = noisy_run(1, 8).with("LD_LIBRARY_PATH", variant.to_str().unwrap());
    let mut worker = run.work(&["--seconds", "0", "--rate", "2000"]).unwrap();
    let (ended, out) = record(worker.pid(), 4, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_recorded(&run, &ended, &out, "without frame pointers");
}
