//! Known shares of CPU time, on every interpreter there is, in a namespace of its own, and with the
//! interpreter's files replaced or gone.

use std::fs;
use std::path::{Path, PathBuf};

use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::command;
use warplens_tests::harness::python::{self, Gated, Python};
use warplens_tests::require;

use super::{assert_ended, assert_shares, folder, observe};

/// Samples that the bar asks for, and CPU time that gives a few more of them. A share of 17 % is then off by half a point,
/// one standard error; of 2 500 samples it is by 0.75, which is 2 points too often.
const SAMPLES: u64 = 6_000;
const CPU_SECONDS: &str = "7";

fn shares_of(python: &Python) {
    let folder = folder();
    let mut command = python.program("shares.py");
    command.args(["--cpu-seconds", CPU_SECONDS]);
    let mut program = Gated::start(&mut command, folder.path(), "program").unwrap();
    let observed = observe(&mut program, folder);
    assert_ended(program);
    assert_shares(&observed.text("cpu.folded"), &observed.truth, SAMPLES, &python.describe());
}

#[test]
fn every_function_has_its_share_on_the_required_versions() {
    require!(E2e);
    for python in python::required().unwrap() {
        shares_of(&python);
    }
}

#[test]
fn every_function_has_its_share_on_whatever_else_is_there() {
    require!(E2e);
    let required = python::required().unwrap();
    let others: Vec<Python> =
        python::all().into_iter().filter(|python| !required.contains(python)).collect();
    println!("{} more interpreters", others.len());
    for python in others {
        shares_of(&python);
    }
}

/// An interpreter's own files in `folder`: its launcher, and its library where it has one.
struct Private {
    launcher: PathBuf,
    library: Option<PathBuf>,
    home: PathBuf,
}

impl Private {
    fn copy(python: &Python, folder: &Path) -> Self {
        let launcher = fs::canonicalize(&python.path).unwrap();
        let home = launcher.ancestors().nth(2).unwrap().to_owned();
        let (major, minor, _) = python.version;
        let name = format!("libpython{major}.{minor}.so.1.0");
        let copied = folder.join(format!("python{major}.{minor}"));
        super::copy(&launcher, &copied);
        let library = python.shared.then(|| {
            let library = folder.join(&name);
            super::copy(&home.join("lib").join(&name), &library);
            library
        });
        Self { launcher: copied, library, home }
    }

    fn command(&self) -> std::process::Command {
        let mut command = command(&self.launcher);
        command.env("PYTHONHOME", &self.home).arg("-B");
        if let Some(library) = &self.library {
            command.env("LD_LIBRARY_PATH", library.parent().unwrap());
        }
        command.arg(artefacts::program("host").join("shares.py"));
        command.args(["--cpu-seconds", CPU_SECONDS]);
        command
    }

    /// Every file of its own.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.launcher).chain(&self.library)
    }
}

/// Starts a private copy of `python`, does something to its files, and judges what is recorded then.
fn shares_when(python: &Python, what: &str, treat: impl FnOnce(&Private)) {
    let folder = folder();
    let private = Private::copy(python, folder.path());
    let mut program = Gated::start(&mut private.command(), folder.path(), "program").unwrap();
    treat(&private);
    let observed = observe(&mut program, folder);
    assert_ended(program);
    let what = format!("{what}: {}", python.describe());
    assert_shares(&observed.text("cpu.folded"), &observed.truth, SAMPLES, &what);
}

#[test]
fn a_python_that_was_deleted_while_it_runs_is_seen_whole() {
    require!(E2e);
    for python in python::required().unwrap() {
        shares_when(&python, "deleted", |private| {
            private.files().for_each(|file| fs::remove_file(file).unwrap());
        });
    }
}

/// What a package manager does: the new file under the old name, in one step.
#[test]
fn a_python_that_was_upgraded_while_it_runs_is_read_as_what_runs() {
    require!(E2e);
    let [older, newer] = &python::required().unwrap()[..] else { panic!("two versions") };
    for (python, other) in [(newer, older), (older, newer)] {
        shares_when(python, "upgraded", |private| {
            let scratch = folder();
            let other = Private::copy(other, scratch.path());
            for file in private.files() {
                // The other version's library, or its launcher, which is the whole of a static one.
                let from = other.library.as_ref().unwrap_or(&other.launcher);
                let arriving = file.with_extension("new");
                super::copy(from, &arriving);
                fs::rename(&arriving, file).unwrap();
            }
        });
    }
}

/// The program and its interpreter lie on a file system that the agent cannot see, and its process ids
/// are not ours.
#[test]
fn a_python_in_namespaces_of_its_own_has_the_same_stacks() {
    require!(E2e);
    for python in python::required().unwrap() {
        let folder = folder();
        let (hidden, visible) = (folder.path().join("hidden"), folder.path().join("visible"));
        fs::create_dir(&hidden).unwrap();
        fs::create_dir(&visible).unwrap();
        let private = Private::copy(&python, &visible);
        let name = private.launcher.file_name().unwrap();
        let script = "set -e; mount -t tmpfs none \"$HIDDEN\"; mount -t proc proc /proc; \
                      cp \"$VISIBLE\"/* \"$PROGRAMS\"/*.py \"$HIDDEN\"; \
                      export LD_LIBRARY_PATH=\"$HIDDEN\"; \
                      exec \"$HIDDEN/$NAME\" -B \"$HIDDEN/shares.py\" --cpu-seconds \"$SECONDS_OF_CPU\"";
        let mut shell = command("unshare");
        shell
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "sh", "-c", script])
            .env("HIDDEN", &hidden)
            .env("VISIBLE", &visible)
            .env("NAME", name)
            .env("PROGRAMS", artefacts::program("host"))
            .env("SECONDS_OF_CPU", CPU_SECONDS)
            .env("PYTHONHOME", &private.home);
        let mut program = Gated::start(&mut shell, folder.path(), "program").unwrap();
        assert!(!hidden.join(name).exists(), "the program's files must be out of our sight");
        let observed = observe(&mut program, folder);
        assert_ended(program);
        let what = format!("namespaces: {}", python.describe());
        assert_shares(&observed.text("cpu.folded"), &observed.truth, SAMPLES, &what);
    }
}
