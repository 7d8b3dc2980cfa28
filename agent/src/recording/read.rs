//! Reads a recording back, trusting no byte of it: every length is capped before it is believed,
//! and each way a file can be wrong is told apart with its place.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use wire::{READABLE_VERSIONS, WIRE_VERSION};

use super::frame::{self, Decoded};
use super::{BODY_MAX, Counts, FORMAT_VERSION, HEADER_BYTES, MAGIC};
use crate::pipeline::Input;

/// Largest zstd window accepted, log2 bytes: 8 MiB is what any standard level writes.
const WINDOW_LOG_MAX: u32 = 23;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("open {path}: check the path and its permissions")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read {path} at byte {offset}: the file system refused")]
    Io {
        path: PathBuf,
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("{path}: not a regular file: give a recording or a folder that holds one")]
    NotAFile { path: PathBuf },
    #[error("{path}: empty file (0 bytes): record again")]
    Empty { path: PathBuf },
    #[error("{path}: byte 0: not a warplens recording{hint}")]
    Foreign { path: PathBuf, hint: &'static str },
    #[error(
        "{path}: byte {offset}: recording format {found}, this warplens reads up to {supported}: use a newer warplens"
    )]
    Newer { path: PathBuf, offset: u64, found: u32, supported: u32 },
    #[error(
        "{path}: byte 12: records of wire version {found}, this warplens decodes {supported}: use the warplens that recorded it"
    )]
    Wire { path: PathBuf, found: u32, supported: u32 },
    #[error(
        "{path}: byte {offset}: truncated: the recording stops before its end frame; copy it again or record again"
    )]
    Truncated { path: PathBuf, offset: u64 },
    #[error("{path}: near byte {offset}: corrupt: {detail}; copy it again or record again")]
    Corrupt { path: PathBuf, offset: u64, detail: String },
}

/// Whether these first bytes of a file are a recording's, of any version.
pub fn looks_like_recording(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// A recording, read frame by frame.
pub struct Reader {
    path: PathBuf,
    stream: zstd::Decoder<'static, BufReader<Counting>>,
    offset: Rc<Cell<u64>>,
    counts: Counts,
    body: Vec<u8>,
    unpacked: u64,
    ended: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens `path` and checks its head.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let open = |source| ReadError::Open { path: path.to_owned(), source };
        // The kind is checked before opening: opening a FIFO would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(open)?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile { path: path.to_owned() });
        }
        let mut file = File::open(path).map_err(open)?;
        let mut header = Vec::new();
        file.by_ref()
            .take(HEADER_BYTES)
            .read_to_end(&mut header)
            .map_err(|source| ReadError::Io { path: path.to_owned(), offset: 0, source })?;
        check_header(path, &header)?;
        let offset = Rc::new(Cell::new(HEADER_BYTES));
        let file = BufReader::new(Counting { file, offset: Rc::clone(&offset) });
        let broken = |source| ReadError::Io { path: path.to_owned(), offset: HEADER_BYTES, source };
        let mut stream = zstd::Decoder::with_buffer(file).map_err(broken)?.single_frame();
        stream.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
        Ok(Self {
            path: path.to_owned(),
            stream,
            offset,
            counts: Counts::default(),
            body: Vec::new(),
            unpacked: 0,
            ended: false,
        })
    }

    /// The next input; `None` after a whole recording, checksum and counts verified.
    pub fn next_input(&mut self) -> Result<Option<Input>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_le_bytes(length);
        if length > BODY_MAX {
            return Err(
                self.corrupt(format!("frame of {length} bytes, at most {BODY_MAX} allowed"))
            );
        }
        self.fill_body(length)?;
        match frame::decode(kind, &self.body) {
            Ok(Decoded::Input(input)) => {
                self.counts.frames += 1;
                match &input {
                    Input::Records { payloads, .. } => self.counts.records += payloads.len() as u64,
                    Input::KernelEvent(_) => self.counts.kernel_events += 1,
                    _ => {}
                }
                Ok(Some(input))
            }
            Ok(Decoded::End(counts)) => {
                self.finish(counts)?;
                Ok(None)
            }
            Err(error) => Err(self.corrupt(error.to_string())),
        }
    }

    /// Bytes behind the compression that were read so far.
    pub fn unpacked(&self) -> u64 {
        self.unpacked
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn finish(&mut self, said: Counts) -> Result<(), ReadError> {
        if said != self.counts {
            let read = self.counts;
            return Err(self.corrupt(format!(
                "the end frame counts {} frames, {} records, {} kernel events, the file holds {}, {}, {}",
                said.frames, said.records, said.kernel_events, read.frames, read.records,
                read.kernel_events
            )));
        }
        // Reading on to the end of the zstd frame is what verifies its checksum.
        let mut rest = [0; 1];
        match self.read_stream(&mut rest)? {
            0 => {}
            _ => return Err(self.corrupt("data after the end frame".to_owned())),
        }
        let mut after = [0; 1];
        let trailing = self.stream.get_mut().read(&mut after).map_err(|source| self.io(source))?;
        if trailing != 0 {
            return Err(self.corrupt("bytes after the end of the recording".to_owned()));
        }
        self.ended = true;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_stream(rest)? {
                0 => return Err(self.truncated()),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Reads in steps, so that a length is paid for only as far as bytes stand behind it.
    fn fill_body(&mut self, length: u32) -> Result<(), ReadError> {
        const STEP: usize = 64 << 10;
        let mut left = length as usize;
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        while left > 0 {
            let start = body.len();
            let step = left.min(STEP);
            body.resize(start + step, 0);
            if let Some(space) = body.get_mut(start..) {
                self.fill(space)?;
            }
            left -= step;
        }
        self.body = body;
        Ok(())
    }

    fn read_stream(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            match self.stream.read(buffer) {
                Ok(count) => {
                    self.unpacked += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.truncated());
                }
                // An error of the system carries its number; zstd's own do not.
                Err(error) if error.raw_os_error().is_some() => return Err(self.io(error)),
                Err(error) => return Err(self.corrupt(error.to_string())),
            }
        }
    }

    fn truncated(&self) -> ReadError {
        ReadError::Truncated { path: self.path.clone(), offset: self.offset.get() }
    }

    fn corrupt(&self, detail: String) -> ReadError {
        ReadError::Corrupt { path: self.path.clone(), offset: self.offset.get(), detail }
    }

    fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), offset: self.offset.get(), source }
    }
}

fn check_header(path: &Path, header: &[u8]) -> Result<(), ReadError> {
    let path = || path.to_owned();
    if header.is_empty() {
        return Err(ReadError::Empty { path: path() });
    }
    if !MAGIC.starts_with(header.get(..MAGIC.len()).unwrap_or(header)) {
        return Err(ReadError::Foreign { path: path(), hint: hint(header) });
    }
    let word = |at: usize| -> Option<u32> {
        header.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
    };
    let (Some(format), Some(found)) = (word(8), word(12)) else {
        return Err(ReadError::Truncated { path: path(), offset: header.len() as u64 });
    };
    if format == 0 {
        return Err(ReadError::Corrupt {
            path: path(),
            offset: 8,
            detail: "format version 0".to_owned(),
        });
    }
    if format > FORMAT_VERSION {
        return Err(ReadError::Newer {
            path: path(),
            offset: 8,
            found: format,
            supported: FORMAT_VERSION,
        });
    }
    if !READABLE_VERSIONS.contains(&found) {
        return Err(ReadError::Wire { path: path(), found, supported: WIRE_VERSION });
    }
    Ok(())
}

/// What a foreign file probably is, for the reader of the message.
fn hint(head: &[u8]) -> &'static str {
    match head {
        [0x1f, 0x8b, ..] => ": it is gzip data",
        [b'{' | b'[', ..] => ": it looks like JSON",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ": it is bare zstd data",
        [0x7f, b'E', b'L', b'F', ..] => ": it is a program",
        _ if head.starts_with(b"PERFILE2") => ": it is a perf.data file",
        _ => ": its first bytes are not `WARPREC`",
    }
}

/// Counts what was taken from the file, for the place in messages.
struct Counting {
    file: File,
    offset: Rc<Cell<u64>>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.offset.set(self.offset.get() + count as u64);
        Ok(count)
    }
}
