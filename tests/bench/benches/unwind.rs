//! What unwinding and naming a stack costs, on stacks of a program that computes with torch, or of the process
//! that `WARPLENS_BENCH_PID` names: when its
//! files are seen for the first time, and after. Disk caches are warm. The stacks are taken beforehand, so
//! that nothing but unwinding is measured; in CPU time, because the program computes meanwhile.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use warplens::bpf::Bpf;
use warplens::symbols::{KernelNames, Symbols};
use warplens::unwind::Unwinder;
use warplens_bench::{figure, median, per};

#[path = "../../../agent/tests/unwind/support.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "the tests' way of taking stacks"
)]
mod support;

const TURNS: usize = 9;

const LOAD: &str = "
import threading, torch
def work():
    a, b = torch.rand(300, 300), torch.rand(300, 300)
    h = torch.rand(64, 1024).to(torch.bfloat16)
    while True:
        torch.softmax(a @ b, -1).sum().item()
        torch.nn.functional.layer_norm(a, (300,)).sort(dim=-1)
        torch.nn.functional.gelu(h).float().topk(5)
        sorted(range(100), key=lambda x: -x)
threading.Thread(target=work, daemon=True).start()
print('ready', flush=True)
work()
";

/// Ends with the bench.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

impl Load {
    /// `None`: there is no torch here.
    fn start() -> Result<Option<Self>> {
        let home = PathBuf::from(std::env::var_os("HOME").context("no HOME")?);
        let python = home.join(".cache/real-vllm/venv/bin/python");
        if !python.exists() {
            return Ok(None);
        }
        let mut load = Command::new(python).args(["-c", LOAD]).stdout(Stdio::piped()).spawn()?;
        let ready = load.stdout.take().context("no output")?;
        let load = Self(load);
        BufReader::new(ready).read_line(&mut String::new())?;
        Ok(Some(load))
    }
}

fn main() -> Result<()> {
    let (load, pid) = if let Ok(pid) = std::env::var("WARPLENS_BENCH_PID") {
        (None, pid.parse().context("WARPLENS_BENCH_PID is no process")?)
    } else if let Some(load) = Load::start()? {
        let pid = load.0.id();
        (Some(load), pid)
    } else {
        #[expect(clippy::print_stdout, reason = "a skip is said")]
        {
            println!("SKIP unwind: no torch; set up ../shared/real-vllm");
        }
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let held = support::sample(dir.path(), pid, 600, 2_000);
    let count = held.snapshots.len();

    let before = anonymous_kib()?;
    let mut unwinder = Unwinder::new();
    let mut places: Vec<u64> = Vec::new();
    let mut frames = 0;
    let begin = now();
    let mut worst = 0.0_f64;
    for snapshot in &held.snapshots {
        let one = now();
        let (addresses, _) = snapshot.unwind(&mut unwinder, held.pid);
        worst = worst.max((now() - one) * 1e6);
        frames += addresses.len();
        places.extend(addresses);
    }
    let cold = now() - begin;
    let after = anonymous_kib()?;
    let losses = unwinder.losses();
    ensure!(losses.whole * 100 >= count as u64 * 90, "{losses:?} of {count}");
    let mut warm = Vec::new();
    for _ in 0..TURNS {
        let begin = now();
        for snapshot in &held.snapshots {
            let _stack = snapshot.unwind(&mut unwinder, held.pid);
        }
        warm.push(us(begin, count));
    }
    let kept = unwinder.kept();
    figure("unwind/stack-first-seen", cold * 1e6 / per(count as u64, 1), "us");
    figure("unwind/stack-first-seen-worst", worst, "us");
    figure("unwind/stack-again", median(warm), "us");
    figure("unwind/stacks", per(count as u64, 1), "stacks");
    figure("unwind/frames-a-stack", per(frames as u64, count as u64), "frames");
    figure("unwind/pieces-kept", per(kept.pieces as u64, 1), "pieces");
    figure("unwind/rows-kept", per(kept.rows as u64, 1), "rows");
    figure("unwind/memory", (after - before - per(places.len() as u64 * 8, 1024)) / 1024.0, "MiB");

    places.sort_unstable();
    places.dedup();
    let before = anonymous_kib()?;
    let mut symbols = Symbols::new();
    let begin = now();
    ensure!(symbols.resolve(held.pid, &places).len() == places.len());
    figure("symbols/address-first-seen", us(begin, places.len()), "us");
    let begin = now();
    ensure!(symbols.resolve(held.pid, &places).len() == places.len());
    figure("symbols/address-again", us(begin, places.len()), "us");
    figure("symbols/addresses", per(places.len() as u64, 1), "addresses");
    figure("symbols/memory", (anonymous_kib()? - before) / 1024.0, "MiB");
    kernel_names()?;
    // Named while it lived.
    drop(load);
    Ok(())
}

/// By its table, and by asking it: one address alone, which brings the table or loads the program, and 64 more.
fn kernel_names() -> Result<()> {
    const TEXT: u64 = 0xffff_ffff_8100_1000;
    let more: Vec<u64> = (1..=64).map(|step| TEXT + step * 0x1000).collect();
    let before = anonymous_kib()?;
    let mut table = KernelNames::new();
    let begin = now();
    ensure!(table.resolve(None, &[TEXT]).len() == 1);
    figure("symbols/kernel-table-first", (now() - begin) * 1e3, "ms");
    figure("symbols/kernel-table-memory", (anonymous_kib()? - before) / 1024.0, "MiB");
    let mut bpf = Bpf::load().context("load the kernel programs")?;
    let mut asked = KernelNames::new();
    let begin = now();
    ensure!(asked.resolve(Some(&mut bpf), &[TEXT]).len() == 1);
    figure("symbols/kernel-asked-first", (now() - begin) * 1e6, "us");
    let begin = now();
    ensure!(asked.resolve(Some(&mut bpf), &more).len() == more.len());
    figure("symbols/kernel-asked", us(begin, more.len()), "us");
    Ok(())
}

fn us(since: f64, count: usize) -> f64 {
    (now() - since) * 1e6 / per(count as u64, 1)
}

/// CPU time of this thread, seconds.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    std::time::Duration::try_from(time).map_or(f64::NAN, |time| time.as_secs_f64())
}

/// Memory of this process that is nobody else's.
fn anonymous_kib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
}
