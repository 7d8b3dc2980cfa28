//! `warplens analyze` beside `HolisticTraceAnalysis` on the same Kineto traces, one after the other
//! in one run, each a process of its own: wall time and peak memory. What importing their package
//! takes is counted once and left out once.
//!
//! Theirs are four analyses (busy and idle time, overlap, kernels, idle causes), which ours does all
//! at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use warplens_bench::figure;
use warplens_tests::harness::artefacts;

/// The traces that are large enough to measure, with the name their figures have.
const TRACES: [(&str, &str); 3] = [
    ("a100-graphs", "hta-a100-graphs-rank0.json.gz"),
    ("b200-eager", "tracelens-b200_eager_trace.json.gz"),
    ("nccl-data", "hta-nccl_data.json.gz"),
];

/// Runs and measures the process it is given: our own peak would count what ran before.
const MEASURE: &str = "
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)";

fn main() -> Result<()> {
    let python = std::env::var_os("WARPLENS_HTA_PYTHON")
        .context("WARPLENS_HTA_PYTHON names no Python: cargo xtask hta prints one")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let ask = root.join("tests/programs/ask_hta.py");
    let agent = artefacts::agent()?;
    for (name, file) in TRACES {
        let trace = root.join("../shared/corpus/traces").join(file);
        ensure!(trace.is_file(), "{} is not there", trace.display());
        ours(name, &agent, &trace)?;
        theirs(name, &PathBuf::from(&python), &ask, &trace)?;
        peak(name, &PathBuf::from(&python), &agent, &trace)?;
    }
    Ok(())
}

fn ours(name: &str, agent: &Path, trace: &Path) -> Result<()> {
    let mut command = Command::new(agent);
    command.args(["analyze", "--json"]).arg(trace).stderr(Stdio::null());
    // The file comes from memory for both.
    drop(fs::read(trace)?);
    let began = Instant::now();
    let output = command.output()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "analyze {} failed", trace.display());
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["devices"][0]["kernels"].as_u64() > Some(100), "no kernels in the report");
    figure(&format!("hta/{name}-warplens"), seconds * 1000.0, "ms");
    Ok(())
}

fn theirs(name: &str, python: &Path, ask: &Path, trace: &Path) -> Result<()> {
    let mut command = Command::new(python);
    command.arg(ask).arg("--four").arg(trace).stderr(Stdio::null());
    let began = Instant::now();
    let output = command.output()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "their analysis of {} failed", trace.display());
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines();
    let mut next =
        || -> Result<Value> { Ok(serde_json::from_str(lines.next().context("a line")?)?) };
    let (said, whole) = (next()?, next()?);
    ensure!(said["window"].as_f64() > Some(0.0), "no window in {said}");
    let number = |value: &Value, key: &str| value[key].as_f64().context(key.to_owned());
    let analysing = number(&said, "seconds")?;
    figure(&format!("hta/{name}-theirs"), seconds * 1000.0, "ms");
    figure(&format!("hta/{name}-theirs-without-import"), analysing * 1000.0, "ms");
    figure(&format!("hta/{name}-theirs-memory"), number(&whole, "peak_bytes")? / MIB, "MiB");
    Ok(())
}

const MIB: f64 = 1024.0 * 1024.0;

fn peak(name: &str, python: &Path, agent: &Path, trace: &Path) -> Result<()> {
    let output = Command::new(python)
        .args(["-S", "-c", MEASURE])
        .arg(agent)
        .args(["analyze", "--json"])
        .arg(trace)
        .output()?;
    ensure!(output.status.success(), "analyze {} failed", trace.display());
    let bytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    figure(&format!("hta/{name}-warplens-memory"), bytes / MIB, "MiB");
    Ok(())
}
