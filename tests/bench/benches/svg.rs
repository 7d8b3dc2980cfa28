//! Drawing a flame graph of 10^5 and 10^6 distinct stacks, beside inferno on the same stacks as
//! folded text. Each runs in a process of its own, so that its peak memory is its own.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use analysis::ids::{ProcessKey, StackId, Thread};
use anyhow::{Result, ensure};
use warplens::capture::{Capture, CpuStack, Frame, Stack};
use warplens::output::{flame, folded};
use warplens_bench::{figure, peak_rss_mib};

fn main() -> Result<()> {
    if let Ok(stacks) = std::env::var("BENCH_STACKS") {
        let capture = capture(stacks.parse()?);
        return match std::env::var("BENCH_PEER") {
            Ok(_) => peer(&stacks, &capture),
            Err(_) => ours(&stacks, &capture),
        };
    }
    for stacks in ["100000", "1000000"] {
        let mut drawing = Command::new(std::env::current_exe()?);
        drawing.env("BENCH_STACKS", stacks);
        ensure!(drawing.status()?.success(), "drawing {stacks} stacks failed");
        drawing.env("BENCH_PEER", "inferno");
        ensure!(drawing.status()?.success(), "inferno failed on {stacks} stacks");
    }
    Ok(())
}

fn ours(stacks: &str, capture: &Capture) -> Result<()> {
    measure(&format!("svg/{stacks}-stacks"), || Ok(flame::cpu(capture)?))
}

fn peer(stacks: &str, capture: &Capture) -> Result<()> {
    let folded = folded::cpu(capture);
    measure(&format!("svg/{stacks}-stacks-inferno"), || {
        let mut svg = Vec::new();
        let mut options = inferno::flamegraph::Options::default();
        inferno::flamegraph::from_reader(&mut options, folded.as_bytes(), &mut svg)?;
        Ok(svg)
    })
}

fn measure(name: &str, draw: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    let before = peak_rss_mib()?;
    let begin = Instant::now();
    let svg = draw()?;
    let elapsed = begin.elapsed();
    ensure!(svg.starts_with(b"<?xml"), "no SVG came out");
    figure(name, elapsed.as_secs_f64() * 1e3, "ms");
    figure(&format!("{name}-memory"), peak_rss_mib()? - before, "MiB");
    Ok(())
}

/// Distinct stacks of 8 to 24 frames: three callees a function, a few stacks hot.
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
    // As in a capture of a server: many stacks share few frames.
    let mut known: HashMap<(u64, u64), Arc<Frame>> = HashMap::new();
    for id in 0..stacks {
        let depth = 8 + next(17);
        let mut frames = Vec::new();
        for level in 0..depth {
            let function = next(3);
            let frame = known
                .entry((level, function))
                .or_insert_with(|| frame(&format!("module::level_{level}::function_{function}")));
            frames.push(Arc::clone(frame));
        }
        // The leaf carries the number: every stack is a stack of its own.
        frames.push(frame(&format!("leaf_{id}")));
        table.insert(StackId(id), Stack { frames, cut: false });
        let samples = if id % 1000 == 0 { 5000 } else { 1 + next(3) };
        capture.cpu.push(CpuStack {
            process: ProcessKey(0),
            thread: Thread(0),
            stack: StackId(id),
            samples,
            holding_gil: 0,
        });
    }
    capture.stacks = table;
    capture
}

fn frame(function: &str) -> Arc<Frame> {
    Arc::new(Frame { function: function.to_owned(), ..Frame::default() })
}
