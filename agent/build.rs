//! Embeds the kernel programs where they have been built, and an empty stand-in where they have
//! not: a plain `cargo check` needs no BPF toolchain, and a binary built so says that it cannot
//! load them.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Overrides the path of the object, for packagers who build it elsewhere.
const OBJECT_VARIABLE: &str = "WARPLENS_BPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let workspace = manifest.parent().map(|root| root.join("ebpf")).unwrap_or_default();
    let object = match env::var_os(OBJECT_VARIABLE) {
        // Named explicitly: a wrong path must fail the build, not disable eBPF.
        Some(path) => Some(PathBuf::from(path)),
        None => Some(workspace.join("target/bpfel-unknown-none/release/warplens-ebpf"))
            .filter(|path| path.is_file()),
    };
    // Cargo reruns for ever when it is told to watch a file that does not exist, so without an
    // object the folder it will appear in is watched.
    watch(object.as_deref().unwrap_or(&workspace));
    let bytes = match &object {
        Some(path) => fs::read(path).map_err(|error| {
            io::Error::new(error.kind(), format!("read {}: {error}", path.display()))
        })?,
        None => Vec::new(),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // Replaced, not overwritten: a copy of a build folder made of links shares the file with its
    // original, whose programs may be others.
    let (written, object) = (out.join("programs.o.new"), out.join("programs.o"));
    fs::write(&written, bytes)?;
    fs::rename(&written, &object)
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
