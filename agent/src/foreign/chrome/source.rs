//! The text of a trace: the file as it is, or decompressed by a thread of its own.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

/// Text that goes from one thread to the other at once, and how many pieces may wait: enough that
/// neither waits for the other's single steps.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;

/// First bytes of gzip data.
pub const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

struct Counted {
    file: File,
    progress: ProgressBar,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.inc(count as u64);
        Ok(count)
    }
}

/// Text of a trace.
pub(super) enum Source {
    Plain(Box<dyn Read>),
    Inflated(Inflated),
}

impl Source {
    pub(super) fn open(file: File, gzip: bool, progress: ProgressBar) -> io::Result<Self> {
        let counted = Counted { file, progress };
        if gzip {
            Ok(Self::Inflated(Inflated::start(BufReader::with_capacity(PIECE, counted))?))
        } else {
            Ok(Self::Plain(Box::new(counted)))
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Inflated(inflated) => inflated.read(buffer),
        }
    }
}

/// The near end of the decompressing thread.
pub(super) struct Inflated {
    pieces: Receiver<io::Result<Vec<u8>>>,
    /// Pieces go back to be filled again.
    spent: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Inflated {
    /// The thread ends with the data, or when nobody listens.
    fn start(compressed: BufReader<Counted>) -> io::Result<Self> {
        let (sender, pieces) = bounded(WAITING);
        let (spent, returned) = bounded(WAITING + 2);
        thread::Builder::new().name("inflate".to_owned()).spawn(move || {
            inflate(MultiGzDecoder::new(compressed), &sender, &returned);
        })?;
        Ok(Self { pieces, spent, piece: Vec::new(), at: 0 })
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.piece.len() {
            let spent = std::mem::take(&mut self.piece);
            if spent.capacity() > 0 {
                // A full channel or a thread that ended only costs an allocation.
                drop(self.spent.try_send(spent));
            }
            self.at = 0;
            match self.pieces.recv() {
                Ok(piece) => self.piece = piece?,
                // The thread is done.
                Err(_) => return Ok(0),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

fn inflate(
    mut decoder: impl Read,
    pieces: &Sender<io::Result<Vec<u8>>>,
    returned: &Receiver<Vec<u8>>,
) {
    loop {
        let mut piece = returned.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut length = 0;
        let mut ended = None;
        while let Some(free) = piece.get_mut(length..).filter(|free| !free.is_empty()) {
            match decoder.read(free) {
                Ok(0) => {
                    ended = Some(None);
                    break;
                }
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    ended = Some(Some(error));
                    break;
                }
            }
        }
        piece.truncate(length);
        // What came before an error counts.
        if length > 0 && pieces.send(Ok(piece)).is_err() {
            return;
        }
        match ended {
            None => {}
            Some(None) => return,
            Some(Some(error)) => return drop(pieces.send(Err(error))),
        }
    }
}
