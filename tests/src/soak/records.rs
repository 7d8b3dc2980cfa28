//! Kernel records by the million, most of them replayed from graphs, through CUPTI, shim, ring and agent.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use wire::limits::RING_SLOTS;
use wire::shim::Level;

use super::pause;
use super::totals;
use super::watch::{AGENT_NOISE_KIB, Course, Memory, WORKER_NOISE_KIB};
use crate::harness::agent::start_record;
use crate::harness::artefacts;
use crate::harness::child::Child;
use crate::harness::daemon::{self, get, sum};
use crate::harness::server::Run;
use crate::harness::{process, ring};
use crate::judge::kernels::KernelTable;
use crate::judge::truth::{GroundTruth, What};
use crate::judge::{Row, compare, report, shares};

/// Who reads the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reader {
    /// `warplens agent`: totals, without stacks.
    Daemon,
    /// `warplens record`: everything, with stacks and CPU samples.
    Record,
}

/// What one piece does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub kernels: u64,
    /// Kernels a second.
    pub rate: u32,
    pub seed: u32,
    pub reader: Reader,
}

/// What one piece saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Piece {
    /// How the graphs came about.
    pub scenario: String,
    /// Kernels that ran and whose records were counted, each once.
    pub kernels: u64,
    /// Of these, replayed from graphs.
    pub replayed: u64,
    /// The seconds that took.
    pub seconds: f64,
    /// Figures that were compared with the truth.
    pub compared: usize,
    pub agent: Course,
    pub worker: Course,
    /// The fullest the ring was seen, of a thousand.
    pub ring_permille: u64,
    /// Of a processor.
    pub agent_percent: f64,
    pub worker_percent: f64,
    /// Everything that was not as it should be.
    pub complaints: Vec<String>,
}

/// Streams, each with a thread that launches into it.
const THREADS: u32 = 12;

/// Of a hundred kernels, those that are launched one by one.
const SINGLE_PERCENT: u32 = 12;

/// Kernels of a stream under way at most: where the machine held the worker up, it launches faster for a while, and what
/// is queued would fill the shim's buffers for the first time, which is not growth.
const WAIT_EVERY: u32 = 1000;

/// How graphs come about, and kernels of a replay. Capturing again and again is left out: it would fill the graph table,
/// which has room for a server's captures.
const SCENARIOS: [(&str, u32); 5] =
    [("full", 25), ("pieces", 29), ("clone", 25), ("child", 75), ("update", 25)];

/// Of a thousand records, late ones, and how late at most.
const LATE: &str = "5,150";

/// The flight recorder forgets what is older, so that its ring is full when warm-up ends. The budget is the soak's, not a
/// server's: this load is some ten times a worker's.
const CONFIGURATION: &str = "\
[levels.budget]
callback_permille = 1000
shim_permille = 1000
agent_permille = 1000
memory_mib = 4096
bus_mib = 4096
[flight]
seconds = 5
";

/// A piece that is shorter is warm-up altogether, above all of the flight recorder: its memory is not judged.
const WARM_UP: Duration = Duration::from_secs(15);

const LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Of those looks, one looks for other workers.
const ALONE_EVERY: u32 = 10;

/// Runs one piece.
///
/// # Errors
/// When it cannot be run or judged. What was not as it should be is in [`Piece::complaints`].
pub fn piece(plan: &Plan) -> Result<Piece> {
    let run = Run::new(1)?
        .with_shim()?
        .with("WARPLENS_SIM_SEED", &plan.seed.to_string())
        .with("WARPLENS_SIM_LATE", LATE);
    match plan.reader {
        Reader::Daemon => under_a_daemon(plan, &run),
        Reader::Record => recorded(plan, &run),
    }
}

fn under_a_daemon(plan: &Plan, run: &Run) -> Result<Piece> {
    let dumps = run.folder().join("dumps").display().to_string();
    let text = daemon::configuration(run.folder(), CONFIGURATION);
    let text = format!("{text}dir = {dumps:?}\n");
    let (mut agent, address) = daemon::start(run.folder(), &text, &[])?;
    let mut load = Load::start(plan, run)?;
    let mut piece = load.carry(plan, &agent, Level::Counting)?;
    load.end(&mut piece)?;
    let metrics = last_metrics(&address, &agent)?;
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT)?;
    piece.complain_unless(ended.code == 0, || format!("the daemon ended so: {ended:?}"));
    let truth = GroundTruth::read(&run.truth())?;
    let table = KernelTable::read(&artefacts::kernel_table())?;
    piece.hold(&totals::compare(&truth, &metrics, &table));
    load.count(&truth, &mut piece)?;
    Ok(piece)
}

fn recorded(plan: &Plan, run: &Run) -> Result<Piece> {
    let mut load = Load::start(plan, run)?;
    let seconds = u32::try_from(limit(plan).as_secs()).unwrap_or(u32::MAX);
    let (mut agent, out) = start_record(load.worker.pid(), seconds, run.folder(), "out")?;
    let mut piece = load.carry(plan, &agent, Level::Stacks)?;
    agent.signal(Signal::INT);
    let ended = agent.wait(Duration::from_mins(5))?;
    ensure!(ended.code == 0, "record failed: {ended:?}");
    load.end(&mut piece)?;
    let truth = GroundTruth::read(&run.truth())?;
    let table = KernelTable::read(&artefacts::kernel_table())?;
    let report = report::Report::read(&out.join("report.json"))?;
    let verdict = compare::compare(&truth, &report, &table);
    piece.hold(&verdict.rows);
    load.count(&truth, &mut piece)?;
    for device in &report.devices {
        let records = device.records;
        piece.complain_unless(records.lost + records.invalid + records.unclassified == 0, || {
            format!("{records:?}")
        });
        let (kernels, recorded) = (piece.kernels, device.kernels);
        piece.complain_unless(recorded == kernels, || {
            format!("the recording has {recorded} kernels of {kernels}")
        });
    }
    stacks(&out, &truth, &mut piece)?;
    Ok(piece)
}

/// All the kernels' time hangs under stacks, nearly all of it under sampled ones.
fn stacks(out: &Path, truth: &GroundTruth, piece: &mut Piece) -> Result<()> {
    let found = shares::read(&out.join("gpu.folded"), &[])?;
    let pieces = truth.devices.values().flatten();
    let kernels = pieces.filter(|piece| matches!(piece.what, What::Kernel(_)));
    let total: u64 = kernels.map(|piece| piece.end - piece.start).sum();
    piece.complain_unless(found.total_ns == total, || {
        format!("{} ns hang under stacks, of {total} ns", found.total_ns)
    });
    piece.complain_unless(found.sampled_percent >= 95.0, || {
        format!("only {:.2} % of the time hangs under sampled stacks", found.sampled_percent)
    });
    Ok(())
}

/// A worker that launches when it is told to, so many kernels.
struct Load {
    worker: Child,
    output: PathBuf,
    scenario: &'static str,
}

/// What the worker says that it did, independent of simulator and agent.
#[derive(Deserialize)]
struct Said {
    launches_ok: u64,
    graph_kernels: u64,
}

impl Load {
    fn start(plan: &Plan, run: &Run) -> Result<Self> {
        let (scenario, replay) = SCENARIOS[plan.seed as usize % SCENARIOS.len()];
        let single = plan.rate * SINGLE_PERCENT / 100;
        let worker = run.work(&[
            "--launch-on-signal",
            "--seconds",
            "0",
            "--seed",
            &plan.seed.to_string(),
            "--kernels",
            &plan.kernels.to_string(),
            "--wait-every",
            &WAIT_EVERY.to_string(),
            "--threads",
            &THREADS.to_string(),
            "--scenario",
            scenario,
            "--rate",
            &single.to_string(),
            "--graphs",
            &((plan.rate - single) / replay).to_string(),
        ])?;
        Ok(Self { worker, output: run.folder().join("worker.stdout"), scenario })
    }

    /// From the instant the agent has the worker at its level until all was launched and has run.
    fn carry(&mut self, plan: &Plan, agent: &Child, level: Level) -> Result<Piece> {
        let pid = self.worker.pid();
        let begin = Instant::now();
        while ring::look(pid).is_none_or(|view| view.level() < level as u32) {
            if begin.elapsed() > LIMIT {
                bail!("the worker was never at level {level:?}: {}", agent.stderr());
            }
            pause(LOOK_EVERY)?;
        }
        let cpu = |pid| process::cpu_seconds(pid).unwrap_or(0.0);
        let before = [cpu(agent.pid()), cpu(pid)];
        self.worker.signal(Signal::USR1);
        let mut piece = Piece { scenario: self.scenario.to_owned(), ..Piece::default() };
        let (mut of_agent, mut of_worker) = (Memory::default(), Memory::default());
        let begin = Instant::now();
        for look in 0_u32.. {
            if self.worker.stdout().contains("\"launched\"") {
                break;
            }
            if plan.reader == Reader::Daemon && look % ALONE_EVERY == 0 {
                alone(&[pid, agent.pid()])?;
            }
            if begin.elapsed() > limit(plan) || !self.worker.alive() {
                bail!("the worker did not launch all: {}", self.worker.stderr());
            }
            pause(LOOK_EVERY)?;
            of_agent.look(agent.pid());
            of_worker.look(pid);
            if let Some(view) = ring::look(pid) {
                let (head, tail) = view.positions();
                let fill = head.saturating_sub(tail) * 1000 / RING_SLOTS as u64;
                piece.ring_permille = piece.ring_permille.max(fill);
            }
        }
        piece.seconds = begin.elapsed().as_secs_f64();
        piece.agent_percent = 100.0 * (cpu(agent.pid()) - before[0]) / piece.seconds;
        piece.worker_percent = 100.0 * (cpu(pid) - before[1]) / piece.seconds;
        (piece.agent, piece.worker) = (of_agent.course(), of_worker.course());
        let courses =
            [("agent", piece.agent, AGENT_NOISE_KIB), ("worker", piece.worker, WORKER_NOISE_KIB)];
        for (who, course, noise) in courses {
            let fine = course.flat(noise) || piece.seconds < WARM_UP.as_secs_f64();
            piece.complain_unless(fine, || format!("the {who}'s memory went {course:?}"));
        }
        // What was launched last is delivered within a mark or two, late records included.
        pause(Duration::from_secs(1))?;
        let view = ring::look(pid).context("the worker's ring is gone")?;
        let wrong = [view.lost(), view.panics(), view.names_full(), view.yields()];
        let fill = piece.ring_permille;
        piece.complain_unless(wrong == [0; 4], || {
            format!(
                "the shim lost, panicked, found no room for names, yielded: {wrong:?}; its ring was at most {fill} permille full"
            )
        });
        Ok(piece)
    }

    /// Ends the worker, which must say nothing but what it did.
    fn end(&mut self, piece: &mut Piece) -> Result<()> {
        self.worker.signal(Signal::TERM);
        let ended = self.worker.wait(LIMIT)?;
        piece.complain_unless(ended.code == 0 && ended.stderr.is_empty(), || {
            format!("the worker ended with {}: {}", ended.code, ended.stderr)
        });
        Ok(())
    }

    /// Counts what ran, and holds what the worker says against it.
    fn count(&self, truth: &GroundTruth, piece: &mut Piece) -> Result<()> {
        let pieces = || truth.devices.values().flatten();
        let kernel = |work: &&crate::judge::truth::Piece| matches!(work.what, What::Kernel(_));
        piece.kernels = pieces().filter(kernel).filter(|work| work.visible()).count() as u64;
        let text = std::fs::read_to_string(&self.output).context("read the worker's output")?;
        let last = text.lines().last().context("the worker said nothing")?;
        let said: Said = serde_json::from_str(last).with_context(|| last.to_owned())?;
        piece.replayed = said.graph_kernels;
        let launched = said.launches_ok + said.graph_kernels;
        let kernels = piece.kernels;
        piece.complain_unless(kernels == launched, || {
            format!("the worker launched {launched} kernels, {kernels} were recorded")
        });
        Ok(())
    }
}

impl Piece {
    fn complain_unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(what());
        }
    }

    fn hold(&mut self, rows: &[Row]) {
        self.compared += rows.len();
        for row in rows.iter().filter(|row| !row.agrees()) {
            let Row { device: _, what, truth, report } = row;
            self.complaints.push(format!("{what}: {truth}, reported {report}"));
        }
        self.complain_unless(!rows.is_empty(), || "nothing was compared".to_owned());
    }
}

/// How long the launching may take: a machine that is busy with other work is slower.
fn limit(plan: &Plan) -> Duration {
    Duration::from_secs(60 + 5 * plan.kernels / u64::from(plan.rate.max(1)))
}

/// Nobody but `ours` has a ring: a daemon counts every worker on its machine, and the truth is that of ours.
fn alone(ours: &[u32]) -> Result<()> {
    let other = ring::holders().into_iter().find(|holder| !ours.contains(holder));
    other.map_or(Ok(()), |other| {
        let line = process::command_line(other).unwrap_or_default();
        bail!("process {other} ({line}) has the shim, too, and would be counted: end it, and run this again")
    })
}

/// The daemon's figures once it has read all of a worker that has ended.
fn last_metrics(address: &str, agent: &Child) -> Result<String> {
    let begin = Instant::now();
    let mut before = -1.0;
    loop {
        pause(Duration::from_secs(1))?;
        let (_, text) = get(address, "/metrics")
            .with_context(|| format!("the daemon does not answer: {}", agent.stderr()))?;
        let records = sum(&text, "warplens_records_total", &[]);
        let gone = !text.contains("\nwarplens_worker_level{");
        if gone && (records - before).abs() < 0.5 {
            return Ok(text);
        }
        ensure!(begin.elapsed() < LIMIT, "the daemon does not see that the worker ended");
        before = records;
    }
}
