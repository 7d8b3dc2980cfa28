//! Drawing the timeline of a busy worker, a minute of 25 000 kernels a second: each with its launch,
//! or in graphs of 200. Each runs in a process of its own, so that its peak memory is its own. The
//! pieces are made while they are drawn, and their making is counted.

use std::fs::File;
use std::io::BufWriter;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use analysis::classify::Kind;
use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, NameId, Ns, ProcessKey, StackId, Thread};
use analysis::report::{CaptureSite, IdleCause, StepPhase};
use analysis::slice::{LaunchSlice, Slice, WorkSlice};
use anyhow::{Result, ensure};
use warplens::capture::{CaptureInfo, Frame, Stack};
use warplens::output::perfetto::{Directory, Extent, Trace};
use warplens::pipeline::{CpuSample, Pieces};
use warplens_bench::{figure, peak_rss_mib, per};

const SECONDS: u64 = 60;
const RATE: u64 = 25_000;

/// Kernels of a graph, and of a step.
const STEP: u64 = 200;
/// Distinct names of a vLLM worker.
const NAMES: u64 = 120;
/// As the drawing of a recording gathers.
const BATCH: usize = 1 << 16;
const HZ: u64 = 99;

struct Synthetic {
    info: CaptureInfo,
    device: DeviceInfo,
    process: ProcessInfo,
    names: Vec<String>,
}

impl Directory for Synthetic {
    fn info(&self) -> &CaptureInfo {
        &self.info
    }

    fn device(&self, _: DeviceKey) -> Option<&DeviceInfo> {
        Some(&self.device)
    }

    fn process(&self, _: ProcessKey) -> Option<&ProcessInfo> {
        Some(&self.process)
    }

    fn thread(&self, _: ProcessKey, thread: u32) -> Option<Thread> {
        Some(Thread(self.process.pid + thread))
    }

    fn kernel_name(&self, name: NameId) -> Option<&str> {
        self.names.get(usize::try_from(name.0).ok()?).map(String::as_str)
    }

    fn stack(&self, stack: StackId) -> Option<(Stack, bool)> {
        let frame = |depth: u32| {
            let function = format!("vllm::layer_{}::forward", (stack.0 >> (depth % 8)) + depth);
            Arc::new(Frame { function, ..Frame::default() })
        };
        Some((Stack { frames: (0..30).map(frame).collect(), cut: false }, true))
    }
}

fn main() -> Result<()> {
    if let Ok(kind) = std::env::var("BENCH_TRACE") {
        return draw(&kind);
    }
    for kind in ["eager", "graphs"] {
        let mut drawing = Command::new(std::env::current_exe()?);
        drawing.env("BENCH_TRACE", kind);
        ensure!(drawing.status()?.success(), "drawing {kind} failed");
    }
    Ok(())
}

fn draw(kind: &str) -> Result<()> {
    let who = Synthetic {
        info: CaptureInfo { simulated: true, cpu_hz: 99, ..CaptureInfo::default() },
        device: DeviceInfo { index: 0, uuid: Some("SIM-0".to_owned()), simulated: true },
        process: ProcessInfo {
            pid: 4242,
            title: "VLLM::Worker_TP0".to_owned(),
            ..ProcessInfo::default()
        },
        names: (0..NAMES)
            .map(|n| format!("void vllm::kernel_{n}<c10::BFloat16, 128, {n}>(c10::BFloat16*)"))
            .collect(),
    };
    let place = tempfile::tempdir()?;
    let path = place.path().join("trace.pftrace");
    let before = peak_rss_mib()?;
    let begin = Instant::now();
    let out = BufWriter::new(File::create(&path)?);
    let mut trace = Trace::new(out, "trace.pftrace", Extent::default());
    let mut pieces = Pieces::default();
    let period = 1_000_000_000 / RATE;
    let origin = 500_000_000_000_000;
    for number in 0..SECONDS * RATE {
        let at = origin + number * period;
        add(&mut pieces, number, at, period, kind == "graphs");
        if number % (RATE / HZ) == 0 {
            pieces.samples.push(CpuSample {
                process: ProcessKey(0),
                tid: Thread(4243),
                cpu: 1,
                at: Ns(at),
                stack: StackId(stack_of(number)),
            });
        }
        if pieces.slices.len() >= BATCH {
            trace.add(std::mem::take(&mut pieces), &who);
        }
    }
    trace.add(pieces, &who);
    let drawn = trace.drawn();
    let (_, notes) = trace.finish(&who)?;
    let elapsed = begin.elapsed();
    ensure!(notes.is_empty(), "something was left out: {notes:?}");
    ensure!(drawn > SECONDS * RATE, "only {drawn} pieces were drawn");
    let name = |what: &str| format!("trace/{kind}{what}");
    figure(&name(""), per(u64::try_from(elapsed.as_nanos())?, drawn), "ns a piece");
    figure(&name("-file"), per(std::fs::metadata(&path)?.len(), 1 << 20), "MiB");
    figure(&name("-memory"), peak_rss_mib()? - before, "MiB");
    Ok(())
}

fn add(pieces: &mut Pieces, number: u64, at: u64, period: u64, graphs: bool) {
    let (device, process) = (DeviceKey(0), ProcessKey(0));
    let correlation = if graphs { number / STEP + 1 } else { number + 1 };
    let random = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % period.max(2);
    let (start, end) = (Ns(at), Ns(at + period * 3 / 4 + random / 8));
    pieces.slices.push(Slice::Work(WorkSlice {
        device,
        process,
        context: 1,
        stream: 7,
        name: NameId(u32::try_from(number * 7 % NAMES).unwrap_or(0)),
        kind: if number.is_multiple_of(3) { Kind::Dense } else { Kind::Elementwise },
        graph: if graphs { 9 } else { 0 },
        capture: if graphs {
            CaptureSite::Stack(StackId(u32::try_from(number % STEP).unwrap_or(0)))
        } else {
            CaptureSite::None
        },
        correlation,
        start,
        end,
    }));
    if number.is_multiple_of(4) {
        let cause = IdleCause::LaunchLatency;
        pieces.slices.push(Slice::Idle { device, start: end, end: Ns(at + period), cause });
    }
    if !graphs || number.is_multiple_of(STEP) {
        pieces.slices.push(Slice::Launch(LaunchSlice {
            process,
            thread: 1,
            correlation,
            enter: Ns(at.saturating_sub(20_000)),
            exit: None,
            graph: graphs,
            stack: number.is_multiple_of(250).then(|| StackId(stack_of(number))),
        }));
    }
    if number.is_multiple_of(STEP) {
        pieces.slices.push(Slice::Step {
            process,
            start,
            end: Ns(at + period * STEP),
            phase: StepPhase::Decode,
            batch: Some(32),
        });
    }
}

/// A few thousand distinct stacks.
fn stack_of(number: u64) -> u32 {
    u32::try_from(number.wrapping_mul(0x9e37_79b9) % 4_000).unwrap_or(0)
}
