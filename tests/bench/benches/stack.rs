//! What taking a stack costs in the kernel, beyond the trap: Python's frames, the copy of the native
//! stack, both. A Python program calls a function that hits a probe point in a loop and times it; variants
//! take turns, everything is warm, and between batches nobody is measured while the ring is read.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use warplens::bpf::Bpf;
use warplens::python::Runtime;
use warplens_bench::{figure, median};
use warplens_tests::harness::python;
use wire::kernel::PythonLayout;

const TURNS: usize = 60;
/// Hits of a batch: what the ring buffer has room for, of stacks of 37 kB.
const HITS: u32 = 350;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Variant {
    /// The probe is there, and no stack of the process is wanted.
    Trap,
    Native,
    Both,
}

/// A Python that hits.
struct Hitting {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Drop for Hitting {
    fn drop(&mut self) {
        // Already ended, if that fails.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Hitting {
    fn start(python: &Path, script: &Path, library: &Path) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(script)
            .arg(library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().context("its input")?;
        let from = BufReader::new(child.stdout.take().context("its output")?);
        let mut this = Self { child, to, from };
        ensure!(this.line()? == "ready");
        Ok(this)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Nanoseconds of one hit.
    fn hit(&mut self, frames: u32, deep: bool) -> Result<f64> {
        writeln!(self.to, "{frames} {} {HITS}", u8::from(deep))?;
        let ns: f64 = self.line()?.parse()?;
        Ok(ns / f64::from(HITS))
    }
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/stack");
    let library = folder.path().join("libhits.so");
    let built = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-fcf-protection=none", "-o"])
        .arg(&library)
        .arg(here.join("hits.c"))
        .status()?;
    ensure!(built.success(), "the C compiler failed");
    let python = python::of_minor((3, 12))?;
    let mut hitting = Hitting::start(&python.path, &here.join("hits.py"), &library)?;
    let pid = hitting.child.id();
    let mut bpf = Bpf::load().context("load the kernel programs")?;
    ensure!(bpf.walks_python(), "{:?}", bpf.missing());
    let layout = Runtime::find(pid, |_| None)?.context("no interpreter in it")?.layout();
    bpf.attach_probe(pid, &library)?;

    let mut figures: BTreeMap<(Variant, u32, bool), Vec<f64>> = BTreeMap::new();
    for turn in 0..=TURNS {
        for variant in [Variant::Trap, Variant::Native, Variant::Both] {
            switch(&mut bpf, pid, variant, &layout)?;
            for (frames, deep) in [(10, false), (30, false), (100, false), (30, true)] {
                let before = bpf.counters()?;
                let ns = hitting.hit(frames, deep)?;
                let after = bpf.counters()?;
                let taken = after.launch_stacks - before.launch_stacks;
                let expected = if variant == Variant::Trap { 0 } else { u64::from(HITS) };
                ensure!(taken == expected, "{taken} of {expected} stacks were taken: {after:?}");
                while bpf.poll(|_| {}) > 0 {}
                // The first turn warms caches.
                if turn > 0 {
                    figures.entry((variant, frames, deep)).or_default().push(ns);
                }
            }
        }
    }
    report(&figures)
}

fn switch(bpf: &mut Bpf, pid: u32, variant: Variant, layout: &PythonLayout) -> Result<()> {
    match variant {
        Variant::Trap => bpf.watch_threads(pid)?,
        Variant::Native => {
            bpf.watch_on_cpu(pid)?;
            bpf.forget_python(pid)?;
        }
        Variant::Both => {
            bpf.watch_on_cpu(pid)?;
            bpf.set_python(pid, layout)?;
        }
    }
    Ok(())
}

/// Medians and, as what the machine can do, lowest values; each over the trap's.
fn report(figures: &BTreeMap<(Variant, u32, bool), Vec<f64>>) -> Result<()> {
    let lowest = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let of = |variant, frames, deep| -> Result<(f64, f64)> {
        let values = figures.get(&(variant, frames, deep)).context("not measured")?;
        Ok((median(values.clone()), lowest(values)))
    };
    for (frames, deep) in [(10, false), (30, false), (100, false), (30, true)] {
        let name =
            if deep { format!("{frames}-frames-32-kib") } else { format!("{frames}-frames") };
        let (trap, native, both) = (
            of(Variant::Trap, frames, deep)?,
            of(Variant::Native, frames, deep)?,
            of(Variant::Both, frames, deep)?,
        );
        for (kind, value) in [
            ("trap", trap),
            ("native", (native.0 - trap.0, native.1 - trap.1)),
            ("python", (both.0 - native.0, both.1 - native.1)),
            ("both", (both.0 - trap.0, both.1 - trap.1)),
        ] {
            figure(&format!("stack/{kind}-{name}"), value.0, "ns");
            figure(&format!("stack/{kind}-{name}-lowest"), value.1, "ns");
        }
    }
    Ok(())
}
