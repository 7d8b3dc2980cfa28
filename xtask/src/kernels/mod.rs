//! `cargo xtask kernels`: the kernel programs in kernels of other versions, each booted in QEMU from Debian's package, and
//! in the machine's own. What was seen is kept per kernel, so that a run goes on where one was interrupted, and written to
//! docs/kernels.md.

mod cpio;
mod initramfs;
mod libtest;
mod machine;
mod modules;
mod package;
mod programs;
mod report;
mod results;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bench;
use crate::child;
use crate::setup;
use crate::workspace::Workspace;

use machine::Accelerator;
use package::{Kernels, NEWEST};
use programs::Programs;
use results::{Place, Seen, Store};
use steps::Clock;

/// The kernel of the machine around.
const OWN: &str = "own";
/// Long-term kernels that Debian has, the newest of all, and the one that runs. No release of Debian has 5.15; 5.10 is
/// the nearest.
const DEFAULT: [&str; 6] = ["5.10", "6.1", "6.12", "6.18", NEWEST, OWN];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this one (repeatable): a series such as 6.1, `newest`, or `own` for the kernel of this machine
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
    /// Also where it was seen at this commit already
    #[arg(long)]
    again: bool,
    /// Print what was seen as JSON instead of a line each
    #[arg(long)]
    json: bool,
    /// What executes the instructions of a booted machine
    #[arg(long, value_enum, default_value = "tcg")]
    accelerator: Accelerator,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let wanted: Vec<&str> = if args.kernels.is_empty() {
        DEFAULT.to_vec()
    } else {
        args.kernels.iter().map(String::as_str).collect()
    };
    for series in wanted.iter().filter(|series| **series != OWN) {
        package::check_series(series)?;
    }
    if !setup::is_root() {
        bail!("loading programs into kernels needs root: run it under sudo");
    }
    let folder = workspace.target.join("kernels");
    let store = Store::open(folder.join("results"))?;
    let commit = workspace.commit(&[Path::new("docs")])?;
    let kept = store.all()?;
    let is_open = |series: &&&str| {
        let is_it = |seen: &Seen| seen.place.asked == **series && seen.place.commit == commit;
        args.again || !kept.iter().any(is_it)
    };
    let open: Vec<&str> = wanted.iter().filter(is_open).copied().collect();
    if !open.is_empty() {
        let matrix = Matrix { workspace, folder, accelerator: args.accelerator, commit };
        matrix.see(&open, &store)?;
    }
    conclude(workspace, &store.all()?, &wanted, args.json)
}

/// Everything a kernel is seen with.
struct Matrix<'w> {
    workspace: &'w Workspace,
    folder: PathBuf,
    accelerator: Accelerator,
    commit: String,
}

impl Matrix<'_> {
    /// Sees each of `open` and keeps what was seen. A kernel that cannot be had or booted does not stop the others.
    fn see(&self, open: &[&str], store: &Store) -> Result<()> {
        let programs = programs::build(self.workspace)?;
        let mut failures = Vec::new();
        let mut kernels = None;
        for series in open {
            let seen = if *series == OWN {
                self.own(&programs)
            } else {
                if kernels.is_none() {
                    setup::ensure("qemu-system-x86", machine::PROGRAM, "boots other kernels")?;
                    kernels = Some(Kernels::open(&self.folder)?);
                }
                let kernels = kernels.as_ref().context("Debian's lists were not read")?;
                self.boot(series, kernels, &programs)
            };
            match seen {
                Ok(seen) => {
                    eprintln!("kernels: {}", line(&seen));
                    store.save(&seen)?;
                }
                Err(error) if child::interrupted() => return Err(error),
                Err(error) => {
                    eprintln!("kernels: {series}: {error:#}");
                    failures.push(*series);
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        bail!("not seen: {}; docs/kernels.md is as it was", failures.join(", "))
    }

    fn boot(&self, series: &str, kernels: &Kernels, programs: &Programs) -> Result<Seen> {
        let kernel = kernels.fetch(series)?;
        let busybox = kernels.busybox()?;
        let results = self.results(series)?;
        let steps = steps::script(programs, self.workspace, self.accelerator.clock());
        let first_files = self.folder.join(format!("{series}.cpio"));
        fs::write(&first_files, initramfs::build(&kernel, &busybox, &steps)?)
            .with_context(|| format!("write {}", first_files.display()))?;
        let log = self.folder.join(format!("{series}.log"));
        eprintln!("kernels: boot {} (some minutes; {})", kernel.package, log.display());
        let image = kernel.image();
        let booted =
            machine::boot(self.accelerator, (&image, &first_files), &results, &log, steps::limit());
        let how = self.accelerator.name().to_owned();
        let place = Place {
            asked: series.to_owned(),
            package: Some(kernel.package),
            how,
            commit: self.commit.clone(),
        };
        match (booted, results::read(&results, place)) {
            (Ok(_), seen) => seen,
            (Err(error), _) if child::interrupted() => Err(error),
            // What was seen until then counts, and that it ended so.
            (Err(error), Ok(mut seen)) => {
                seen.problems.push(format!("{error:#}"));
                Ok(seen)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// The same steps without a machine between.
    fn own(&self, programs: &Programs) -> Result<Seen> {
        let results = self.results(OWN)?;
        let script = self.folder.join("own.sh");
        fs::write(&script, steps::script(programs, self.workspace, Clock::True))
            .with_context(|| format!("write {}", script.display()))?;
        eprintln!("kernels: this machine's own kernel");
        let mut command = Command::new("bash");
        command.arg(&script).arg(&results);
        child::run(&mut command, "the steps on this machine", steps::limit())?;
        let place = Place {
            asked: OWN.to_owned(),
            package: None,
            how: "direct".to_owned(),
            commit: self.commit.clone(),
        };
        results::read(&results, place)
    }

    /// An empty folder.
    fn results(&self, series: &str) -> Result<PathBuf> {
        let folder = self.folder.join("steps").join(series);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }
}

/// Writes the page of all that is kept, and judges what was asked for.
fn conclude(workspace: &Workspace, all: &[Seen], wanted: &[&str], json: bool) -> Result<()> {
    let page = workspace.root.join("docs/kernels.md");
    fs::write(&page, report::page(all, &bench::machine()))
        .with_context(|| format!("write {}", page.display()))?;
    let seen: Vec<&Seen> =
        all.iter().filter(|seen| wanted.contains(&seen.place.asked.as_str())).collect();
    if json {
        let text = serde_json::to_string_pretty(&seen).context("write down what was seen")?;
        println!("{text}");
    } else {
        for seen in &seen {
            println!("{}", line(seen));
        }
    }
    let bad: Vec<&str> =
        seen.iter().filter(|seen| !seen.is_good()).map(|seen| seen.release.as_str()).collect();
    let shown = workspace.short(Path::new(&page));
    if bad.is_empty() {
        eprintln!(
            "{} kernels, nothing failed: {shown} has what each loses and what probes cost",
            seen.len()
        );
        return Ok(());
    }
    bail!("something failed in {}: see {shown}", bad.join(", "))
}

fn line(seen: &Seen) -> String {
    let [passed, failed, skipped] = seen.counts();
    let problems = if seen.problems.is_empty() {
        String::new()
    } else {
        format!("; {}", seen.problems.join("; "))
    };
    format!("{}: {passed} passed, {failed} failed, {skipped} skipped{problems}", seen.release)
}
