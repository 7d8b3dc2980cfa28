//! What commands keep in the repository from one run to the next: JSON files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is in the file; the default where there is none.
pub(crate) fn read<T: Default + DeserializeOwned>(path: &Path) -> Result<T> {
    if !path.exists() {
        return Ok(T::default());
    }
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no ledger", path.display()))
}

/// The file, whole or not at all: an interrupt takes nothing away that is done.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("write the ledger")?;
    text.push('\n');
    let partial = path.with_extension("partial");
    fs::write(&partial, text).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("write {}", path.display()))
}
