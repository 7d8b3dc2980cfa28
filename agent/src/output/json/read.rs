//! A `report.json` back from disk, whoever wrote it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::document::{Document, SCHEMA};

/// Largest document taken, bytes. Reports of full nodes are below 20 MB; this only bounds memory.
const BYTES_MAX: u64 = 1 << 30;

/// Where the schema's name must stand: it is the first field.
const HEAD_BYTES: u64 = 256;

#[derive(Debug, thiserror::Error)]
pub enum ReadReportError {
    #[error("open {path}: check the path and its permissions")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {length} bytes, at most {BYTES_MAX} are read: analyze its recording again")]
    TooLong { path: PathBuf, length: u64 },
    #[error("{path}: not a whole {SCHEMA} document: write it again with `warplens analyze --json`")]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path}: schema `{found}`, this warplens reads {SCHEMA}: use the one that wrote it")]
    Schema { path: PathBuf, found: String },
}

/// Whether the file at `path` begins as a report of any version does.
pub fn looks_like_report(path: &Path) -> Result<bool, ReadReportError> {
    let open = |source| ReadReportError::Open { path: path.to_owned(), source };
    // The kind is checked before opening: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(open)?.is_file() {
        return Ok(false);
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head)).map_err(open)?;
    let head = head.trim_ascii_start();
    let named = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    Ok(head.starts_with(b"{") && named(b"\"schema\"") && named(b"\"warplens.report/"))
}

/// The whole document.
pub fn read(path: &Path) -> Result<Document, ReadReportError> {
    let open = |source| ReadReportError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    let length = file.metadata().map_err(open)?.len();
    if length > BYTES_MAX {
        return Err(ReadReportError::TooLong { path: path.to_owned(), length });
    }
    let document: Document = serde_json::from_reader(BufReader::new(file).take(BYTES_MAX))
        .map_err(|source| ReadReportError::Json { path: path.to_owned(), source })?;
    if document.schema != SCHEMA {
        let path = path.to_owned();
        return Err(ReadReportError::Schema { path, found: document.schema });
    }
    Ok(document)
}
