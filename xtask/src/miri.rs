//! `cargo xtask miri`: what several threads or another process touch at once, carried out by an interpreter that finds data races,
//! wrong orderings, and memory used against its rules. It knows no CUPTI, no mappings of files and no loader, so it sees the ring
//! itself and the parts of the shim that need none of these. Needs a nightly toolchain, which rustup gets where it lacks.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::workspace::{Workspace, clean_environment};

/// Any that rustup has Miri for.
const TOOLCHAIN: &str = "nightly";

/// A package, and its tests that are left out.
struct Part {
    package: &'static str,
    /// With the reason.
    without: &'static [(&'static str, &'static str)],
}

const PARTS: [Part; 2] = [
    Part { package: "warplens-wire", without: &[] },
    Part {
        package: "warplens-cuda-shim",
        without: &[
            ("buffers::", "a mapping that Miri does not know"),
            ("gate::", "a page that a fork wipes"),
            ("loader::", "dlopen"),
            ("sampling::", "safe code that launches a million times"),
            ("heap::countdown", "safe code that allocates a million times"),
            ("a_full_window_refuses", "sixty thousand addresses"),
            ("a_full_area_answers_zero", "five megabytes of names"),
        ],
    },
];

/// Schedules that are tried: which thread goes when, and how old a value a relaxed load may see, is thrown.
const SCHEDULES: &str = "0..2";

const LIMIT: Duration = Duration::from_mins(20);

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    set_up()?;
    for Part { package, without } in PARTS {
        let mut command = Command::new("cargo");
        clean_environment(&mut command);
        command
            .arg(format!("+{TOOLCHAIN}"))
            .args(["miri", "test", "--lib", "--locked", "-p", package, "--"])
            .args(without.iter().flat_map(|(filter, _reason)| ["--skip", filter]))
            .env("CARGO_TARGET_DIR", workspace.target.join("miri"))
            // Tests read files and clocks, name pointers come from another library as numbers, and a shim lives as
            // long as its process.
            .env(
                "MIRIFLAGS",
                format!(
                    "-Zmiri-disable-isolation -Zmiri-permissive-provenance -Zmiri-ignore-leaks \
                     -Zmiri-many-seeds={SCHEDULES}"
                ),
            )
            .current_dir(&workspace.root);
        child::run(&mut command, &format!("Miri over the tests of {package}"), LIMIT)?;
    }
    println!("Miri found nothing, in schedules {SCHEDULES} of each test");
    Ok(())
}

/// The toolchain and its parts, got by rustup where they are missing.
fn set_up() -> Result<()> {
    let is_there = || {
        child::succeeds(Command::new("cargo").args([&format!("+{TOOLCHAIN}"), "miri", "--version"]))
    };
    if is_there() {
        return Ok(());
    }
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal"]).args([
        "--component",
        "miri",
        "--component",
        "rust-src",
    ]);
    child::run(&mut command, "rustup, for Miri", LIMIT)
        .context("Miri comes with a nightly Rust")?;
    if !is_there() {
        bail!("rustup installed no Miri: not every nightly has one; try again with the next");
    }
    Ok(())
}
