//! `py-spy`, the peer that Python stacks are compared with.

use std::path::PathBuf;

use anyhow::Result;

use crate::venv;
use crate::workspace::Workspace;

/// What docs/overhead.md compares with.
const PACKAGE: &str = "py-spy==0.4.3";

/// The variable that names the program to tests and benches.
pub(crate) const PROGRAM: &str = "WARPLENS_PY_SPY";

/// The folder of its environment below the target folder.
const FOLDER: &str = "py-spy";

/// Makes sure it is installed; the program.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    Ok(venv::with(workspace, FOLDER, PACKAGE)?.join("py-spy"))
}

/// Where it is once installed.
pub(crate) fn program(workspace: &Workspace) -> PathBuf {
    workspace.target.join(FOLDER).join("venv/bin/py-spy")
}
