//! Traces other tools made, read into the same inputs as our own recordings.

pub mod chrome;
pub mod nsys;
pub mod order;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::recording;

/// What a file is, by its first bytes; names and extensions are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Recording,
    /// A `SQLite` database, which is expected to be an Nsight Systems export.
    Sqlite,
    /// JSON, which is expected to hold Chrome trace events; compressed or not.
    Chrome {
        gzip: bool,
    },
    /// Nsight Systems' own report, which only `nsys` reads.
    NsysReport,
}

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("open {path}: check the path and its permissions")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: not a regular file: give a file or a folder that holds one")]
    NotAFile { path: PathBuf },
    #[error("{path}: empty file (0 bytes): record or export it again")]
    Empty { path: PathBuf },
    #[error("{path}: byte 0: {what}: {SUPPORTED}")]
    Unsupported { path: PathBuf, what: &'static str },
}

const SUPPORTED: &str = "`warplens analyze` reads recording.warplens, PyTorch traces (.json, .json.gz) and Nsight Systems .sqlite or .nsys-rep";

/// Longest head any format here is told by: white space may come before JSON.
const HEAD_BYTES: u64 = 4096;

/// Tells what `path` is.
pub fn detect(path: &Path) -> Result<Format, FormatError> {
    let open = |source| FormatError::Open { path: path.to_owned(), source };
    // The kind is checked before opening: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(open)?.is_file() {
        return Err(FormatError::NotAFile { path: path.to_owned() });
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head)).map_err(open)?;
    if head.is_empty() {
        return Err(FormatError::Empty { path: path.to_owned() });
    }
    // A truncated magic is still ours to explain.
    if recording::looks_like_recording(&head) || recording::MAGIC.starts_with(&head) {
        return Ok(Format::Recording);
    }
    if head.starts_with(nsys::SQLITE_MAGIC) {
        return Ok(Format::Sqlite);
    }
    if let Some(format) = json(&head) {
        return Ok(format);
    }
    // The one format that has no head to know it by.
    if path.extension().is_some_and(|extension| extension == "nsys-rep") {
        return Ok(Format::NsysReport);
    }
    Err(FormatError::Unsupported { path: path.to_owned(), what: describe(path, &head) })
}

/// Text in which a trace must show that it is one, of a file that nobody named. What stands before
/// the events, such as the properties of eight GPUs, takes a few kB.
const LOOK_BYTES: u64 = 1 << 20;

/// Whether `path` is a JSON file that holds trace events. One that cannot be read holds none.
pub fn holds_trace_events(path: &Path) -> bool {
    let Ok(Format::Chrome { gzip }) = detect(path) else {
        return false;
    };
    let Ok(file) = File::open(path) else {
        return false;
    };
    let file = BufReader::new(file);
    let text: Box<dyn Read> =
        if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut look = Vec::new();
    // What came before an error counts.
    drop(text.take(LOOK_BYTES).read_to_end(&mut look));
    memchr::memmem::find(&look, b"\"traceEvents\"").is_some()
        || (look.trim_ascii_start().starts_with(b"[")
            && memchr::memmem::find(&look, b"\"ph\"").is_some())
}

/// JSON by its first byte, compressed or not.
fn json(head: &[u8]) -> Option<Format> {
    let gzip = head.starts_with(chrome::GZIP_MAGIC);
    let mut inflated = Vec::new();
    let text = if gzip {
        // The head ends within the compressed data: what came out before that error is enough.
        drop(MultiGzDecoder::new(head).take(HEAD_BYTES).read_to_end(&mut inflated));
        inflated.as_slice()
    } else {
        head
    };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    matches!(text.first(), Some(b'{' | b'[')).then_some(Format::Chrome { gzip })
}

fn describe(path: &Path, head: &[u8]) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match (head, extension) {
        (_, Some("sqlite")) => "named .sqlite but not a SQLite database",
        (_, Some("warplens")) => "named .warplens but not a warplens recording",
        ([0x1f, 0x8b, ..], _) => "gzip data that holds no JSON",
        _ => "unknown format",
    }
}
