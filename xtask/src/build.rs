//! What gets built beyond `cargo build`: kernel programs, shim, simulated CUDA, and the release
//! `warplens` that carries the kernel programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::artefacts::{self, Artefacts};
use crate::child;
use crate::workspace::{Workspace, clean_environment};

/// A cold release build of everything takes about ten minutes on two cores.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_mins(30);

/// How the simulated libraries are compiled; each variant has a folder of its own.
const VARIANTS: [Variant; 2] = [
    Variant { folder: "default", rustflags: None },
    Variant { folder: "no-frame-pointers", rustflags: Some("-Cforce-frame-pointers=no") },
];

struct Variant {
    folder: &'static str,
    /// `None`: those of `.cargo/config.toml`.
    rustflags: Option<&'static str>,
}

/// Builds `ebpf/`; the path of the object.
pub(crate) fn ebpf(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.root.join("ebpf");
    let mut command = ebpf_cargo(workspace, "build");
    command.args(["--release", "--locked"]);
    child::run(&mut command, "the build of the kernel programs (ebpf/)", BUILD_LIMIT)
        .context("`cargo xtask setup` installs what this build needs")?;
    let object = folder.join("target/bpfel-unknown-none/release/warplens-ebpf");
    if !object.is_file() {
        bail!("the build of ebpf/ left no object at {}", object.display());
    }
    Ok(object)
}

/// Cargo in `ebpf/`, with everything that target needs.
pub(crate) fn ebpf_cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let folder = workspace.root.join("ebpf");
    let mut command = Command::new("cargo");
    clean_environment(&mut command);
    command
        .args([subcommand, "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        // The agent's build script looks here, wherever the workspace's own target folder is.
        .env("CARGO_TARGET_DIR", folder.join("target"))
        // Stable rustc refuses `-Z build-std` otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        // Replaces the workspace's own flags: frame pointers mean nothing on this target.
        .env("RUSTFLAGS", "-Clink-arg=--btf -Cdebuginfo=2")
        .current_dir(folder);
    command
}

/// Builds the shim (release); the path of the library.
pub(crate) fn shim(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.cargo("build");
    command.args(["--release", "--locked", "-p", "warplens-cuda-shim"]);
    child::run(&mut command, "the build of the shim", BUILD_LIMIT)?;
    Ok(artefacts::shim(workspace))
}

/// Builds the simulated libraries; the folder that holds a folder per variant, each with the real
/// file names.
pub(crate) fn simulator(workspace: &Workspace) -> Result<PathBuf> {
    let crates = simulator_crates(workspace)?;
    for variant in &VARIANTS {
        build_variant(workspace, variant, &crates)?;
    }
    Ok(artefacts::simulator(workspace))
}

/// A crate that becomes one simulated library.
struct Library {
    package: String,
    /// What cargo names it.
    file: String,
}

/// Every crate in `tests/sim-cuda` that makes a C library.
fn simulator_crates(workspace: &Workspace) -> Result<Vec<Library>> {
    let metadata = workspace.metadata(&["--no-deps"])?;
    let place = workspace.root.join("tests/sim-cuda");
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        if !manifest.starts_with(&place) {
            continue;
        }
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| {
            target["crate_types"]
                .as_array()
                .is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
        }) {
            let name = target["name"].as_str().unwrap_or_default().replace('-', "_");
            found.push(Library {
                package: package["name"].as_str().unwrap_or_default().to_owned(),
                file: format!("lib{name}.so"),
            });
        }
    }
    if found.is_empty() {
        bail!("no crate in {} makes a C library", place.display());
    }
    Ok(found)
}

fn build_variant(workspace: &Workspace, variant: &Variant, crates: &[Library]) -> Result<()> {
    let mut command = workspace.cargo("build");
    command.args(["--release", "--locked"]);
    for library in crates {
        command.args(["-p", &library.package]);
    }
    let target = match variant.rustflags {
        None => workspace.target.clone(),
        Some(flags) => {
            // A folder of its own, or the two variants would rebuild each other's dependencies.
            let target = workspace.target.join("sim").join(format!("build-{}", variant.folder));
            command.env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", &target);
            target
        }
    };
    child::run(
        &mut command,
        &format!("the build of the simulated CUDA ({})", variant.folder),
        BUILD_LIMIT,
    )?;
    let place = artefacts::simulator(workspace).join(variant.folder);
    fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    for library in crates {
        let built = target.join("release").join(&library.file);
        // A library without a soname stands in for nothing: a test loads it by its path.
        if let Some(name) = soname(&built)? {
            copy_over(&built, &place.join(name))?;
        }
    }
    Ok(())
}

/// The name the library asks to be loaded by: the real library's.
fn soname(library: &Path) -> Result<Option<String>> {
    let mut command = Command::new("readelf");
    command.arg("-d").arg(library).env("LC_ALL", "C");
    let output = child::output(&mut command, "readelf", Duration::from_secs(30))?;
    if !output.status.success() {
        bail!("readelf cannot read {}", library.display());
    }
    Ok(parse_soname(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_soname(dynamic: &str) -> Option<String> {
    let line = dynamic.lines().find(|line| line.contains("(SONAME)"))?;
    Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// By rename, so that a process that has the old file mapped keeps it.
fn copy_over(from: &Path, to: &Path) -> Result<()> {
    let partial = to.with_extension("partial");
    fs::copy(from, &partial)
        .with_context(|| format!("copy {} to {}", from.display(), partial.display()))?;
    fs::rename(&partial, to).with_context(|| format!("put {} in place", to.display()))
}

/// Builds what a user runs, and says where it is.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    ebpf(workspace)?;
    shim(workspace)?;
    agent(workspace)?;
    println!("warplens: {}", workspace.short(&artefacts::agent(workspace)));
    println!("shim:     {}", workspace.short(&artefacts::shim(workspace)));
    Ok(())
}

fn agent(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo("build");
    command.args(["--release", "--locked", "-p", "warplens"]);
    child::run(&mut command, "the build of warplens", BUILD_LIMIT)
}

/// Everything the demo and the tests start, in few cargo calls.
pub(crate) fn everything(workspace: &Workspace) -> Result<Artefacts> {
    ebpf(workspace)?;
    let mut command = workspace.cargo("build");
    command.args(["--release", "--locked", "-p", "warplens", "-p", "warplens-cuda-shim"]);
    command.args(["-p", artefacts::TESTS_PACKAGE, "-p", artefacts::WORKER_PACKAGE]);
    command.args(["-p", artefacts::LOOP_PACKAGE]);
    child::run(&mut command, "the build of warplens, the shim and the test programs", BUILD_LIMIT)?;
    simulator(workspace)?;
    Artefacts::locate(workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soname_is_what_stands_in_brackets() {
        let text = " 0x0000000000000001 (NEEDED)  Shared library: [libc.so.6]\n \
                    0x000000000000000e (SONAME)  Library soname: [libcuda.so.1]\n";
        assert_eq!(parse_soname(text).as_deref(), Some("libcuda.so.1"));
        assert_eq!(parse_soname("nothing"), None);
    }
}
