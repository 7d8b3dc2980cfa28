//! What `gaps` and `diff` are given, as reports: recordings and traces through the pipeline, and
//! `report.json` files as they are.

use std::path::{Path, PathBuf};

use super::{CommandError, analyze};
use crate::output::json::{self, Document};
use crate::output::{self};
use crate::pipeline::merge;

/// One document for all recordings and traces together, and one for each `report.json`.
pub(super) fn documents(paths: &[PathBuf]) -> Result<Vec<Document>, CommandError> {
    let mut documents = Vec::new();
    let mut captures = Vec::new();
    for path in paths {
        if let Some(report) = report_of(path)? {
            documents.push(json::read(&report)?);
            continue;
        }
        for file in analyze::expand(std::slice::from_ref(path))? {
            captures.push(analyze::read(&file, None)?);
        }
    }
    if !captures.is_empty() {
        documents.insert(0, Document::of(&merge(captures)));
    }
    Ok(documents)
}

/// The report to read in place of a recording: `path` itself, or the one in a folder that holds
/// nothing better.
pub(super) fn report_of(path: &Path) -> Result<Option<PathBuf>, CommandError> {
    if path.is_dir() {
        let inside = path.join(output::REPORT_JSON);
        let alone = analyze::expand(&[path.to_owned()]).is_err() && inside.is_file();
        return Ok(alone.then_some(inside));
    }
    Ok(json::looks_like_report(path)?.then(|| path.to_owned()))
}
