//! `analyze` of a Chrome trace, from the compressed file to the report's JSON, beside the least
//! any reader does: inflating the same bytes, and parsing them into the fields used with the
//! fastest parser crate. They take turns in one process, on whichever real trace is there.
//!
//! `analyze` inflates in a thread of its own, so beside the time that passes stands the processors'.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use analysis::classify::Classifier;
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use warplens::commands::analyze;
use warplens::output::json;
use warplens_bench::{figure, median};
use warplens_tests::traces::{self, Made};

/// Text of the trace: as much as a profile of some seconds with Python stacks.
const BYTES: u64 = 60_000_000;
const TURNS: usize = 7;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("trace.json.gz");
    let made = make(&path)?;
    let (mut ours, mut inflate, mut parse) = <(Turns, Turns, Turns)>::default();
    for _ in 0..TURNS {
        ours.time(|| analyzed(&path, made))?;
        let mut text = Vec::new();
        inflate.time(|| inflated(&path, &mut text))?;
        parse.time(|| parsed(&text, made))?;
    }
    for (what, figures) in ["", "-cpu"]
        .into_iter()
        .zip([[ours.elapsed, inflate.elapsed, parse.elapsed], [ours.cpu, inflate.cpu, parse.cpu]])
    {
        let [ours, inflate, parse] = figures.map(median);
        figure(&format!("traces/analyze{what}"), ours, "ms");
        figure(&format!("traces/inflate{what}"), inflate, "ms");
        figure(&format!("traces/sonic-rs{what}"), parse, "ms");
        let name = format!("traces/analyze-by-inflate-and-sonic-rs{what}");
        figure(&name, ours / (inflate + parse), "times");
    }
    Ok(())
}

/// What something took, a value a turn, ms.
#[derive(Default)]
struct Turns {
    elapsed: Vec<f64>,
    /// Of all threads.
    cpu: Vec<f64>,
}

impl Turns {
    fn time(&mut self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let (begin, cpu) = (Instant::now(), cpu()?);
        work()?;
        self.elapsed.push(begin.elapsed().as_secs_f64() * 1e3);
        self.cpu.push((self::cpu()?.as_secs_f64() - cpu.as_secs_f64()) * 1e3);
        Ok(())
    }
}

fn cpu() -> Result<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// The compressed trace, and what is in it.
fn make(path: &Path) -> Result<Made> {
    let real = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpus/traces/tracelens-b200_eager_trace.json.gz");
    let document = if real.is_file() { traces::load(&real)? } else { traces::small() };
    let mut out = GzEncoder::new(std::fs::File::create(path)?, Compression::default());
    let made = traces::repeat(&document, BYTES, &mut out)?;
    out.finish()?.flush()?;
    Ok(made)
}

fn analyzed(path: &Path, made: Made) -> Result<()> {
    let capture = analyze::read(path, &Classifier::default(), None)?;
    let report = json::render(&capture)?;
    ensure!(!report.is_empty(), "the report is empty");
    let kernels: u64 = capture.report.devices.iter().map(|device| device.kernels).sum();
    ensure!(kernels == made.kernels, "{kernels} kernels of {}", made.kernels);
    Ok(())
}

fn inflated(path: &Path, text: &mut Vec<u8>) -> Result<()> {
    let file = std::io::BufReader::with_capacity(256 << 10, std::fs::File::open(path)?);
    MultiGzDecoder::new(file).read_to_end(text).context("inflate the trace")?;
    Ok(())
}

/// What has to be parsed at the least.
#[derive(Deserialize)]
struct Trace<'t> {
    #[serde(borrow, rename = "traceEvents")]
    events: Vec<Event<'t>>,
}

#[derive(Deserialize)]
struct Event<'t> {
    #[serde(borrow)]
    ph: Cow<'t, str>,
    #[serde(borrow)]
    cat: Option<Cow<'t, str>>,
    #[serde(borrow)]
    name: Cow<'t, str>,
    ts: Option<f64>,
    dur: Option<f64>,
    args: Option<Arguments>,
}

#[derive(Deserialize)]
struct Arguments {
    device: Option<u64>,
    context: Option<u64>,
    correlation: Option<u64>,
}

fn parsed(text: &[u8], made: Made) -> Result<()> {
    let trace: Trace<'_> = sonic_rs::from_slice(text)?;
    let known = |event: &&Event<'_>| {
        let Event { ph, cat, name, ts, dur, args } = event;
        let used = ts.is_some() && dur.is_some() && !name.is_empty();
        let placed = args.as_ref().is_some_and(|Arguments { device, context, correlation }| {
            device.is_some() && context.is_some() && correlation.is_some()
        });
        ph == "X" && used && placed && cat.as_deref() == Some("kernel")
    };
    let kernels = trace.events.iter().filter(known).count() as u64;
    ensure!(kernels == made.kernels, "sonic-rs: {kernels} kernels of {}", made.kernels);
    Ok(())
}
