//! Flame graphs: `gpu.svg`, `cpu.svg`. Stacks are pruned to what can be seen before anything is
//! drawn, so that cost follows the picture and not the number of stacks.

mod draw;
mod prune;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io;

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
            legend: true,
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
            legend: false,
        },
    )
}

fn title(capture: &Capture, what: &str) -> String {
    let mark = if capture.simulated() { " (SIMULATED)" } else { "" };
    format!("Warplens: {what}{mark}")
}

#[derive(Clone, Copy)]
enum Which {
    Gpu,
    Cpu,
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
        match self.which {
            Which::Gpu => rows::gpu(self.capture, self.titles, each),
            Which::Cpu => rows::cpu(self.capture, self.titles, each),
        }
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
