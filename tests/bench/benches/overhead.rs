//! What observing costs a decode loop on the simulated CUDA, level by level: steps a second and the 99th percentile of a
//! step, with whole agents beside it. Every round runs each variant once, in an order drawn for it; what is told is the
//! mean of the rounds' ratios to that round's run without us, and its 95 % interval by Student's t.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use warplens_bench::{figure, interval};
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::dice::Dice;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use wire::shim::Level;

const ROUNDS: usize = 10;
/// Of one variant in one round.
const SECONDS: &str = "3";
const LIMIT: Duration = Duration::from_mins(2);
/// Student's t at 97.5 % for [`ROUNDS`] - 1 degrees of freedom.
const STUDENT: f64 = 2.262;

/// What a variant has beside the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// Not even the shim.
    Nothing,
    /// The shim, and nobody who asks.
    Shim,
    /// `record` with these options, until this level is reached.
    Record(&'static [&'static str], Level),
}

const VARIANTS: [(&str, Beside); 5] = [
    ("off", Beside::Nothing),
    ("dormant", Beside::Shim),
    ("counters", Beside::Record(&["--stack-rate", "0", "--cpu-hz", "0"], Level::Counting)),
    ("stacks", Beside::Record(&["--cpu-hz", "0"], Level::Stacks)),
    ("full", Beside::Record(&[], Level::Stacks)),
];

/// What the loop says of a run.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Said {
    steps: f64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
}

/// One loop, which waits while others have their turn.
struct Variant {
    name: &'static str,
    beside: Beside,
    run: Run,
    child: Child,
    said: Vec<Said>,
}

fn main() -> Result<()> {
    let mut dice = Dice::new(1);
    for mode in ["eager", "graph"] {
        let mut variants = VARIANTS
            .into_iter()
            .map(|(name, beside)| Variant::start(mode, name, beside))
            .collect::<Result<Vec<_>>>()?;
        for round in 0..ROUNDS {
            for index in order(&mut dice, variants.len()) {
                let said = variants[index].turn(round)?;
                variants[index].said.push(said);
            }
        }
        tell(mode, &variants);
    }
    Ok(())
}

/// The numbers below `count`, shuffled.
fn order(dice: &mut Dice, count: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..count).collect();
    (0..count).map(|_| left.swap_remove(dice.below(left.len()))).collect()
}

impl Variant {
    fn start(mode: &str, name: &'static str, beside: Beside) -> Result<Self> {
        let mut run = Run::new(1)?.with("WARPLENS_LEVEL", "dormant");
        if beside != Beside::Nothing {
            run = run.with_shim()?;
        }
        let mut command = run.command(&PathBuf::from("python3"))?;
        command.arg(artefacts::program("decode_loop.py")).arg(mode);
        let mut child = Child::start(&mut command, run.folder(), name)?;
        child.line("ready", LIMIT)?;
        Ok(Self { name, beside, run, child, said: Vec::new() })
    }

    fn turn(&mut self, round: usize) -> Result<Said> {
        let Beside::Record(options, level) = self.beside else {
            return self.loop_once(round);
        };
        let out = self.run.folder().join(format!("{round}"));
        let mut command =
            warplens(&["record", "--pid", &self.child.pid().to_string(), "-d", "2m"])?;
        command.args(options).arg("-o").arg(&out);
        let mut agent = Child::start(&mut command, self.run.folder(), "agent")?;
        let reached = || ring::look(self.child.pid()).filter(|view| view.level() == level as u32);
        let reached = wait::until(LIMIT, || reached().map(drop));
        ensure!(reached.is_some(), "{}: never at {level:?}: {}", self.name, agent.stderr());
        let said = self.loop_once(round)?;
        agent.signal(Signal::INT);
        let Ended { code, stderr, .. } = agent.wait(LIMIT)?;
        ensure!(code == 0, "{}: {stderr}", self.name);
        ensure_counted(&out, &said).with_context(|| format!("{}, round {round}", self.name))?;
        std::fs::remove_dir_all(&out)?;
        Ok(said)
    }

    fn loop_once(&mut self, round: usize) -> Result<Said> {
        ensure!(self.child.write(&format!("{SECONDS}\n")), "{}: the loop has ended", self.name);
        let line = self.child.line(&format!("\"turn\": {round},"), LIMIT)?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Nothing was lost, and the loop's kernels are all there: a figure of what was not recorded would be none.
fn ensure_counted(out: &std::path::Path, said: &Said) -> Result<()> {
    let text = std::fs::read(out.join("report.json"))?;
    let report: serde_json::Value = serde_json::from_slice(&text)?;
    let device = &report["devices"][0];
    let kernels = device["kernels"].as_f64().context("no kernels")?;
    let lost = device["records"]["lost"].as_f64().context("no losses")?;
    ensure!(
        lost < 0.5 && kernels >= said.steps * 300.0,
        "{kernels} kernels, {lost} lost of {said:?}"
    );
    Ok(())
}

fn tell(mode: &str, variants: &[Variant]) {
    let (off, others) =
        variants.split_first().map_or((&[][..], variants), |(off, others)| (&off.said[..], others));
    let middle = |of: fn(&Said) -> f64| warplens_bench::median(off.iter().map(of).collect());
    figure(&format!("overhead/{mode}-off-step"), middle(|said| said.p50_us), "us");
    figure(&format!("overhead/{mode}-off-step-p99"), middle(|said| said.p99_us), "us");
    for variant in others {
        let pairs = || off.iter().zip(&variant.said);
        // Time of a step more than without us, as a mean over all steps: what is lost of steps a second.
        let pace = |said: &Said| said.seconds / said.steps;
        let mean: Vec<f64> =
            pairs().map(|(off, said)| (pace(said) / pace(off) - 1.0) * 100.0).collect();
        let tail: Vec<f64> =
            pairs().map(|(off, said)| (said.p99_us / off.p99_us - 1.0) * 100.0).collect();
        interval(&format!("overhead/{mode}-{}", variant.name), &mean, STUDENT, "% more");
        interval(&format!("overhead/{mode}-{}-p99", variant.name), &tail, STUDENT, "% more");
    }
}
