//! Interpreters of versions that this machine does not have, unpacked beside each other and never
//! installed: tests read their memory. Each runs with the C library it was built for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::child;
use crate::setup::Apt;
use crate::workspace::Workspace;

/// The suite that has the latest of them.
const SUITE: &str = "sid";

/// 3.15 is not read: what is said about it is tested.
const VERSIONS: [&str; 3] = ["3.13", "3.14", "3.15"];

/// What an interpreter needs to import `ctypes` and `asyncio`.
const LIBRARIES: [&str; 5] = ["libc6", "libexpat1", "zlib1g", "libffi8", "libgcc-s1"];

const LIMIT: Duration = Duration::from_mins(2);

/// Unpacks what is not there yet; the folder that has a folder for each.
pub(crate) fn unpack(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("pythons");
    let missing: Vec<&str> =
        VERSIONS.into_iter().filter(|version| !is_there(&folder, version)).collect();
    if missing.is_empty() {
        return Ok(folder);
    }
    // Beside the interpreters, not among them.
    let apt = Apt::open(&workspace.target.join("pythons-apt"), &[SUITE.to_owned()])?;
    let libraries: Vec<PathBuf> =
        LIBRARIES.iter().map(|package| newest(&apt, package)).collect::<Result<_>>()?;
    for version in missing {
        one(&apt, &folder, version, &libraries)
            .with_context(|| format!("unpack Python {version}"))?;
    }
    Ok(folder)
}

/// The launcher is written last: without it an unpacking broke off.
fn is_there(folder: &Path, version: &str) -> bool {
    let begin = format!("debian-{version}.");
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with(&begin)
            && entry.path().join("python").exists()
    })
}

fn one(apt: &Apt, folder: &Path, version: &str, libraries: &[PathBuf]) -> Result<()> {
    let program = format!("python{version}-minimal");
    let offered = apt.versions(&program)?;
    let full = offered.first().with_context(|| format!("no {program} in {SUITE}"))?;
    let release = full.split(['-', '~', '+']).next().unwrap_or(full);
    let home = folder.join(format!("debian-{release}"));
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let packages =
        [program, format!("libpython{version}-minimal"), format!("libpython{version}-stdlib")];
    let trees: Vec<PathBuf> =
        packages.iter().map(|package| newest(apt, package)).collect::<Result<_>>()?;
    for tree in trees.iter().chain(libraries) {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(tree.join(".")).arg(&home);
        child::run(&mut copy, "copy an unpacked package", LIMIT)?;
    }
    let launcher = home.join("python");
    fs::write(&launcher, launch(version))
        .and_then(|()| fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", launcher.display()))
}

fn newest(apt: &Apt, package: &str) -> Result<PathBuf> {
    let offered = apt.versions(package)?;
    let version = offered.first().with_context(|| format!("no {package} in {SUITE}"))?;
    apt.unpack(package, version)
}

fn launch(version: &str) -> String {
    format!(
        "#!/bin/sh\n\
         # Runs an unpacked Python with its own C library.\n\
         here=$(dirname \"$(readlink -f \"$0\")\")\n\
         libraries=$here/usr/lib/x86_64-linux-gnu\n\
         PYTHONHOME=$here/usr exec \"$libraries/ld-linux-x86-64.so.2\" --library-path \"$libraries\" \
         \"$here/usr/bin/python{version}\" \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_broke_off_is_not_there() {
        let folder = std::env::temp_dir().join(format!("warplens-pythons-{}", std::process::id()));
        let home = folder.join("debian-3.14.10");
        fs::create_dir_all(&home).unwrap();
        assert!(!is_there(&folder, "3.14"));
        fs::write(home.join("python"), launch("3.14")).unwrap();
        assert!(is_there(&folder, "3.14"));
        assert!(!is_there(&folder, "3.1"));
        assert!(!is_there(&folder, "3.13"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
