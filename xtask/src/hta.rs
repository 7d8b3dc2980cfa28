//! `HolisticTraceAnalysis`, the peer that `analyze` is compared with: an environment of its own
//! under the target folder, made once. Nothing of it is stored in the repository.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::workspace::Workspace;

/// What docs/traces.md compares with.
const PACKAGE: &str = "HolisticTraceAnalysis==0.5.0";

/// It brings pandas and Jupyter: some hundred packages.
const LIMIT: Duration = Duration::from_mins(10);

/// The variable that names its interpreter to tests and benches.
pub(crate) const PYTHON: &str = "WARPLENS_HTA_PYTHON";

/// An interpreter that has it installed.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("hta");
    let python = folder.join("venv/bin/python");
    // Written last: without it an installation broke off.
    let complete = folder.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|package| package == PACKAGE) {
        return Ok(python);
    }
    println!("installing {PACKAGE} into {}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(folder.join("venv"));
    child::run(&mut environment, "python3 -m venv (needs python3-venv)", LIMIT)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
    child::run(&mut install, "pip install of HolisticTraceAnalysis", LIMIT)?;
    fs::write(&complete, PACKAGE).with_context(|| format!("write {}", complete.display()))?;
    Ok(python)
}

/// The same, where the traces that are compared are there too.
pub(crate) fn with_traces(workspace: &Workspace) -> Result<PathBuf> {
    let traces = workspace.root.join("../shared/corpus/traces");
    if !traces.is_dir() {
        bail!("the traces are not there: {}", traces.display());
    }
    python(workspace)
}
