//! Draws a flame graph of many distinct synthetic stacks and says what it cost.
//!
//! `cargo run --release -p warplens --example svg_bench -- 1000000 [out.svg]`; the last line is
//! `STACKS stacks, FRAMES frames: SECONDS s, of which S s making the stacks, RSS MiB`. The stacks are
//! made while they are walked (twice), so that the memory is the drawing's alone.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use warplens::output::flame::{Picture, Source, render};

/// Mean depth of a vLLM worker's native and Python stacks.
const DEPTH: u64 = 30;

struct Synthetic {
    stacks: u64,
    names: Vec<String>,
}

impl Source for Synthetic {
    fn visit(&self, each: &mut dyn FnMut(&[&str], u64)) -> io::Result<()> {
        let mut frames: Vec<&str> = Vec::new();
        for stack in 0..self.stacks {
            frames.clear();
            let mut state = stack.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for depth in 0..DEPTH {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Few ways near the root, many near the leaf, as in real profiles.
                let ways = 1 + depth * depth / 12;
                let name = depth * 100 + (state % ways) * (state >> 8 & 1);
                frames.push(
                    self.names[usize::try_from(name).unwrap_or(0) % self.names.len()].as_str(),
                );
            }
            each(&frames, 1_000 + state % 100_000);
        }
        Ok(())
    }

    fn colour(&self, frame: &str) -> [u8; 3] {
        let hash = frame.bytes().fold(7u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
        [246, 200 + hash % 50, 150 + hash % 90]
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let stacks = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let names = (0..3_000)
        .map(|n| format!("vllm::model_executor::layer_{n}::forward(Tensor const&)"))
        .collect();
    let source = Synthetic { stacks, names };
    let picture = Picture {
        title: "Synthetic stacks".to_owned(),
        subtitle: format!("{stacks} stacks"),
        unit: "ns".to_owned(),
        empty: "nothing".to_owned(),
        legend: Vec::new(),
    };
    let started = Instant::now();
    let svg = match render(&source, &picture) {
        Ok(svg) => svg,
        Err(error) => {
            eprint_line(&format!("svg_bench: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let mut sum = 0u64;
    for _ in 0..2 {
        if let Err(error) =
            source.visit(&mut |frames, value| sum = sum.wrapping_add(value + frames.len() as u64))
        {
            eprint_line(&format!("svg_bench: {error}"));
            return ExitCode::FAILURE;
        }
    }
    std::hint::black_box(sum);
    let making = started.elapsed().as_secs_f64();
    if let Some(path) = arguments.next()
        && let Err(error) = std::fs::write(&path, &svg)
    {
        eprint_line(&format!("svg_bench: write {path}: {error}"));
        return ExitCode::FAILURE;
    }
    let rss = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .unwrap_or(0)
        / 1024;
    let line = format!(
        "{stacks} stacks, {} frames: {seconds:.3} s, of which {making:.3} s making the stacks, {rss} MiB, {} bytes of SVG\n",
        stacks * DEPTH,
        svg.len()
    );
    match warplens::commands::screen::out(line.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn eprint_line(line: &str) {
    warplens::commands::screen::say(line);
}
