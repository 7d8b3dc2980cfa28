//! Flame graphs: `gpu.svg`, `cpu.svg`, `offcpu.svg`, `wall.svg`, `memory.svg`, `resident.svg`. Stacks are pruned to what can be seen before anything is
//! drawn, so that cost follows the picture and not the number of stacks.

mod change;
mod diff;
mod draw;
mod marks;
mod prune;

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::io;

use analysis::classify::Class;

pub use diff::{Compared, diff};
pub use draw::{Picture, render};
pub use prune::Source;

use super::rows::{self, Row, Tint, Titles};
use super::words;
use crate::capture::Capture;

/// `gpu.svg`: as wide as the windows of all GPUs, and as much wider as kernels ran at once.
pub fn gpu(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let source = Rows::new(capture, &titles, Which::Gpu);
    let report = &capture.report;
    let wall = report.devices.iter().map(words::window_ns).fold(0, u64::saturating_add);
    let mut drawn = 0u64;
    rows::gpu(capture, &titles, |row| drawn = drawn.saturating_add(row.value));
    let at_once = match drawn.saturating_sub(wall) {
        0 => String::new(),
        ns => format!(" and {} of kernels that ran at once, side by side", words::duration(ns)),
    };
    render(
        &source,
        &Picture {
            title: title(capture, "GPU time"),
            subtitle: format!(
                "Width: {} of wall time of {}{at_once}; idle stands under its cause and, where \
                 the host was late, the code its thread was in",
                words::duration(wall),
                words::count(report.devices.len() as u64, "GPU"),
            ),
            unit: "ns".to_owned(),
            empty: "no GPU time was observed".to_owned(),
            legend: source.legend(&GPU_LEGEND),
        },
    )
}

/// `cpu.svg`: as wide as all samples.
pub fn cpu(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let source = Rows::new(capture, &titles, Which::Cpu);
    render(
        &source,
        &Picture {
            title: title(capture, "CPU time of the observed processes"),
            subtitle: format!(
                "{} samples a second on each processor; width is samples",
                capture.info.cpu_hz
            ),
            unit: "samples".to_owned(),
            empty: match capture.info.cpu_hz {
                0 => "the CPU was not sampled".to_owned(),
                _ => "no sample fell into the observed processes".to_owned(),
            },
            legend: source.legend(&[]),
        },
    )
}

/// `offcpu.svg`: as wide as all sleeps of all threads.
pub fn offcpu(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let source = Rows::new(capture, &titles, Which::OffCpu);
    render(
        &source,
        &Picture {
            title: title(capture, "time off the CPU"),
            subtitle:
                "Width: how long threads slept where, and why; threads sleep side by side. Short \
                       sleeps are not told"
                    .to_owned(),
            unit: "ns".to_owned(),
            empty: "no sleep of the observed processes was told".to_owned(),
            legend: source.legend(&[]),
        },
    )
}

/// `wall.svg`: time on and off the CPU under one root a thread.
pub fn wall(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let source = Rows::new(capture, &titles, Which::Wall);
    let sampled = match capture.info.cpu_hz {
        0 => "the CPU was not sampled".to_owned(),
        hz => format!("samples, {hz} a second, as the time between two"),
    };
    render(
        &source,
        &Picture {
            title: title(capture, "time of threads, on and off the CPU"),
            subtitle: format!(
                "On the CPU: {sampled}; off the CPU: every sleep, ending in [waiting: WHY]"
            ),
            unit: "ns".to_owned(),
            empty: "no thread of the observed processes was seen".to_owned(),
            legend: source.legend(&[]),
        },
    )
}

/// `memory.svg`: as wide as what is live.
pub fn memory(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let source = Rows::new(capture, &titles, Which::Memory);
    render(
        &source,
        &Picture {
            title: title(capture, "live memory"),
            subtitle: "Width: bytes that were taken and not given back since calls are told; \
                       of the host's heap what its samples stand for"
                .to_owned(),
            unit: "bytes".to_owned(),
            empty: "nothing was taken, or all was given back".to_owned(),
            legend: source.legend(&[]),
        },
    )
}

/// `resident.svg`: as wide as what has pages.
pub fn resident(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let source = Rows::new(capture, &titles, Which::Touched);
    render(
        &source,
        &Picture {
            title: title(capture, "resident memory, by who touched it first"),
            subtitle: "Width: bytes of the processes' own pages that were touched since \
                       observation began and are there; what samples stand for"
                .to_owned(),
            unit: "bytes".to_owned(),
            empty: "no page was touched, or none stayed".to_owned(),
            legend: source.legend(&[]),
        },
    )
}

/// What the legend of GPU time always shows.
const GPU_LEGEND: [Tint; 7] = [
    Tint::Class(Class::Attention),
    Tint::Class(Class::Gemm),
    Tint::Class(Class::Communication),
    Tint::Class(Class::Other),
    Tint::Idle,
    Tint::Unobserved,
    Tint::Host,
];

fn title(capture: &Capture, what: &str) -> String {
    let mark = if capture.simulated() { " (SIMULATED)" } else { "" };
    format!("Warplens: {what}{mark}")
}

#[derive(Clone, Copy)]
enum Which {
    Gpu,
    Cpu,
    OffCpu,
    Wall,
    Memory,
    Touched,
}

impl Which {
    fn rows<'c>(self, capture: &'c Capture, titles: &'c Titles, mut each: impl FnMut(Row<'_, 'c>)) {
        match self {
            Which::Gpu => rows::gpu(capture, titles, each),
            Which::Cpu => rows::cpu(capture, titles, each),
            Which::OffCpu => rows::offcpu(capture, titles, each),
            Which::Wall => rows::wall(capture, titles, each),
            Which::Memory => rows::memory(capture, titles, |row, _site| {
                if row.value > 0 {
                    each(row);
                }
            }),
            Which::Touched => rows::touched(capture, titles, |row| {
                if row.value > 0 {
                    each(row);
                }
            }),
        }
    }
}

/// A capture's rows as a [`Source`].
struct Rows<'c> {
    capture: &'c Capture,
    titles: &'c Titles,
    which: Which,
    /// Of every name that is not a host function; the first walk fills it.
    tints: OnceCell<HashMap<&'c str, Tint>>,
}

impl<'c> Rows<'c> {
    fn new(capture: &'c Capture, titles: &'c Titles, which: Which) -> Self {
        Self { capture, titles, which, tints: OnceCell::new() }
    }

    fn each(&self, each: impl FnMut(Row<'_, 'c>)) {
        self.which.rows(self.capture, self.titles, each);
    }

    /// `always`, then the layers, languages and waits that occur.
    fn legend(&self, always: &[Tint]) -> Vec<(String, [u8; 3])> {
        let mut seen = BTreeSet::new();
        self.each(|row| seen.extend(row.frames.iter().map(|frame| frame.tint)));
        let says = |tint: &Tint| match tint {
            Tint::Host | Tint::Python | Tint::Kernel | Tint::Layer(_) | Tint::Waiting(_) => true,
            // Their frames say what they are.
            Tint::Gpu
            | Tint::Process
            | Tint::Thread
            | Tint::Marker
            | Tint::Class(_)
            | Tint::Idle
            | Tint::Unobserved => false,
        };
        let more = seen.into_iter().filter(|tint| says(tint) && !always.contains(tint));
        let word = |tint: Tint| match tint {
            Tint::Host => "native code".to_owned(),
            Tint::Kernel => "the kernel's code".to_owned(),
            Tint::Waiting(reason) => format!("waiting: {}", reason.as_str()),
            _ => tint.as_str().to_owned(),
        };
        always.iter().copied().chain(more).map(|tint| (word(tint), draw::colour(tint))).collect()
    }
}

impl Source for Rows<'_> {
    fn visit(&self, each: &mut dyn FnMut(&[&str], u64)) -> io::Result<()> {
        let mut frames = Vec::new();
        let mut tints = HashMap::new();
        let first = self.tints.get().is_none();
        self.each(|row| {
            frames.clear();
            frames.extend(row.frames.iter().map(|frame| frame.text));
            if first {
                let drawn = row.frames.iter().filter(|frame| frame.tint != Tint::Host);
                tints.extend(drawn.map(|frame| (frame.text, frame.tint)));
            }
            each(&frames, row.value);
        });
        if first {
            // Nobody else walks meanwhile, so it is still empty.
            let _kept = self.tints.set(tints);
        }
        Ok(())
    }

    fn colour(&self, frame: &str) -> [u8; 3] {
        let tint = self.tints.get().and_then(|tints| tints.get(frame).copied());
        draw::shade(tint.unwrap_or(Tint::Host), frame)
    }
}
