//! What Python's part of a stack costs in user space: finding an interpreter, naming frames the first time
//! and again, merging, and walking a thread from outside.

use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use warplens::python::{Native, PythonSymbols, Runtime, merge};
use warplens::stack::Place;
use warplens::unwind::Unwinder;
use warplens_bench::{figure, median, per};
use warplens_tests::harness::python;
use wire::kernel::{PythonFrame, python_walk};

/// Median of this many passes: one is too short to be told from an interrupt.
const PASSES: usize = 31;

/// Frames of the stack, each of a function of its own.
const DEPTH: usize = 30;

fn main() -> Result<()> {
    let interpreter =
        python::of_minor((3, 12)).map_err(|missing| anyhow::anyhow!("{missing:?}"))?;
    let last = DEPTH - 2;
    let call = |depth| format!("def function_{depth}():\n    function_{}()\n", depth + 1);
    let calls = (0..last).map(call).collect::<Vec<_>>().concat();
    let program = format!(
        "import os, asyncio, ctypes, decimal, json, ssl, sqlite3\n{calls}def function_{last}():\n    os.write(1, b'ready\\n')\n    os.read(0, 1)\nfunction_0()\n"
    );
    let mut child = Command::new(&interpreter.path)
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let figures = measure(child.id(), child.stdout.take().context("a pipe")?);
    child.kill()?;
    child.wait()?;
    figures
}

fn measure(pid: u32, stdout: std::process::ChildStdout) -> Result<()> {
    BufReader::new(stdout).read_line(&mut String::new())?;
    let mut unwinder = Unwinder::new();
    let mut find = || Runtime::find(pid, |address| unwinder.function_at(pid, address));
    let runtime = find()?.context("an interpreter")?;
    let mut passes = Vec::new();
    for _ in 0..PASSES {
        let start = Instant::now();
        ensure!(find()?.is_some());
        passes.push(start.elapsed().as_secs_f64() * 1e3);
    }
    figure("python/find", median(passes), "ms");

    let walked = runtime.walk(pid);
    // The loop's own frame is the last one.
    ensure!(walked.end == python_walk::WHOLE && walked.frames.len() == DEPTH + 1);
    figure("python/walk-30-frames", time(1, || drop(black_box(runtime.walk(pid)))), "us/stack");

    let frames = walked.frames.get(..DEPTH).context("all frames")?;
    let cold = (0..PASSES).map(|_| {
        let mut symbols = PythonSymbols::new();
        once(|| number(&runtime, &mut symbols, frames, 1)) / per(DEPTH as u64, 1)
    });
    figure("python/name-cold", median(cold.collect()), "us/frame");
    let mut symbols = PythonSymbols::new();
    number(&runtime, &mut symbols, frames, 1);
    let warm = time(100, || number(&runtime, &mut symbols, frames, 1));
    figure("python/name-warm", warm * 1e3 / per(DEPTH as u64, 1), "ns/frame");
    // Once a second each code object is looked at again.
    let mut now = 1;
    let again = time(1, || {
        now += 2_000_000_000;
        number(&runtime, &mut symbols, frames, now);
    });
    figure("python/name-again-after-a-second", again * 1e3 / per(DEPTH as u64, 1), "ns/frame");
    ensure!(symbols.losses() == warplens::python::PythonLosses::default());

    let native = native(&runtime)?;
    let merged = time(100, || {
        let native = Native { addresses: &native, cut: None };
        let places = merge(runtime.seams(), native, &walked.frames, walked.end, |frame| {
            symbols.place(&runtime, frame, now)
        });
        assert_eq!(places.len(), 3 + DEPTH);
        black_box(places);
    });
    figure("python/merge-30-frames-with-names", merged, "us/stack");
    Ok(())
}

/// A native stack with one activation of the evaluation loop.
fn native(runtime: &Runtime) -> Result<Vec<u64>> {
    let evaluation = runtime.seams().evaluation.first().context("the loop")?;
    let elsewhere = 0x1000;
    Ok(vec![elsewhere, elsewhere, evaluation.start + 1, elsewhere])
}

fn number(runtime: &Runtime, symbols: &mut PythonSymbols, frames: &[PythonFrame], now: u64) {
    for frame in frames {
        assert!(matches!(symbols.place(runtime, frame, now), Place::Python(1..)));
    }
}

fn once(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e6
}

/// Microseconds of one call, the median of passes of `calls` each.
fn time(calls: u64, mut run: impl FnMut()) -> f64 {
    let passes = (0..PASSES).map(|_| once(|| (0..calls).for_each(|_| run())) / per(calls, 1));
    median(passes.collect())
}
