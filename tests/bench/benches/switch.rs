//! What telling the sleeps of threads costs each context switch of the host, by the kernel's own
//! count of the program's run time; and what a switch costs with and without it. Two threads wake
//! each other in turns, so that nothing but switches happens.

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use warplens::bpf::Bpf;
use warplens_bench::{figure, median, per};

const ROUND_TRIPS: u64 = 30_000;
const TURNS: usize = 9;
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
const RAW_TRACEPOINT: &str = "17";

/// Time in our raw tracepoint programs and how often they ran.
#[derive(Clone, Copy, Debug, Default)]
struct Ran {
    ns: u64,
    times: u64,
}

/// A thread that answers.
struct Pair {
    to: Sender<()>,
    from: Receiver<()>,
}

fn main() -> Result<()> {
    let before = fs::read_to_string(STATISTICS).context("this needs root")?;
    fs::write(STATISTICS, "1").context("switch the kernel's statistics on")?;
    let measured = measure();
    fs::write(STATISTICS, before.trim()).context("restore the kernel's statistics")?;
    measured
}

fn measure() -> Result<()> {
    let pair = Pair::start();
    let (mut bare, mut loaded) = (Vec::new(), Vec::new());
    let (mut unwatched, mut watched) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let without = pair.play()?;
        let mut bpf = Bpf::load().context("load the kernel programs")?;
        ensure!(bpf.tells_threads(), "{:?}", bpf.missing());
        let (with, stranger) = ran_in(|| pair.play())?;
        bpf.watch(std::process::id())?;
        let (_, told) = ran_in(|| pair.play())?;
        let counters = bpf.counters()?;
        ensure!(counters.sleepers_full == 0 && counters.waits_lost == 0, "{counters:?}");
        // The first turn warms caches.
        if turn > 0 {
            bare.push(without);
            loaded.push(with);
            unwatched.push(per(stranger.ns, stranger.times));
            watched.push(per(told.ns, told.times));
        }
    }
    figure("switch/program-unwatched", median(unwatched), "ns");
    figure("switch/program-watched", median(watched), "ns");
    figure("switch/round-trip-without", median(bare), "ns");
    figure("switch/round-trip-with", median(loaded), "ns");
    Ok(())
}

/// What `work` gives, and how long our programs ran meanwhile.
fn ran_in<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Ran)> {
    let before = ran()?;
    let value = work()?;
    let after = ran()?;
    let ran = Ran { ns: after.ns - before.ns, times: after.times - before.times };
    ensure!(ran.times > ROUND_TRIPS, "the programs ran only {} times", ran.times);
    Ok((value, ran))
}

/// Sums over the raw tracepoint programs this process holds: executions and exits are none here.
fn ran() -> Result<Ran> {
    let mut sum = Ran::default();
    for entry in fs::read_dir("/proc/self/fdinfo")?.flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else {
            continue;
        };
        let value = |key| text.lines().find_map(|line: &str| line.strip_prefix(key)).map(str::trim);
        if value("prog_type:") == Some(RAW_TRACEPOINT) {
            sum.ns += value("run_time_ns:").context("no run time")?.parse::<u64>()?;
            sum.times += value("run_cnt:").context("no run count")?.parse::<u64>()?;
        }
    }
    Ok(sum)
}

impl Pair {
    fn start() -> Self {
        let (to, questions) = channel();
        let (answers, from) = channel();
        thread::spawn(move || while questions.recv().is_ok() && answers.send(()).is_ok() {});
        Self { to, from }
    }

    /// Nanoseconds of a round trip.
    fn play(&self) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..ROUND_TRIPS {
            self.to.send(())?;
            self.from.recv()?;
        }
        Ok(per(u64::try_from(start.elapsed().as_nanos())?, ROUND_TRIPS))
    }
}
