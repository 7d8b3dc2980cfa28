//! Files and folders on the command line as a list of files.

use std::io;
use std::path::{Path, PathBuf};

use crate::{foreign, recording};

#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    #[error("open {path}: check the path and its permissions")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path}: no {}, *.warplens, *.sqlite or PyTorch trace (*.json, *.json.gz) in this folder or one below: name a file",
        recording::FILE_NAME
    )]
    Nothing { path: PathBuf },
}

/// Every file to read, in the order given, those of a folder by name.
pub(in crate::commands) fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, InputsError> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path)
            .map_err(|source| InputsError::Open { path: path.clone(), source })?;
        if !metadata.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = inputs_in(path)?;
        if found.is_empty() {
            for below in entries(path)?.into_iter().filter(|entry| entry.is_dir()) {
                found.extend(inputs_in(&below)?);
            }
        }
        if found.is_empty() {
            return Err(InputsError::Nothing { path: path.clone() });
        }
        files.extend(found);
    }
    Ok(files)
}

fn inputs_in(folder: &Path) -> Result<Vec<PathBuf>, InputsError> {
    Ok(entries(folder)?.into_iter().filter(|entry| is_input(entry)).collect())
}

/// Whether a file found in a folder is one to read: by its name, and a JSON file, which may be
/// anything, by its content, too. Our own reports hold no trace events.
fn is_input(entry: &Path) -> bool {
    let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.starts_with('.') {
        return false;
    }
    let named = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    (named(&[".warplens", ".sqlite"]) && entry.is_file())
        || (named(&[".json", ".json.gz"]) && foreign::holds_trace_events(entry))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, InputsError> {
    let open = |source| InputsError::Open { path: folder.to_owned(), source };
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
        })
        .map_err(open)?;
    entries.sort();
    Ok(entries)
}
