//! Draws a synthetic timeline of a busy worker and says what it cost.
//!
//! `cargo run --release -p warplens --example trace_bench -- 60 25000 eager|graph [out.pftrace]`:
//! seconds, kernels a second, and whether each kernel has a launch or 200 of them share one; the
//! last line is `PIECES pieces: MIB MiB, ENCODED MiB before compression; SECONDS s, NS ns a piece,
//! RSS MiB`. The pieces are made while they are drawn, and their making is counted.

use std::fs::File;
use std::io::{self, BufWriter};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use analysis::classify::Kind;
use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, NameId, Ns, ProcessKey, StackId, Thread};
use analysis::report::{CaptureSite, IdleCause, StepPhase};
use analysis::slice::{LaunchSlice, Slice, WorkSlice};
use warplens::capture::{CaptureInfo, Frame, Stack};
use warplens::commands::screen;
use warplens::output::perfetto::{Directory, Extent, Trace};
use warplens::pipeline::{CpuSample, Pieces};

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
            Arc::new(Frame { function, module: None, file: None, line: None })
        };
        Some((Stack { frames: (0..30).map(frame).collect(), cut: false }, true))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            screen::say(&line);
            ExitCode::SUCCESS
        }
        Err(error) => {
            screen::say(&format!("trace_bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |place: usize| arguments.get(place).map(String::as_str);
    let seconds: u64 = argument(0).and_then(|text| text.parse().ok()).unwrap_or(60);
    let rate: u64 = argument(1).and_then(|text| text.parse().ok()).unwrap_or(25_000);
    let graphs = argument(2) == Some("graph");
    let path = argument(3).unwrap_or("/dev/null");
    draw(seconds, rate, graphs, path)
}

fn draw(seconds: u64, rate: u64, graphs: bool, path: &str) -> io::Result<String> {
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
    let begin = Instant::now();
    let mut trace = Trace::new(BufWriter::new(File::create(path)?), path, Extent::default());
    let mut pieces = Pieces::default();
    let period = 1_000_000_000 / rate.max(1);
    let origin = 500_000_000_000_000;
    for number in 0..seconds * rate {
        let at = origin + number * period;
        add(&mut pieces, number, at, period, graphs);
        if number % (rate / HZ).max(1) == 0 {
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
    let (drawn, encoded) = (trace.drawn(), trace.encoded());
    let (_, notes) = trace.finish(&who)?;
    for note in notes {
        screen::say(&note);
    }
    let elapsed = begin.elapsed();
    let bytes = std::fs::metadata(path)?.len();
    Ok(format!(
        "{drawn} pieces: {} MiB, {} MiB before compression; {:.2} s, {} ns a piece, {} MiB",
        bytes >> 20,
        encoded >> 20,
        elapsed.as_secs_f64(),
        elapsed.as_nanos() / u128::from(drawn.max(1)),
        peak_rss_mib()?,
    ))
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

fn peak_rss_mib() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) >> 10)
}
