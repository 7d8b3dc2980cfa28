//! A real vLLM server on CPU: every process with its role, and whole stacks of those that work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use warplens_tests::harness::agent::{Recording, run};
use warplens_tests::harness::process;
use warplens_tests::harness::real_vllm::RealVllm;
use warplens_tests::harness::wait;
use warplens_tests::judge::pprof::{self, Stack};
use warplens_tests::require;

const LIMIT: Duration = Duration::from_secs(90);
/// A server under load is observed for this long.
const OBSERVED: Duration = Duration::from_secs(25);
/// And on until each worker has used this much CPU, seconds, some 500 samples: on a busy machine, or where
/// requests end and begin together, a server may stand still for a while.
const WORKED: f64 = 5.0;
const WORKED_LIMIT: Duration = Duration::from_mins(2);
/// The agent's usual.
const HZ: u32 = 99;
/// The share of stacks that must reach a thread's first function, percent.
const ROOTED_PERCENT: f64 = 98.5;
/// Stands where a leaf lies in code that no file holds.
const ANONYMOUS: &str = "[anonymous code]";

/// Samples of one process, by what their stacks are.
#[derive(Debug, Default)]
struct Tally {
    all: u64,
    /// The leaf lies in anonymous executable memory.
    anonymous: u64,
    /// Of the others: no frame is missing at the root.
    rooted: u64,
    /// Of the others: a frame of vLLM's own extension.
    extension: u64,
    extension_rooted: u64,
    /// Some Python function of vLLM stands above a frame of its extension.
    whole: u64,
}

impl Tally {
    fn add(&mut self, stack: &Stack) {
        self.all += stack.value;
        if stack.frames.first().is_some_and(|leaf| leaf.name.starts_with(ANONYMOUS)) {
            self.anonymous += stack.value;
            return;
        }
        let rooted = !stack.frames.iter().any(|frame| frame.name.starts_with("[cut"));
        let extension = stack.frames.iter().position(|frame| is_extension(&frame.module));
        if rooted {
            self.rooted += stack.value;
        }
        let Some(at) = extension else { return };
        self.extension += stack.value;
        if rooted {
            self.extension_rooted += stack.value;
        }
        if stack.frames[at..].iter().any(|frame| frame.name.starts_with("vllm.v1.")) {
            self.whole += stack.value;
        }
    }

    fn rooted_percent(&self) -> f64 {
        percent(self.rooted, self.all - self.anonymous)
    }

    fn extension_rooted_percent(&self) -> f64 {
        percent(self.extension_rooted, self.extension)
    }
}

/// `_C.abi3.so`, or the variant of it that this processor takes.
fn is_extension(module: &str) -> bool {
    module.starts_with("_C") && module.ends_with(".abi3.so")
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / (whole as f64).max(1.0)
}

/// Records a server under load; tallies by process, as profiles title it.
fn recorded_under_load(server: &RealVllm, folder: &std::path::Path) -> BTreeMap<String, Tally> {
    let load = server.load(8, 64).unwrap();
    let generated = || server.metric("vllm:generation_tokens_total").ok();
    let before = generated().unwrap_or(0.0);
    let busy = wait::until(LIMIT, || {
        std::thread::sleep(Duration::from_millis(500));
        generated().filter(|&tokens| tokens > before + 500.0)
    });
    assert!(busy.is_some(), "no tokens: {}", load.stderr());
    let recording = Recording::of_host(&[server.pid], HZ, folder, "out").unwrap();
    let agent = recording.child.pid();
    let (tokens, begin) = (generated().unwrap(), Instant::now());
    let before = process::cpu_seconds(agent).unwrap();
    let had = worked(server);
    std::thread::sleep(OBSERVED);
    let enough = wait::until(WORKED_LIMIT, || {
        let have = worked(server);
        had.iter().all(|(pid, had)| have[pid] - had >= WORKED).then_some(())
    });
    let observed = begin.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(agent).unwrap() - before;
    println!(
        "{:.0} tokens in {observed:.0} s, workers' CPU before {had:?} and after {:?} s",
        generated().unwrap() - tokens,
        worked(server)
    );
    assert!(enough.is_some(), "the server stands still; the load says {}", load.stderr());
    let memory = ["RssAnon", "RssFile"].map(|key| process::status_mib(agent, key).unwrap());
    let (ended, out) = recording.finish().unwrap();
    drop(load);
    assert_eq!(ended.code, 0, "{ended:?}");
    println!(
        "the agent: {:.2} % of a core, {:.1} MiB of its own, {:.1} MiB of files",
        100.0 * cpu / observed,
        memory[0],
        memory[1]
    );
    // Whatever there is to read of files meanwhile, nothing overflows.
    let report = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(!report.contains("ring buffer full"), "{report}");
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for stack in pprof::read(&out.join("cpu.pb.gz")).unwrap() {
        tallies.entry(stack.process.clone()).or_default().add(&stack);
    }
    for (process, tally) in &tallies {
        println!(
            "{process}: {} samples, {:.2} % with a root, {} through vLLM's extension, {:.2} % of them with a root, {} below Python of vLLM; {} in anonymous code",
            tally.all,
            tally.rooted_percent(),
            tally.extension,
            tally.extension_rooted_percent(),
            tally.whole,
            tally.anonymous
        );
    }
    tallies
}

/// CPU seconds of every worker so far.
fn worked(server: &RealVllm) -> BTreeMap<u32, f64> {
    let is_worker = |pid: &u32| {
        let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.starts_with("VLLM::Worker")
    };
    let workers = process::tree(server.pid).into_iter().filter(is_worker);
    workers.map(|pid| (pid, process::cpu_seconds(pid).unwrap())).collect()
}

/// Of every worker: stacks reach from vLLM's Python into its extension, and have their root.
fn assert_whole(tallies: &BTreeMap<String, Tally>, workers: usize) {
    let of_workers: Vec<&Tally> = tallies
        .iter()
        .filter(|(process, _)| process.contains("VLLM::Worker"))
        .map(|(_, tally)| tally)
        .collect();
    assert_eq!(of_workers.len(), workers, "{tallies:#?}");
    for tally in of_workers {
        assert!(tally.all > 200, "{tallies:#?}");
        assert!(tally.whole > 0, "no stack from Python into the extension: {tallies:#?}");
        assert!(tally.extension_rooted_percent() >= ROOTED_PERCENT, "{tallies:#?}");
    }
    let mut all = Tally::default();
    for tally in tallies.values() {
        all.all += tally.all;
        all.anonymous += tally.anonymous;
        all.rooted += tally.rooted;
    }
    println!("all: {:.2} % of {} samples with a root", all.rooted_percent(), all.all);
    assert!(all.rooted_percent() >= ROOTED_PERCENT, "{tallies:#?}");
}

/// Role and rank of every process of the server that `warplens servers` lists, sorted; the helper
/// processes, which have no role, left out.
fn roles(server: &RealVllm, folder: &std::path::Path) -> Vec<(String, String)> {
    let ended = run(&["servers", "--json"], folder, "servers", LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let listed: Value = serde_json::from_str(&ended.stdout).unwrap();
    let servers = listed["servers"].as_array().unwrap();
    let ours = servers.iter().find(|listed| listed["id"] == server.pid).unwrap();
    assert_eq!(ours["served_model_name"], "tiny", "{ours}");
    assert_eq!(ours["port"], server.port(), "{ours}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let processes = ours["processes"].as_array().unwrap().iter();
    let mut roles: Vec<(String, String)> = processes
        .map(|process| (text(&process["role"]), text(&process["rank"])))
        .filter(|(role, _)| role != "process")
        .collect();
    roles.sort();
    roles
}

fn assert_roles(server: &RealVllm, folder: &std::path::Path, expected: &[(&str, &str)]) {
    let roles = roles(server, folder);
    let roles: Vec<(&str, &str)> =
        roles.iter().map(|(role, rank)| (role.as_str(), rank.as_str())).collect();
    println!("{roles:?}");
    assert_eq!(roles, expected);
}

#[test]
fn one_worker() {
    require!(RealVllm);
    let folder = tempfile::tempdir().unwrap();
    let server = RealVllm::start(&[], &[], folder.path()).unwrap();
    let expected = [("engine_core", ""), ("frontend", ""), ("worker", "")];
    assert_roles(&server, folder.path(), &expected);
    assert_whole(&recorded_under_load(&server, folder.path()), 1);
}

#[test]
fn two_tensor_parallel_workers() {
    require!(RealVllm);
    let folder = tempfile::tempdir().unwrap();
    let variables = [("VLLM_CPU_OMP_THREADS_BIND", "0|1")];
    let server =
        RealVllm::start(&["--tensor-parallel-size", "2"], &variables, folder.path()).unwrap();
    let expected = [("engine_core", ""), ("frontend", ""), ("worker", "TP0"), ("worker", "TP1")];
    assert_roles(&server, folder.path(), &expected);
    assert_whole(&recorded_under_load(&server, folder.path()), 2);
}

#[test]
fn two_api_servers() {
    require!(RealVllm);
    let folder = tempfile::tempdir().unwrap();
    let server = RealVllm::start(&["--api-server-count", "2"], &[], folder.path()).unwrap();
    let expected = [
        ("api_server", "0"),
        ("api_server", "1"),
        ("engine_core", ""),
        ("frontend", ""),
        ("worker", ""),
    ];
    assert_roles(&server, folder.path(), &expected);
    assert_whole(&recorded_under_load(&server, folder.path()), 1);
}
