//! What the shim adds to a launch on the simulator (runtime and driver, enter and exit), against
//! a subscriber whose callback does nothing, and what an activity record costs in the completion
//! callback. Variants take turns in one run; each lives in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use warplens::bpf::Bpf;
use warplens::shim::{WorkerRing, find, library_with};
use warplens_bench::{figure, median, per};
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use wire::shim::{Level, PROBE_SYMBOL};

/// Launches a turn, and turns.
const LAUNCHES: u64 = 20_000;
const TURNS: usize = 9;
/// A subscriber that asks for kernel records, too, and throws them away.
const EMPTY_WITH_RECORDS: &str = "empty-subscriber-with-records";
const LIMIT: Duration = Duration::from_mins(1);

/// One variant under measurement.
struct Variant {
    name: &'static str,
    child: Child,
    ring: Option<Drained>,
    figures: Vec<f64>,
}

/// A ring that a thread keeps empty.
struct Drained {
    stop: std::sync::Arc<AtomicBool>,
    thread: thread::JoinHandle<WorkerRing>,
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shim = artefacts::shim().context("the shim")?;
    let empty = build_empty_subscriber()?;
    let mut bpf = Bpf::load().context("load the kernel programs")?;
    let mut variants = vec![
        start("no-library", None, folder.path())?,
        start("empty-subscriber", Some(&empty), folder.path())?,
        start(EMPTY_WITH_RECORDS, Some(&empty), folder.path())?,
    ];
    for (name, level, rate) in [
        ("watching", Level::Watching, 0),
        ("counting", Level::Counting, 0),
        ("stacks-100-a-second", Level::Stacks, 100),
        ("every-stack", Level::Stacks, 1_000_000),
    ] {
        let mut variant = start(name, Some(&shim), folder.path())?;
        variant.ring = Some(arm(&mut bpf, variant.child.pid(), level, rate)?);
        variants.push(variant);
    }
    for turn in 0..=TURNS {
        for variant in &mut variants {
            let ns = launch(&mut variant.child, turn)?;
            // The first turn warms caches and lets the sampler settle.
            if turn > 0 {
                variant.figures.push(ns);
            }
        }
        // Nobody reads the stacks; an empty ring buffer costs what a read one does.
        bpf.poll(|_| {});
    }
    let mut base = 0.0;
    for variant in variants {
        let ns = median(variant.figures);
        if variant.name == EMPTY_WITH_RECORDS {
            base = ns;
        }
        figure(&format!("launch/{}", variant.name), ns, "ns");
        if let Some(drained) = variant.ring {
            // A watching shim has asked for no records; what it adds shows against no library.
            if variant.name != "watching" {
                figure(&format!("launch/{}-over-empty-subscriber", variant.name), ns - base, "ns");
            }
            report_records(variant.name, drained)?;
        }
    }
    Ok(())
}

fn report_records(name: &str, drained: Drained) -> Result<()> {
    drained.stop.store(true, Ordering::Relaxed);
    let ring =
        drained.thread.join().map_err(|_panic| anyhow::anyhow!("the drain thread panicked"))?;
    let status = ring.status();
    ensure!(status.lost == 0 && status.discarded == 0, "{name}: {} records were lost", status.lost);
    if name == "counting" {
        ensure!(
            status.activities >= LAUNCHES * TURNS as u64,
            "{name}: {} records of {} launches: {status:?}",
            status.activities,
            status.launches
        );
        let ns = per(status.completion_ns, status.activities);
        figure("activity/record", ns, "ns");
    }
    if name == "every-stack" {
        ensure!(status.stacks_sampled > LAUNCHES, "{name}: only {} stacks", status.stacks_sampled);
    }
    Ok(())
}

fn start(name: &'static str, library: Option<&Path>, folder: &Path) -> Result<Variant> {
    let program = artefacts::repository().join("target/release/launch-loop");
    let mut command = command(&program);
    command.env("LD_LIBRARY_PATH", artefacts::simulator()?);
    if name == EMPTY_WITH_RECORDS {
        command.env("EMPTY_SUBSCRIBER_RECORDS", "1");
    }
    if let Some(library) = library {
        command.env("CUDA_INJECTION64_PATH", library);
    }
    let mut child = Child::start(&mut command, folder, name)?;
    child.line("ready", LIMIT)?;
    Ok(Variant { name, child, ring: None, figures: Vec::new() })
}

fn launch(child: &mut Child, turn: usize) -> Result<f64> {
    ensure!(child.write(&format!("{LAUNCHES}\n")), "the launch loop has ended");
    let answer = child.line(&format!("#{turn} "), LIMIT)?;
    let (_, ns) = answer.trim().split_once(' ').context("a figure")?;
    Ok(ns.parse()?)
}

/// Attaches to the worker's ring, waits for the level and keeps the ring empty.
fn arm(bpf: &mut Bpf, pid: u32, level: Level, rate: u32) -> Result<Drained> {
    let location = find(pid)?.context("no ring")?;
    let mut ring = WorkerRing::attach(&location)?;
    if level == Level::Stacks {
        bpf.watch(pid)?;
        let library = library_with(pid, PROBE_SYMBOL, "warplens")?.context("no probe point")?;
        bpf.attach_probe(pid, &library)?;
    }
    ring.ask(level, rate);
    for _ in 0..300 {
        if ring.status().level == Some(level) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    ensure!(ring.status().level == Some(level), "the shim stayed at {:?}", ring.status().level);
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let thread = thread::spawn(move || {
        let (mut records, mut names) = (Vec::new(), Vec::new());
        while !stopped.load(Ordering::Relaxed) {
            records.clear();
            ring.drain(1 << 16, &mut records, &mut names);
            ring.beat();
            thread::sleep(Duration::from_millis(20));
        }
        ring
    });
    Ok(Drained { stop, thread })
}

/// A library is no bench's dependency: cargo builds it here, with the launch loop.
fn build_empty_subscriber() -> Result<PathBuf> {
    let repository = artefacts::repository();
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&repository)
        .args(["build", "--release", "--quiet", "-p", "launch-loop", "-p", "empty-subscriber"])
        .status()?;
    ensure!(status.success(), "cargo build of the launch loop failed");
    Ok(repository.join("target/release/libempty_subscriber.so"))
}
