//! `kubernetes-validate`, which carries Kubernetes' published JSON schemas: the manifests are checked against them.

use std::path::PathBuf;

use anyhow::Result;

use crate::venv;
use crate::workspace::Workspace;

/// Under Apache-2.0. Its first two numbers are those of the newest Kubernetes it knows.
const PACKAGE: &str = "kubernetes-validate==1.37.0";

/// The variable that names its interpreter to the tests.
pub(crate) const PYTHON: &str = "WARPLENS_KUBERNETES_PYTHON";

/// An interpreter that has it installed.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    Ok(venv::with(workspace, "kubernetes", PACKAGE)?.join("python"))
}
