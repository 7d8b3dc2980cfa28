//! A CUDA client to profile: launches from known sites, graphs, copies and allocations through
//! cudarc, on whatever `libcuda.so.1` the loader finds. One JSON line at the end says what it did.
//!
//! Scenario and seed come from the command line. The shares of GPU time per launch site are fixed
//! by `sites`; on the simulator a function's name gives its duration, on a GPU its argument does.

mod allocate;
mod burst;
mod client;
mod fork;
mod graphs;
mod pace;
mod ptx;
mod report;
mod sites;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::client::Client;
use crate::graphs::Scenario;
use crate::pace::Pace;
use crate::report::Report;
use crate::sites::{Done, Order, SITES, Thread};

/// Launches kernels at known sites with known shares of GPU time.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Seconds to run; 0 means until SIGTERM.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Single launches per second, all threads together.
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// Graph replays per second, all threads together.
    #[arg(long, default_value_t = 0.0)]
    graphs: f64,
    /// What is replayed.
    #[arg(long, value_enum, default_value_t = Scenario::Full)]
    scenario: Scenario,
    /// Capture graphs once SIGUSR1 came, not at the start.
    #[arg(long)]
    capture_on_signal: bool,
    /// Launch nothing until SIGUSR1 came.
    #[arg(long)]
    launch_on_signal: bool,
    /// Launch so many kernels or a few more, wait for them, say `launched`, and launch no more; 0: no bound.
    #[arg(long, default_value_t = 0)]
    kernels: u64,
    /// Instead of a rate: the first thread launches so many bursts of 500 kernels, with waits between them, and
    /// what they took is told at the end.
    #[arg(long, default_value_t = 0)]
    bursts: u32,
    /// Each thread waits for its streams after so many kernels, as a server does after a step: what is under way stays
    /// bounded; 0: never.
    #[arg(long, default_value_t = 0)]
    wait_every: u64,
    /// Allocate and free through every family this often per second.
    #[arg(long, default_value_t = 0.0)]
    alloc: f64,
    /// Make about every Nth launch fail; failures are then expected.
    #[arg(long, default_value_t = 0)]
    fail_every: u32,
    /// Threads that launch, each on a stream of its own.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Fork after cuInit; the child tries to launch and reports what it was told.
    #[arg(long)]
    fork: bool,
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Order of the launches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

static STOP: AtomicBool = AtomicBool::new(false);

/// SIGUSR1 came.
static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_asked(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

extern "C" fn on_stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(report) => {
            report.print();
            if report.as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Report> {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let handler: extern "C" fn(libc::c_int) = on_stop;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    let handler: extern "C" fn(libc::c_int) = on_asked;
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    let client = Client::open(options.device, options.fail_every).context("open the device")?;
    let child = if options.fork { Some(fork::child_launch(&client)?) } else { None };
    report::ready(&client);

    let started = Instant::now();
    let launching = AtomicU32::new(options.threads.max(1));
    let threads: Vec<Done> = std::thread::scope(|scope| -> Result<Vec<Done>> {
        let handles: Vec<_> = (0..options.threads.max(1))
            .map(|index| {
                let (client, launching) = (&client, &launching);
                scope.spawn(move || {
                    wait_until_asked(options, started);
                    launch_thread(options, client, index, started, launching)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a launching thread panicked")))
            })
            .collect()
    })?;
    client.context().synchronize().context("wait for the device at the end")?;
    Ok(Report::new(options, &client, &threads, child, started.elapsed()))
}

fn over(options: &Options, started: Instant) -> bool {
    STOP.load(Ordering::Relaxed)
        || (options.seconds > 0.0 && started.elapsed().as_secs_f64() >= options.seconds)
}

fn wait_until_asked(options: &Options, started: Instant) {
    while options.launch_on_signal && !ASKED.load(Ordering::Relaxed) && !over(options, started) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What one thread does until the time is up. `launching`: threads that have not launched their share of a bounded
/// number of kernels yet.
#[inline(never)]
fn launch_thread(
    options: &Options,
    client: &Client,
    index: u32,
    started: Instant,
    launching: &AtomicU32,
) -> Result<Done> {
    let share = f64::from(options.threads.max(1));
    let mut thread = Thread::new(client, options.fail_every, options.scenario)?;
    let mut order = Order::new(options.seed.wrapping_add(u64::from(index)));
    if options.bursts > 0 {
        let burst = burst::measure(&mut thread, options.bursts)?;
        return Ok(Done { burst: Some(burst), ..thread.finish()? });
    }
    let cycle = f64::from(SITES.iter().map(|site| site.per_cycle).sum::<u32>());
    let mut cycles = Pace::new(options.rate / share / cycle);
    let mut replays = Pace::new(options.graphs / share);
    let mut rounds = Pace::new(if index == 0 { options.alloc } else { 0.0 });
    let mut wants_graphs = options.graphs > 0.0;
    let enough = options.kernels.div_ceil(u64::from(options.threads.max(1)));
    let mut full = false;
    let mut waited = 0;
    let begun = Instant::now();
    while !over(options, started) {
        let elapsed = begun.elapsed();
        if enough > 0 && thread.kernels() >= enough {
            if !full {
                full = true;
                thread.wait_for_all()?;
                if launching.fetch_sub(1, Ordering::Relaxed) == 1 {
                    report::launched();
                }
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        if wants_graphs && (!options.capture_on_signal || ASKED.load(Ordering::Relaxed)) {
            wants_graphs = false;
            thread.capture_graphs(&mut order)?;
        }
        while cycles.due(elapsed) {
            thread.execute_step(&mut order)?;
        }
        while replays.due(elapsed) {
            if thread.has_graphs() {
                thread.replay_graph(&mut order)?;
            }
            if options.wait_every > 0 && thread.kernels() >= waited + options.wait_every {
                waited = thread.kernels();
                thread.wait_for_all()?;
            }
        }
        while rounds.due(elapsed) {
            thread.exercise_allocators();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    thread.finish()
}
