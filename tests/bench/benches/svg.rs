//! Drawing a flame graph of 10^5 and 10^6 distinct stacks. Each size runs in a process of its own,
//! so that its peak memory is its own.

use std::collections::HashMap;
use std::process::Command;
use std::time::Instant;

use analysis::ids::{ProcessKey, StackId};
use anyhow::{Context, Result, ensure};
use warplens::capture::{Capture, CpuStack, Frame, Stack};
use warplens::output::flame;
use warplens_bench::figure;

fn main() -> Result<()> {
    if let Ok(stacks) = std::env::var("WARPLENS_BENCH_STACKS") {
        return draw(stacks.parse()?);
    }
    for stacks in ["100000", "1000000"] {
        let status =
            Command::new(std::env::current_exe()?).env("WARPLENS_BENCH_STACKS", stacks).status()?;
        ensure!(status.success(), "drawing {stacks} stacks failed");
    }
    Ok(())
}

fn draw(stacks: u32) -> Result<()> {
    let capture = capture(stacks);
    let before = peak_rss_mib()?;
    let begin = Instant::now();
    let svg = flame::cpu(&capture)?;
    let elapsed = begin.elapsed();
    ensure!(svg.starts_with(b"<?xml"), "no SVG came out");
    let name = format!("svg/{stacks}-stacks");
    figure(&name, elapsed.as_secs_f64() * 1e3, "ms");
    figure(&format!("{name}-memory"), peak_rss_mib()? - before, "MiB");
    Ok(())
}

/// Distinct stacks of 8 to 24 frames over 4 000 functions, a few of them hot.
fn capture(stacks: u32) -> Capture {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let mut capture = Capture::default();
    let mut table = HashMap::new();
    for id in 0..stacks {
        let depth = 8 + next(17);
        // The leaf carries the number: every stack is a stack of its own.
        let mut frames: Vec<Frame> = (0..depth)
            .map(|level| {
                let width =
                    4_u64.saturating_pow(u32::try_from(level).unwrap_or(6).min(6)).min(4000);
                frame(&format!("module::level_{level}::function_{}", next(width)))
            })
            .collect();
        frames.push(frame(&format!("leaf_{id}")));
        table.insert(StackId(id), Stack { frames, cut: false });
        let samples = if id % 1000 == 0 { 5000 } else { 1 + next(3) };
        capture.cpu.push(CpuStack { process: ProcessKey(0), stack: StackId(id), samples });
    }
    capture.stacks = table;
    capture
}

fn frame(function: &str) -> Frame {
    Frame { function: function.to_owned(), module: None, file: None, line: None }
}

fn peak_rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kib / 1024.0)
}
