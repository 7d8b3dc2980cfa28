//! `HolisticTraceAnalysis`, the peer that `analyze` is compared with.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::venv;
use crate::workspace::Workspace;

/// What docs/traces.md compares with.
const PACKAGE: &str = "HolisticTraceAnalysis==0.5.0";

/// The variable that names its interpreter to tests and benches.
pub(crate) const PYTHON: &str = "WARPLENS_HTA_PYTHON";

/// An interpreter that has it installed.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    Ok(venv::with(workspace, "hta", PACKAGE)?.join("python"))
}

/// The same, where the traces that are compared are there too.
pub(crate) fn with_traces(workspace: &Workspace) -> Result<PathBuf> {
    let traces = workspace.root.join("../shared/corpus/traces");
    if !traces.is_dir() {
        bail!("the traces are not there: {}", traces.display());
    }
    python(workspace)
}
