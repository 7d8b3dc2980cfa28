//! `cargo xtask bench`: runs every `[[bench]]` target of the workspace, several times in turn, and
//! prints median and spread of each figure.
//!
//! A bench is a program (`harness = false`) that asserts its own result and prints one line per
//! figure, all else on standard error:
//!
//! ```text
//! {"bench":"shim/launch-armed","value":41.2,"unit":"ns"}
//! ```
//! `--check` holds the medians against the table of docs/overhead.md. The machine drifts between
//! runs, so rounds alternate over the benches instead of repeating one.

mod baseline;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::build;
use crate::child;
use crate::hta;
use crate::venv;
use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only benches whose target name contains this
    filter: Option<String>,
    /// Times each bench runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Fail when a median is worse than its baseline in docs/overhead.md
    #[arg(long)]
    check: bool,
    /// With --check: percent a median may be worse
    #[arg(long, default_value_t = 10.0)]
    tolerance: f64,
    /// Name the benches
    #[arg(long)]
    list: bool,
}

/// A bench target.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bench {
    package: String,
    target: String,
}

/// Unit and values of one figure, a value per round.
#[derive(Clone, Debug, Default, PartialEq)]
struct Figure {
    unit: String,
    values: Vec<f64>,
}

/// The bench that needs `HolisticTraceAnalysis`.
const PEER_BENCH: &str = "hta";

/// The bench that may use `memray`, and the variable that names it there.
const HEAP_BENCH: &str = "heap";
const MEMRAY: &str = "WARPLENS_MEMRAY";

/// One bench, with its first build.
const LIMIT: Duration = Duration::from_mins(20);

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut benches = benches(&workspace.metadata(&["--no-deps"])?);
    if let Some(filter) = &args.filter {
        benches.retain(|bench| bench.target.contains(filter.as_str()));
    }
    if args.list {
        for bench in &benches {
            println!("{} ({})", bench.target, bench.package);
        }
        return Ok(());
    }
    if benches.is_empty() {
        bail!("no [[bench]] target in the workspace matches; cargo xtask bench --list names them");
    }
    let peer = peer(workspace, &mut benches);
    let memray = memray(workspace, &benches);
    let artefacts = build::everything(workspace)?;
    let mut figures: BTreeMap<String, Figure> = BTreeMap::new();
    for round in 1..=args.rounds {
        for bench in &benches {
            eprintln!("round {round} of {}: {}", args.rounds, bench.target);
            let mut command = workspace.cargo("bench");
            command.args(["--locked", "--quiet", "-p", &bench.package, "--bench", &bench.target]);
            artefacts.describe_to(&mut command, workspace);
            if let Some(python) = &peer {
                command.env(hta::PYTHON, python);
            }
            if let Some(program) = &memray {
                command.env(MEMRAY, program);
            }
            let output = child::output(&mut command, &format!("bench {}", bench.target), LIMIT)?;
            if !output.status.success() {
                bail!("bench {} failed ({})", bench.target, output.status);
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if gather(&text, &mut figures)? == 0 {
                bail!("bench {} printed no figure", bench.target);
            }
        }
    }
    println!("{}, {} rounds", machine(), args.rounds);
    for (name, figure) in &figures {
        println!("{}", row(name, figure));
    }
    if args.check { check(workspace, &figures, args.tolerance) } else { Ok(()) }
}

/// The interpreter of the bench that compares with a peer from `PyPI`; without it the bench is left
/// out, aloud.
fn peer(workspace: &Workspace, benches: &mut Vec<Bench>) -> Option<PathBuf> {
    if !benches.iter().any(|bench| bench.target == PEER_BENCH) {
        return None;
    }
    match hta::with_traces(workspace) {
        Ok(python) => Some(python),
        Err(error) => {
            println!("SKIP bench {PEER_BENCH}: {error:#}");
            benches.retain(|bench| bench.target != PEER_BENCH);
            None
        }
    }
}

/// The program of that name from `PyPI`, for the bench that compares with it; without it only that comparison is left out.
fn memray(workspace: &Workspace, benches: &[Bench]) -> Option<PathBuf> {
    if !benches.iter().any(|bench| bench.target == HEAP_BENCH) {
        return None;
    }
    let installed = venv::with(workspace, "memray", "memray==1.20.0");
    installed
        .map(|programs| programs.join("memray"))
        .map_err(|error| println!("SKIP memray: {error:#}"))
        .ok()
}

/// Every bench target of the workspace, by name.
fn benches(metadata: &Value) -> Vec<Bench> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"))
            {
                found.push(Bench {
                    package: package["name"].as_str().unwrap_or_default().to_owned(),
                    target: target["name"].as_str().unwrap_or_default().to_owned(),
                });
            }
        }
    }
    found.sort_by(|first, second| first.target.cmp(&second.target));
    found
}

/// Adds one run's figures; how many there were.
fn gather(text: &str, figures: &mut BTreeMap<String, Figure>) -> Result<usize> {
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let said: Value =
            serde_json::from_str(line).with_context(|| format!("read the figure `{line}`"))?;
        let (Some(name), Some(value), Some(unit)) =
            (said["bench"].as_str(), said["value"].as_f64(), said["unit"].as_str())
        else {
            bail!("`{line}` is no figure: it needs bench, value and unit");
        };
        let figure = figures.entry(name.to_owned()).or_default();
        if !figure.unit.is_empty() && figure.unit != unit {
            bail!("{name} comes in {} and in {unit}", figure.unit);
        }
        unit.clone_into(&mut figure.unit);
        figure.values.push(value);
        count += 1;
    }
    Ok(count)
}

impl Figure {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self) -> f64 {
        let values = self.sorted();
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        }
    }
}

/// A row as docs/overhead.md has them.
fn row(name: &str, figure: &Figure) -> String {
    let values = figure.sorted();
    let (low, high) =
        (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    format!(
        "| `{name}` | {} | {} | {} - {} |",
        number(figure.median()),
        figure.unit,
        number(low),
        number(high)
    )
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn check(workspace: &Workspace, figures: &BTreeMap<String, Figure>, tolerance: f64) -> Result<()> {
    let path = workspace.root.join("docs/overhead.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let medians: Vec<(String, f64, String)> = figures
        .iter()
        .map(|(name, figure)| (name.clone(), figure.median(), figure.unit.clone()))
        .collect();
    let complaints = baseline::compare(&baseline::parse(&text), &medians, &machine(), tolerance)?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() {
        println!("every figure is within {tolerance} % of its baseline");
        return Ok(());
    }
    bail!("{} figures are worse than their baselines", complaints.len())
}

/// What the figures depend on most: processor and how many.
pub(crate) fn machine() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {count} CPUs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_rounds_have_a_median_and_a_spread() {
        let mut figures = BTreeMap::new();
        for value in ["3.0", "1.0", "20.0"] {
            let line = format!("{{\"bench\":\"a/b\",\"value\":{value},\"unit\":\"ns\"}}\n");
            assert_eq!(gather(&line, &mut figures).unwrap(), 1);
        }
        assert_eq!(row("a/b", &figures["a/b"]), "| `a/b` | 3.00 | ns | 1.00 - 20.00 |");
    }

    #[test]
    fn a_line_that_is_no_figure_is_refused() {
        assert!(gather("{\"bench\":\"a\",\"value\":\"3\"}", &mut BTreeMap::new()).is_err());
    }

    #[test]
    fn bench_targets_are_found_in_the_metadata() {
        let metadata = serde_json::json!({"packages": [{"name": "p", "targets": [
            {"name": "lib", "kind": ["lib"]}, {"name": "launch", "kind": ["bench"]}]}]});
        assert_eq!(benches(&metadata), [Bench { package: "p".into(), target: "launch".into() }]);
    }
}
