//! The bundle: what asks the questions, built here, run anywhere.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::artefacts::{self, TESTS_PACKAGE, WORKER_PACKAGE};
use crate::build::{self, BUILD_LIMIT};
use crate::child;
use crate::workspace::Workspace;

/// What asks.
pub(super) const RUNNER: &str = "gpu-list";

/// What the bundle may take: machines with GPUs are often reached through transfers of this size.
const MOST_BYTES: u64 = 64 << 20;

/// Names the files, their sizes and the commit.
const LIST: &str = "LIST";

const SCRIPT: &str = "#!/bin/sh
# Asks every question that it can, as root if it may; answers.json and a table come of it. --help says more.
exec \"$(dirname \"$0\")/gpu-list\" \"$@\"
";

/// Builds everything and lays the bundle out in `out`.
pub(super) fn pack(workspace: &Workspace, out: &Path) -> Result<()> {
    build::release(workspace)?;
    let mut command = workspace.cargo("build");
    command.args(["--release", "--locked", "-p", WORKER_PACKAGE, "-p", TESTS_PACKAGE]);
    command.args(["--bin", WORKER_PACKAGE, "--bin", RUNNER]);
    child::run(&mut command, "the build of the worker and the list", BUILD_LIMIT)?;

    let folder = workspace.root.join(out);
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).with_context(|| format!("create {}", programs.display()))?;
    let mut names = Vec::new();
    for built in [
        artefacts::agent(workspace),
        artefacts::shim(workspace),
        artefacts::program(workspace, WORKER_PACKAGE),
        artefacts::program(workspace, RUNNER),
    ] {
        names.push(without_debug_information(&built, &folder)?);
    }
    for program in python_programs(workspace)? {
        let name = PathBuf::from("programs").join(program.file_name().unwrap_or_default());
        copy(&program, &folder.join(&name))?;
        names.push(name);
    }
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", script.display()))?;
    names.push("run.sh".into());

    let files = names
        .into_iter()
        .map(|name| {
            let path = folder.join(&name);
            let bytes =
                fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len();
            Ok((name, bytes))
        })
        .collect::<Result<Vec<_>>>()?;
    let commit = workspace.commit(&[Path::new("docs"), Path::new("tests/gpu/answers.json")])?;
    let list = list(&commit, &files);
    fs::write(folder.join(LIST), &list).with_context(|| format!("write {LIST}"))?;
    print!("{list}");
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    ensure!(total <= MOST_BYTES, "the bundle takes {total} bytes, more than {MOST_BYTES}");
    println!(
        "{}: take the folder to a machine with a GPU and run `./run.sh` there. Next: `cargo xtask gpu report ANSWERS`",
        workspace.short(&folder)
    );
    Ok(())
}

/// Line tables take most of a program, and no question needs them. Names of functions stay: launch stacks show them.
fn without_debug_information(built: &Path, folder: &Path) -> Result<PathBuf> {
    let name = PathBuf::from(built.file_name().unwrap_or_default());
    let mut command = Command::new("objcopy");
    command.arg("--strip-debug").arg(built).arg(folder.join(&name));
    child::run(&mut command, &format!("objcopy of {}", name.display()), Duration::from_mins(2))?;
    Ok(name)
}

fn python_programs(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.root.join("tests/programs/gpu");
    let mut programs = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            programs.push(path);
        }
    }
    programs.sort();
    ensure!(!programs.is_empty(), "no program in {}", folder.display());
    Ok(programs)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

fn list(commit: &str, files: &[(PathBuf, u64)]) -> String {
    let mut text = format!("commit {commit}\n");
    for (name, bytes) in files {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{bytes:>12} {}", name.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_begins_with_the_commit() {
        let list = list("1234567", &[("warplens".into(), 12), ("programs/a.py".into(), 3)]);
        assert_eq!(list, "commit 1234567\n          12 warplens\n           3 programs/a.py\n");
    }
}
