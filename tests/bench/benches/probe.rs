//! What a hit of a uprobe costs the probed thread, by the instruction it sits on, with a program that does nothing; and
//! with ours, that takes a stack. Variants take turns; figures are medians over them, with the lowest and the highest.

#[path = "probe/empty.rs"]
mod empty;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use warplens::bpf::Bpf;
use warplens::bpf::host::Host;
use warplens::elf;
use warplens_bench::{figure, median};

use empty::{At, Empty};

const TURNS: u32 = 15;
/// Hits of a turn: enough against the two readings of the clock around them.
const HITS: u32 = 2000;
/// Hits that bring a stack: what the ring buffer has room for, at 37 kB each.
const STACKS: u32 = 350;
/// Before each measurement: kernels that turn a nop into a call do it at a hit.
const WARMING: u32 = 20;
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// The feature without which there is no stack.
const STACK_FEATURE: &str = "stacks of launches";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    None,
    Empty(At),
    Stack,
}

const VARIANTS: [(&str, &str, Probe); 11] = [
    ("none", "site_nop5", Probe::None),
    ("nop1", "site_nop1", Probe::Empty(At::Entry)),
    ("nop2", "site_nop2", Probe::Empty(At::Entry)),
    ("nop5", "site_nop5", Probe::Empty(At::Entry)),
    ("push-rbp", "site_push_rbp", Probe::Empty(At::Entry)),
    ("push-r15", "site_push_r15", Probe::Empty(At::Entry)),
    ("endbr64", "site_endbr64", Probe::Empty(At::Entry)),
    ("mov", "site_mov", Probe::Empty(At::Entry)),
    ("sub", "site_sub", Probe::Empty(At::Entry)),
    ("return", "site_nop1", Probe::Empty(At::Return)),
    ("nop5-stack", "site_nop5", Probe::Stack),
];

/// The program with the sites.
struct Sites {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    program: PathBuf,
}

impl Drop for Sites {
    fn drop(&mut self) {
        // Already ended, if that fails.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Sites {
    fn start(folder: &Path) -> Result<Self> {
        let program = folder.join("sites");
        let built = Command::new("cc")
            // With `-rdynamic` the sites are dynamic symbols, as those of a library.
            .args(["-O2", "-fcf-protection=none", "-rdynamic", "-o"])
            .arg(&program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/probe/sites.c"))
            .status()?;
        ensure!(built.success(), "the C compiler failed");
        let mut child =
            Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().context("its input")?;
        let from = BufReader::new(child.stdout.take().context("its output")?);
        let mut this = Self { child, to, from, program };
        ensure!(this.line()? == "ready");
        Ok(this)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn offset(&self, site: &str) -> Result<u64> {
        Ok(elf::find(&self.program, &[site])?.remove(site).context("no symbol")?.offset)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Nanoseconds of one hit.
    fn hit(&mut self, site: &str, hits: u32) -> Result<f64> {
        writeln!(self.to, "{site} {hits}")?;
        let ns: f64 = self.line()?.parse()?;
        Ok(ns / f64::from(hits))
    }
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut sites = Sites::start(folder.path())?;
    let mut empty = Empty::load()?;
    let mut ours = ours()?;
    let variants: Vec<_> = VARIANTS
        .into_iter()
        .filter(|(_, _, probe)| ours.is_some() || *probe != Probe::Stack)
        .collect();
    for &(name, site, probe) in &variants {
        if let Probe::Empty(at) = probe {
            check_hit(&mut empty, &mut sites, site, at).context(name)?;
        }
    }
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); variants.len()];
    for turn in 0..=TURNS {
        for (&(name, site, probe), figures) in variants.iter().zip(&mut figures) {
            let ns = match (probe, &mut ours) {
                (Probe::Stack, Some(ours)) => with_stack(ours, &mut sites, site),
                (Probe::Empty(at), _) => with_nothing(&mut empty, &mut sites, site, at),
                _ => sites.hit(site, HITS),
            }
            .context(name)?;
            // The first turn warms caches.
            if turn > 0 {
                figures.push(ns);
            }
        }
    }
    for ((name, _, _), figures) in variants.iter().zip(figures) {
        let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = figures.iter().copied().fold(0.0, f64::max);
        figure(&format!("probe/{name}"), median(figures), "ns");
        figure(&format!("probe/{name}-lowest"), lowest, "ns");
        figure(&format!("probe/{name}-highest"), highest, "ns");
    }
    Ok(())
}

/// Our programs, where this kernel can take a stack at a probe.
fn ours() -> Result<Option<Bpf>> {
    let features = Host::read().features();
    let stacks = features.into_iter().find(|feature| feature.probe.feature() == STACK_FEATURE);
    match stacks.context("no such feature")?.obstacle {
        None => Bpf::load().context("load the kernel programs").map(Some),
        // `doctor` says why.
        Some(_) => Ok(None),
    }
}

/// A hit runs the program, once.
fn check_hit(empty: &mut Empty, sites: &mut Sites, site: &str, at: At) -> Result<()> {
    let before = fs::read_to_string(STATISTICS).context("this needs root")?;
    let _link = empty.attach(at, sites.pid(), &sites.program, sites.offset(site)?)?;
    sites.hit(site, WARMING)?;
    fs::write(STATISTICS, "1").context("switch the kernel's statistics on")?;
    let counted = (|| {
        let earlier = empty.runs(at)?;
        sites.hit(site, 3)?;
        Ok::<u64, anyhow::Error>(empty.runs(at)? - earlier)
    })();
    fs::write(STATISTICS, before.trim()).context("restore the kernel's statistics")?;
    let counted = counted?;
    ensure!(counted == 3, "3 hits ran the program {counted} times");
    Ok(())
}

fn with_nothing(empty: &mut Empty, sites: &mut Sites, site: &str, at: At) -> Result<f64> {
    let _link = empty.attach(at, sites.pid(), &sites.program, sites.offset(site)?)?;
    sites.hit(site, WARMING)?;
    sites.hit(site, HITS)
}

fn with_stack(ours: &mut Bpf, sites: &mut Sites, site: &str) -> Result<f64> {
    let pid = sites.pid();
    ours.attach_probe_at(pid, &sites.program, sites.offset(site)?)?;
    // Nobody watches yet.
    sites.hit(site, WARMING)?;
    ours.watch_on_cpu(pid)?;
    let before = ours.counters()?.launch_stacks;
    let ns = sites.hit(site, STACKS)?;
    let taken = ours.counters()?.launch_stacks - before;
    ensure!(taken == u64::from(STACKS), "{taken} of {STACKS} stacks were taken");
    while ours.poll(|_| {}) > 0 {}
    ours.unwatch(pid)?;
    Ok(ns)
}
