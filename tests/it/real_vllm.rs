//! A real vLLM server on CPU: every process with its role, and whole stacks of those that work.

use std::collections::BTreeMap;
use std::time::Duration;

use warplens_tests::harness::agent::{record, run};
use warplens_tests::harness::real_vllm::RealVllm;
use warplens_tests::harness::wait;
use warplens_tests::judge::pprof::{self, Stack};
use warplens_tests::require;

const LIMIT: Duration = Duration::from_secs(90);
/// Long enough for some thousand samples of two busy processors.
const SECONDS: u32 = 15;
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
    let (ended, out) = record(server.pid, SECONDS, folder, "out").unwrap();
    drop(load);
    assert_eq!(ended.code, 0, "{ended:?}");
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
