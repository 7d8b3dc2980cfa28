//! The script that sets up, starts, loads and stops a real vLLM server on CPU. It is no part of the
//! repository, and what it sets up is several gigabytes: where it is, it is used.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The variable that names it.
pub(crate) const SCRIPT: &str = "WARPLENS_REAL_VLLM";

/// The script, where what it sets up is there too.
pub(crate) fn script(workspace: &Workspace) -> Result<PathBuf> {
    let script = match env::var_os(SCRIPT) {
        Some(script) => PathBuf::from(script),
        None => workspace.root.join("../shared/real-vllm/real-vllm"),
    };
    if !script.is_file() {
        bail!("no script of a real vLLM server at {}: {SCRIPT} names another", script.display());
    }
    let home = match env::var_os("REAL_VLLM_HOME") {
        Some(home) => PathBuf::from(home),
        None => {
            Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cache/real-vllm")
        }
    };
    if !home.join("venv/bin/vllm").exists() {
        bail!("vLLM is not set up: run `{} setup` (about 3 GB)", script.display());
    }
    script.canonicalize().with_context(|| format!("find {}", script.display()))
}
