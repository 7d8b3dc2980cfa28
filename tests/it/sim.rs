//! The programs to profile, on the simulator, without any profiler.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use sim_truth::{Effect, Truth, WorkKind};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command, send};
use warplens_tests::harness::process;
use warplens_tests::harness::server::{Run, WorkerEnd, worker_ends};
use warplens_tests::harness::wait;
use warplens_tests::require;

fn truth(run: &Run, pid: u32) -> Truth {
    Truth::read(&run.truth().join(format!("{pid}.truth"))).unwrap()
}

#[test]
fn the_server_refuses_to_run_without_the_simulator() {
    require!(Sim);
    let folder = tempfile::tempdir().unwrap();
    let ended = Child::run(
        command("python3").arg(artefacts::program("sim_vllm.py")).env("LD_LIBRARY_PATH", ""),
        folder.path(),
        "refused",
        Duration::from_secs(30),
    )
    .unwrap();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("refused:"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn the_tree_looks_like_vllm_and_ends_as_one() {
    require!(Sim);
    let run = Run::new(2).unwrap();
    let mut server = run.serve(&["--rate", "4000", "--single-rate", "1000"]).unwrap();
    let tree = server.tree();
    let titles: Vec<String> = tree.iter().map(|&pid| process::command_line(pid).unwrap()).collect();
    assert!(titles[0].contains("/vllm serve sim/"), "{titles:?}");
    assert_eq!(
        titles[1..],
        ["VLLM::EngineCore", "VLLM::Worker_TP0", "VLLM::Worker_TP1"],
        "the engine, then its workers in rank order"
    );
    assert_eq!(process::thread_name(tree[2]).unwrap(), "VLLM::Worker_TP");
    for &pid in &tree[1..] {
        let environment = process::environment(pid).unwrap();
        assert!(environment.len() > 100 && environment.iter().all(|&byte| byte == 0), "{pid}");
    }
    assert!(process::environment(tree[0]).unwrap().first().is_some_and(|&byte| byte != 0));
    assert!(process::mappings(tree[0], "libcuda").is_empty(), "the frontend maps no CUDA");
    assert!(!process::mappings(tree[2], "libcuda.so.1").is_empty());

    let ended = server.stop().unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(tree.iter().all(|&pid| !process::alive(pid)), "{tree:?} must be gone");
}

#[test]
fn killing_the_frontend_ends_its_tree() {
    require!(Sim);
    let run = Run::new(1).unwrap();
    let server = run.serve(&["--rate", "2000", "--single-rate", "1000"]).unwrap();
    let tree = server.tree();
    assert_eq!(tree.len(), 3);
    send(server.pid(), Signal::KILL);
    let gone = wait::until(Duration::from_secs(15), || {
        tree.iter().all(|&pid| !process::alive(pid)).then_some(())
    });
    assert!(gone.is_some(), "{tree:?} must be gone");
}

#[test]
fn the_server_holds_its_rates_and_counts_as_the_simulator_does() {
    require!(Sim);
    let run = Run::new(2).unwrap();
    let mut server = run
        .serve(&["--rate", "25000", "--single-rate", "6000", "--seconds", "6", "--seed", "11"])
        .unwrap();
    let ended = server.child.wait(Duration::from_mins(1)).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let workers = worker_ends(&ended.stdout);
    assert_eq!(workers.len(), 2, "{}", ended.stdout);
    for worker in &workers {
        counts_agree(worker, &truth(&run, worker.pid));
        work_is_varied(&truth(&run, worker.pid));
    }
    // The launches of the start-up pass come on top of the rate.
    let graphs: u64 = workers.iter().map(|worker| worker.graph_kernels).sum();
    let seconds = workers[0].seconds;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = graphs as f64 / seconds;
    assert!((rate - 19_000.0).abs() < 1_900.0, "{rate} graph kernels/s instead of 19000");
}

fn counts_agree(worker: &WorkerEnd, truth: &Truth) {
    assert_eq!(truth.counters.lost, 0);
    let launched = worker.launches_ok + worker.launches_captured + worker.graph_launches;
    assert_eq!(truth.counters.launches, launched, "{worker:?}");
    assert_eq!(truth.counters.graph_launches, worker.graph_launches, "{worker:?}");
    assert_eq!(
        truth.counters.launches_failed,
        worker.launches_failed + worker.graph_launches_failed,
        "{worker:?}"
    );
    let kernels = truth.works.iter().filter(|work| work.kind == WorkKind::Kernel).count() as u64;
    assert_eq!(kernels, worker.launches_ok + worker.graph_kernels, "{worker:?}");
    let copies = truth.works.len() as u64 - kernels;
    assert_eq!(copies, worker.copies_ok, "{worker:?}");
}

/// Streams, copies, synchronisation, and communication under GEMM.
fn work_is_varied(truth: &Truth) {
    let streams: BTreeSet<u32> = truth.works.iter().map(|work| work.stream).collect();
    assert!(streams.len() >= 4, "{streams:?}");
    let names: BTreeSet<&String> = truth.names.values().collect();
    assert!(names.len() >= 30, "{} kernel names", names.len());
    assert!(truth.calls.values().any(|call| call.effect == Effect::Sync && !call.captured));
    let of = |part: &str| -> Vec<(u64, u64)> {
        truth
            .works
            .iter()
            .filter(|work| truth.names.get(&work.name).is_some_and(|name| name.contains(part)))
            .map(|work| (work.start_ns, work.end_ns))
            .collect()
    };
    let (reduce, gemm) = (of("AllReduce"), of("nvjet"));
    let together =
        reduce.iter().any(|&(start, end)| gemm.iter().any(|&(from, to)| from < end && start < to));
    assert!(together, "no all-reduce ran under a GEMM");
}

#[derive(Debug, Deserialize)]
struct CudaWorkerEnd {
    simulated: bool,
    sites: Vec<CudaSite>,
    launches_ok: u64,
    launches_failed: u64,
    launches_captured: u64,
    graph_launches: u64,
    graph_kernels: u64,
    allocations: BTreeMap<String, CudaFamily>,
    child: Option<serde_json::Value>,
    as_expected: bool,
}

#[derive(Debug, Deserialize)]
struct CudaSite {
    kernel: String,
    duration_ns: u64,
    launches: u64,
    share_percent: f64,
}

#[derive(Debug, Deserialize)]
struct CudaFamily {
    allocations: u64,
    failed: u64,
}

fn work(run: &Run, arguments: &[&str]) -> (CudaWorkerEnd, Truth) {
    let mut child = run.work(arguments).unwrap();
    let ended = child.wait(Duration::from_mins(1)).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = ended.stdout.lines().last().unwrap();
    (serde_json::from_str(line).unwrap(), truth(run, child.pid()))
}

#[test]
fn the_rust_worker_counts_as_the_simulator_does() {
    require!(Sim);
    let run = Run::new(1).unwrap();
    let (end, truth) =
        work(&run, &["--seconds", "2", "--rate", "1000", "--graphs", "20", "--threads", "2"]);
    assert!(end.simulated && end.as_expected, "{end:?}");
    assert!(end.launches_ok > 1000 && end.graph_launches > 20, "{end:?}");
    assert_eq!(end.launches_failed, 0);
    let launched = end.launches_ok + end.launches_captured + end.graph_launches;
    assert_eq!(truth.counters.launches, launched, "{end:?}");
    let mut by_kernel: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for kernel in truth.works.iter().filter(|work| work.kind == WorkKind::Kernel) {
        let key = (truth.names[&kernel.name].clone(), kernel.end_ns - kernel.start_ns);
        *by_kernel.entry(key).or_default() += 1;
    }
    assert_eq!(by_kernel.values().sum::<u64>(), end.launches_ok + end.graph_kernels);
    let shares: f64 = end.sites.iter().map(|site| site.share_percent).sum();
    assert!((shares - 100.0).abs() < 1e-6, "{end:?}");
    // The GEMM's two sites differ in duration, so the truth tells them apart.
    for site in end.sites.iter().filter(|site| site.kernel.starts_with("nvjet")) {
        let count = by_kernel[&(site.kernel.clone(), site.duration_ns)];
        let per_replay = (end.graph_kernels / end.graph_launches) / 5;
        assert_eq!(count, site.launches + end.graph_launches * per_replay, "{site:?}");
    }
}

#[test]
fn the_rust_worker_uses_every_allocation_family() {
    require!(Sim);
    let run = Run::new(1).unwrap();
    let (end, _truth) = work(&run, &["--seconds", "1", "--rate", "100", "--alloc", "5"]);
    let families: Vec<&str> = end.allocations.keys().map(String::as_str).collect();
    assert_eq!(
        families,
        ["async", "device", "managed", "pinned", "pitch", "registered", "virtual"]
    );
    for (name, family) in &end.allocations {
        assert!(family.allocations >= 3 && family.failed == 0, "{name}: {family:?}");
    }
}

#[test]
fn failed_launches_are_counted_and_leave_no_work() {
    require!(Sim);
    let run = Run::new(1).unwrap();
    let (end, truth) = work(&run, &["--seconds", "1", "--rate", "1000", "--fail-every", "10"]);
    assert!(end.as_expected && end.launches_failed > 50, "{end:?}");
    assert_eq!(truth.counters.launches_failed, end.launches_failed);
    let kernels = truth.works.iter().filter(|work| work.kind == WorkKind::Kernel).count() as u64;
    assert_eq!(kernels, end.launches_ok);
}

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    require!(Sim);
    let run = Run::new(1).unwrap();
    let (end, truth) = work(&run, &["--seconds", "1", "--rate", "500", "--fork"]);
    assert_eq!(end.child.as_ref().unwrap()["refused"], true, "{end:?}");
    assert_eq!(truth.counters.launches, end.launches_ok);
}
