//! The standard library's sources for the active rustc, where `cargo -Z build-std` looks for them.
//! rustup has them; where it cannot get them, Debian's package of the same version does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::setup::{Apt, say};
use crate::workspace::Workspace;

const ASK_RUSTUP: Duration = Duration::from_mins(2);

/// Suites that have had current compilers, the likeliest first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

/// Puts the sources in place unless they are there.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let place = place()?;
    if is_complete(&place) {
        say("there", "rust-src");
        return Ok(());
    }
    say("install", "rust-src (rustup component add rust-src)");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    let by_rustup = child::run(&mut rustup, "rustup component add rust-src", ASK_RUSTUP);
    if is_complete(&place) {
        return Ok(());
    }
    let Err(first) = by_rustup else {
        bail!("rustup added rust-src, but {} is not there", place.display())
    };
    say("install", &format!("rust-src from Debian's package instead ({first:#})"));
    from_debian(workspace, &place).with_context(|| {
        format!("rust-src is in neither place: rustup said `{first:#}`; try `rustup component add rust-src`")
    })
}

fn from_debian(workspace: &Workspace, place: &Path) -> Result<()> {
    let release = release()?;
    let folder = workspace.target.join("setup/rust-src");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let apt = Apt::open(&folder, &SUITES.map(str::to_owned))?;
    let wanted = format!("{release}+");
    let version = apt
        .versions("rust-src")?
        .into_iter()
        .find(|version| version.starts_with(&wanted))
        .with_context(|| format!("Debian has no rust-src {release}"))?;
    let tree = apt.unpack("rust-src", &version)?.join(format!("usr/src/rustc-{release}"));
    let parent = place.parent().context("the sources' place has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let mut copy = Command::new("cp");
    copy.arg("-aT").arg(&tree).arg(place);
    child::run(&mut copy, &format!("copy the sources to {}", place.display()), ASK_RUSTUP)?;
    fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    if is_complete(place) { Ok(()) } else { bail!("Debian's package has no library/Cargo.toml") }
}

/// Where `-Z build-std` looks.
fn place() -> Result<PathBuf> {
    let output =
        child::output(Command::new("rustc").args(["--print", "sysroot"]), "rustc", ASK_RUSTUP)?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if sysroot.is_empty() {
        bail!("`rustc --print sysroot` printed nothing: is a Rust toolchain installed?");
    }
    Ok(Path::new(&sysroot).join("lib/rustlib/src/rust"))
}

fn is_complete(place: &Path) -> bool {
    place.join("library/Cargo.toml").is_file()
}

/// Such as `1.95.0`.
fn release() -> Result<String> {
    let output = child::output(Command::new("rustc").arg("-vV"), "rustc", ASK_RUSTUP)?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no release")
}
