//! Packages from `PyPI` that tests and benches compare with: each in an environment of its own under
//! the target folder, made once. Nothing of them is stored in the repository.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::child;
use crate::workspace::Workspace;

/// A package that brings pandas and Jupyter has some hundred dependencies.
const LIMIT: Duration = Duration::from_mins(10);

/// `bin` of the environment `target/NAME` that has `package` (`NAME==VERSION`) installed.
pub(crate) fn with(workspace: &Workspace, name: &str, package: &str) -> Result<PathBuf> {
    let folder = workspace.target.join(name);
    let programs = folder.join("venv/bin");
    // Written last: without it an installation broke off.
    let complete = folder.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|there| there == package) {
        return Ok(programs);
    }
    println!("installing {package} into {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(folder.join("venv"));
    child::run(&mut environment, "python3 -m venv (needs python3-venv)", LIMIT)?;
    let mut install = Command::new(programs.join("python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
    child::run(&mut install, &format!("pip install of {package}"), LIMIT)?;
    fs::write(&complete, package).with_context(|| format!("write {}", complete.display()))?;
    Ok(programs)
}
