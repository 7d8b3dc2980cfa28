//! What the sampled heap costs a program that allocates 200 000 times in a second of its processor time, and one in
//! Python, beside what else finds leaks. Every round runs each variant once, in an order drawn for it; what is told is the
//! mean of the rounds' ratios of processor time to that round's run without anything, and its 95 % interval by Student's t.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use warplens_bench::{figure, interval, median};
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::dice::Dice;
use warplens_tests::harness::hostile::build_memory;
use warplens_tests::harness::python::interpreter;
use warplens_tests::harness::{ring, wait};
use wire::shim::Level;

const ROUNDS: usize = 30;
const LIMIT: Duration = Duration::from_mins(2);
/// Student's t at 97.5 % for [`ROUNDS`] - 1 degrees of freedom.
const STUDENT: f64 = 2.045;
/// Sampling has settled: it follows the traffic second by second.
const SETTLES: Duration = Duration::from_secs(3);
/// Of the run that holds many.
const HELD: &str = "10000000";

/// What looks for leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// The shim is there and asleep.
    Asleep,
    Leaks,
    /// The program is started by it.
    Heaptrack,
    Memray,
    /// Uprobes at `malloc` and `free`, with stacks: what `memleak` does.
    Uprobes,
}

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "off",
            Self::Asleep => "asleep",
            Self::Leaks => "leaks",
            Self::Heaptrack => "heaptrack",
            Self::Memray => "memray",
            Self::Uprobes => "uprobes",
        }
    }

    /// Whether it is there; said aloud where it is not.
    #[expect(clippy::print_stderr, reason = "standard output is for figures")]
    fn is_there(self) -> bool {
        let program = match self {
            Self::Heaptrack => "heaptrack".into(),
            Self::Uprobes => "bpftrace".into(),
            Self::Memray => std::env::var_os("WARPLENS_MEMRAY").unwrap_or_else(|| "memray".into()),
            Self::Nothing | Self::Asleep | Self::Leaks => return true,
        };
        let there = Command::new(&program).arg("--version").output().is_ok();
        if !there {
            eprintln!("SKIP {}: {} is not installed", self.name(), program.display());
        }
        there
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Said {
    cpu_s: f64,
}

/// One program, which waits while others have their turn.
struct Variant {
    beside: Beside,
    folder: tempfile::TempDir,
    child: Child,
    turns: usize,
    seconds: Vec<f64>,
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = build_memory("heap_work", folder.path())?;
    let script = artefacts::program("memory").join("heap_work.py");
    let c = [Beside::Nothing, Beside::Asleep, Beside::Leaks, Beside::Heaptrack, Beside::Uprobes];
    compare("c", std::slice::from_ref(&program), &c)?;
    let python = [interpreter(folder.path())?, script];
    let beside =
        [Beside::Nothing, Beside::Asleep, Beside::Leaks, Beside::Memray, Beside::Heaptrack];
    compare("python", &python, &beside)?;
    hold(&program)
}

fn compare(language: &str, program: &[PathBuf], beside: &[Beside]) -> Result<()> {
    let mut dice = Dice::new(1);
    let beside = beside.iter().filter(|one| one.is_there());
    let mut variants =
        beside.map(|&beside| Variant::start(program, beside)).collect::<Result<Vec<_>>>()?;
    for _ in 0..ROUNDS {
        for index in order(&mut dice, variants.len()) {
            let variant = &mut variants[index];
            let seconds = variant.turn().context(variant.beside.name())?;
            variant.seconds.push(seconds);
        }
    }
    let (off, others) = variants.split_first().context("nothing ran")?;
    figure(&format!("heap/{language}-off"), median(off.seconds.clone()) * 1000.0, "ms a turn");
    for variant in others {
        let ratios: Vec<f64> =
            off.seconds.iter().zip(&variant.seconds).map(|(off, with)| with / off).collect();
        interval(&format!("heap/{language}-{}", variant.beside.name()), &ratios, STUDENT, "times");
    }
    Ok(())
}

/// The numbers below `count`, shuffled.
fn order(dice: &mut Dice, count: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..count).collect();
    (0..count).map(|_| left.swap_remove(dice.below(left.len()))).collect()
}

impl Variant {
    fn start(program: &[PathBuf], beside: Beside) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = match beside {
            Beside::Heaptrack => {
                let mut command = Command::new("heaptrack");
                command.arg("-o").arg(folder.path().join("heaptrack"));
                command.args(program);
                command
            }
            Beside::Memray => {
                let memray = std::env::var_os("WARPLENS_MEMRAY").unwrap_or_else(|| "memray".into());
                let mut command = Command::new(memray);
                command.args(["run", "--native", "-o"]).arg(folder.path().join("memray"));
                command.args(&program[1..]);
                command
            }
            _ => {
                let mut command = Command::new(&program[0]);
                command.args(&program[1..]);
                command
            }
        };
        let mut child = Child::start(&mut command, folder.path(), beside.name())?;
        child.line("ready", LIMIT)?;
        if beside == Beside::Asleep {
            let agent = leaks(&child, folder.path())?;
            end(agent)?;
            let asleep = || ring::look(child.pid()).filter(|view| view.level() == 0);
            ensure!(wait::until(LIMIT, || asleep().map(drop)).is_some(), "it does not sleep");
        }
        Ok(Self { beside, folder, child, turns: 0, seconds: Vec::new() })
    }

    /// Processor time of a turn, s.
    fn turn(&mut self) -> Result<f64> {
        let beside = match self.beside {
            Beside::Leaks => Some(leaks(&self.child, self.folder.path())?),
            Beside::Uprobes => Some(uprobes(&self.child, self.folder.path())?),
            _ => None,
        };
        if self.beside == Beside::Leaks {
            // While it works: the first turns set the mean.
            let begun = std::time::Instant::now();
            while begun.elapsed() < SETTLES {
                self.work()?;
            }
        }
        let seconds = self.work()?;
        if let Some(beside) = beside {
            end(beside)?;
        }
        Ok(seconds)
    }

    fn work(&mut self) -> Result<f64> {
        let turn = self.turns;
        self.turns += 1;
        ensure!(self.child.write("go\n"), "the program has ended");
        let line = self.child.line(&format!("\"turn\": {turn},"), LIMIT)?;
        Ok(serde_json::from_str::<Said>(&line)?.cpu_s)
    }
}

/// `leaks` on the program, once it is told of its heap.
fn leaks(child: &Child, folder: &Path) -> Result<Child> {
    let mut command = warplens(&["leaks", "--pid", &child.pid().to_string(), "-d", "10m"])?;
    command.arg("-o").arg(folder.join("out")).env("WARPLENS_SHIM", artefacts::shim()?);
    let agent = Child::start(&mut command, folder, "leaks")?;
    let sampled = || {
        let view = ring::look(child.pid())?;
        (view.level() == Level::Watching as u32 && view.heap_mean() > 0).then_some(())
    };
    ensure!(wait::until(LIMIT, sampled).is_some(), "not sampled: {}", agent.stderr());
    Ok(agent)
}

/// The same method as `memleak`: every allocation with its stack, every free.
fn uprobes(child: &Child, folder: &Path) -> Result<Child> {
    let pid = child.pid();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let libc = maps.split_whitespace().find(|word| word.contains("/libc.so")).context("no libc")?;
    let script = format!(
        "uprobe:{libc}:malloc /pid == {pid}/ {{ @size[tid] = arg0; }} \
         uretprobe:{libc}:malloc /pid == {pid} && @size[tid]/ {{ @live[retval] = @size[tid]; \
         @sites[ustack] = sum(@size[tid]); delete(@size[tid]); }} \
         uprobe:{libc}:free /pid == {pid}/ {{ delete(@live[arg0]); }} BEGIN {{ printf(\"ready\\n\"); }}"
    );
    let mut command = Command::new("bpftrace");
    command.args(["-e", &script]).env("BPFTRACE_MAP_KEYS_MAX", "100000");
    let mut tracer = Child::start(&mut command, folder, "bpftrace")?;
    tracer.line("ready", LIMIT)?;
    Ok(tracer)
}

fn end(mut agent: Child) -> Result<()> {
    agent.signal(Signal::INT);
    let Ended { code, stderr, .. } = agent.wait(LIMIT)?;
    ensure!(code == 0, "ended with {code}: {stderr}");
    Ok(())
}

/// Memory of the agent, and of the program beyond what it has without us, while ten million blocks live.
fn hold(program: &Path) -> Result<()> {
    let command = [program.to_owned(), "hold".into(), HELD.into()];
    let mut bare = Variant::start(&command, Beside::Nothing)?;
    bare.work()?;
    let mut seen = Variant::start(&command, Beside::Nothing)?;
    let agent = leaks(&seen.child, seen.folder.path())?;
    for _ in 0..5 {
        seen.work()?;
    }
    let more = resident_kib(seen.child.pid())? - resident_kib(bare.child.pid())?;
    figure("heap/10-million-blocks-process", more / 1024.0, "MiB more");
    figure("heap/10-million-blocks-agent", resident_kib(agent.pid())? / 1024.0, "MiB RssAnon");
    end(agent)
}

/// `RssAnon` and `RssShmem`, KiB.
fn resident_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok())
    };
    Ok(field("RssAnon:").context("no RssAnon")? + field("RssShmem:").context("no RssShmem")?)
}
