//! The trace on disk: drawn beside a pipeline while files are read, or from a recording that was
//! just finished. Recording itself draws nothing, so that it costs nothing while workers run.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::draw::{Extent, Trace};
use crate::capture::Capture;
use crate::pipeline::{Input, Pieces, Pipeline};
use crate::recording::{ReadError, Reader};

/// Slices gathered before they are drawn: a second of a busy worker, 6 MB. What a stack's
/// addresses mean comes a fraction of a second after the stack.
const BATCH: usize = 1 << 16;

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("write {path}: check the free space of its file system")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A trace that goes to a file.
#[derive(Debug)]
pub struct TraceFile {
    trace: Trace<BufWriter<File>>,
    path: PathBuf,
}

impl TraceFile {
    pub fn create(path: &Path, extent: Extent) -> Result<Self, TraceError> {
        let file = File::create(path)
            .map_err(|source| TraceError::Write { path: path.to_owned(), source })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let trace = Trace::new(BufWriter::new(file), &name, extent);
        Ok(Self { trace, path: path.to_owned() })
    }
}

/// A pipeline, and the trace that is drawn from it where one is wanted.
#[derive(Debug)]
pub struct Drawing {
    pipeline: Pipeline,
    trace: Option<TraceFile>,
    /// Not drawn yet.
    pieces: Pieces,
}

impl Drawing {
    /// `pipeline` has not been fed yet.
    pub fn new(mut pipeline: Pipeline, trace: Option<TraceFile>) -> Self {
        if trace.is_some() {
            pipeline.tell_timeline();
        }
        Self { pipeline, trace, pieces: Pieces::default() }
    }

    /// As [`Pipeline::feed`]; what cannot be written is told at the end.
    pub fn feed(&mut self, input: Input) {
        self.pipeline.feed(input);
        if self.trace.is_some() {
            self.take();
            if self.pieces.slices.len() >= BATCH {
                self.draw();
            }
        }
    }

    /// The trace takes no more.
    fn is_full(&self) -> bool {
        self.trace.as_ref().is_some_and(|file| file.trace.is_full())
    }

    /// Ends the session and the file. What the file leaves out is among the capture's notes.
    pub fn finish(mut self) -> Result<Capture, TraceError> {
        self.pipeline.end();
        let notes = self.close()?;
        let mut capture = self.pipeline.capture();
        capture.info.notes.extend(notes);
        Ok(capture)
    }

    fn take(&mut self) {
        let Pieces { mut slices, mut samples } = self.pipeline.take_timeline();
        self.pieces.slices.append(&mut slices);
        self.pieces.samples.append(&mut samples);
    }

    fn draw(&mut self) {
        if let Some(file) = &mut self.trace {
            file.trace.add(std::mem::take(&mut self.pieces), &self.pipeline);
        }
    }

    fn close(&mut self) -> Result<Vec<String>, TraceError> {
        self.take();
        self.draw();
        let Some(TraceFile { trace, path }) = self.trace.take() else {
            return Ok(Vec::new());
        };
        let (_, notes) =
            trace.finish(&self.pipeline).map_err(|source| TraceError::Write { path, source })?;
        Ok(notes)
    }
}

/// Draws the recording at `from` into a new file `to`, as far as it fits. What the file leaves out
/// comes back as notes.
pub fn replay(from: &Path, to: &Path) -> Result<Vec<String>, TraceError> {
    let trace = TraceFile::create(to, Extent::default())?;
    let mut drawing = Drawing::new(Pipeline::marked(), Some(trace));
    let mut reader = Reader::open(from)?;
    while let Some(input) = reader.next_input()? {
        drawing.feed(input);
        // Decoding the rest of a long recording would change nothing.
        if drawing.is_full() {
            break;
        }
    }
    drawing.pipeline.end();
    drawing.close()
}
