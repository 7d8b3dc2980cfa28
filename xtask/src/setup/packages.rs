//! Debian packages: what the build calls that is no part of Rust. Looked for by the program or
//! file it brings, so that a machine that has them from elsewhere needs nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::setup::say;

/// How a need is recognised as met.
enum Seen {
    Program(&'static str),
    File(&'static str),
}

struct Need {
    package: &'static str,
    seen: Seen,
    why: &'static str,
}

const NEEDS: [Need; 6] = [
    Need {
        package: "gcc",
        seen: Seen::Program("cc"),
        why: "links every Rust program, builds SQLite and zstd",
    },
    Need {
        package: "libc6-dev",
        seen: Seen::File("/usr/include/stdio.h"),
        why: "headers for the C parts",
    },
    Need { package: "python3", seen: Seen::Program("python3"), why: "runs the simulated vLLM" },
    Need { package: "git", seen: Seen::Program("git"), why: "lists the files `tidy` checks" },
    Need {
        package: "binutils",
        seen: Seen::Program("readelf"),
        why: "tests look into shared libraries",
    },
    Need {
        package: "ca-certificates",
        seen: Seen::File("/etc/ssl/certs/ca-certificates.crt"),
        why: "cargo and pip download over TLS",
    },
];

const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// Installs the packages whose program or file is missing, in one apt call.
pub(crate) fn install() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_met(&need.seen)).collect();
    if missing.is_empty() {
        say("there", "a C compiler, python3, git, binutils, certificates");
        return Ok(());
    }
    install_missing(&missing)
}

/// Installs one package unless its program is there: what a single task needs and most do not.
pub(crate) fn ensure(
    package: &'static str,
    program: &'static str,
    why: &'static str,
) -> Result<()> {
    let need = Need { package, seen: Seen::Program(program), why };
    if is_met(&need.seen) { Ok(()) } else { install_missing(&[&need]) }
}

fn install_missing(missing: &[&Need]) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    for need in missing {
        say("install", &format!("{} ({})", need.package, need.why));
    }
    if !has_program("apt-get") {
        bail!(
            "this machine has no apt-get: install by hand what your system calls {}, then run this again",
            names.join(", ")
        );
    }
    if !is_root() {
        bail!(
            "installing packages needs root: run `sudo apt-get install {}`, then this again",
            names.join(" ")
        );
    }
    apt_get(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&names);
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    child::run(&mut command, &format!("apt-get {}", arguments[0]), INSTALL_LIMIT)
        .context("is the machine online, and are its package sources right?")
}

fn is_met(seen: &Seen) -> bool {
    match seen {
        Seen::Program(name) => has_program(name),
        Seen::File(path) => Path::new(path).exists(),
    }
}

/// Whether `PATH` leads to a program of this name.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Effective user 0.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
