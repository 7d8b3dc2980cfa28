//! The first file system of a booted kernel: busybox, the modules to mount another, what is run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::package::Kernel;

const INIT: &str = include_str!("init.sh");

/// `busybox` is a static program; `steps` the script that is run.
pub(crate) fn build(kernel: &Kernel, busybox: &Path, steps: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "modules", "around", "proc", "sys", "dev"] {
        archive.folder(folder);
    }
    archive.program("bin/busybox", &read(busybox)?);
    for name in &kernel.modules {
        archive.file(&format!("modules/{name}.ko"), &read(&kernel.module(name))?);
    }
    archive.file("modules/order", (kernel.modules.join("\n") + "\n").as_bytes());
    archive.file("steps.sh", steps.as_bytes());
    archive.program("init", INIT.as_bytes());
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
