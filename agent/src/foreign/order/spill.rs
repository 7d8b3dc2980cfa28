//! Sorted runs of rows in one unnamed temporary file, and their merge.
//!
//! The file has no name, so whatever ends the program leaves nothing behind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use zerocopy::{FromZeros, IntoBytes};

use super::row::Row;

/// Rows that all runs together hold in memory while they are merged, bytes. With less than
/// [`CHUNK_LEAST`] a run the disk would be asked too often.
const MERGE_BYTES: usize = 16 << 20;
const CHUNK_LEAST: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    #[error(
        "create a temporary file in {folder} for a trace too large for memory: free space there or set TMPDIR to another folder"
    )]
    Create {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "write byte {at} of the temporary file in {folder}: free space there or set TMPDIR to another folder"
    )]
    Write {
        folder: PathBuf,
        at: u64,
        #[source]
        source: io::Error,
    },
    #[error("read byte {at} of the temporary file in {folder}: check that disk")]
    Read {
        folder: PathBuf,
        at: u64,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    folder: PathBuf,
    /// Where each run ends, in rows.
    ends: Vec<u64>,
}

const ROW: u64 = size_of::<Row>() as u64;

impl Spill {
    pub(super) fn create() -> Result<Self, SpillError> {
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile_in(&folder)
            .map_err(|source| SpillError::Create { folder: folder.clone(), source })?;
        Ok(Self { file, folder, ends: Vec::new() })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0) * ROW
    }

    /// Appends a run, which is sorted.
    pub(super) fn run(&mut self, rows: &[Row]) -> Result<(), SpillError> {
        if rows.is_empty() {
            return Ok(());
        }
        let at = self.bytes();
        self.file.write_all(rows.as_bytes()).map_err(|source| SpillError::Write {
            folder: self.folder.clone(),
            at,
            source,
        })?;
        self.ends.push(at / ROW + rows.len() as u64);
        Ok(())
    }

    /// Gives every row in order; equal ones in the order of their runs.
    pub(super) fn merge(self, mut each: impl FnMut(&Row)) -> Result<(), SpillError> {
        let chunk = (MERGE_BYTES / size_of::<Row>() / self.ends.len().max(1)).max(CHUNK_LEAST);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut runs: Vec<Run> = starts
            .zip(&self.ends)
            .map(|(next, &end)| Run { next, end, rows: Vec::new(), position: 0 })
            .collect();
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for (index, run) in runs.iter_mut().enumerate() {
            if let Some(row) = run.head(&self.file, &self.folder, chunk)? {
                heap.push(Reverse((row.key(), index)));
            }
        }
        while let Some(mut top) = heap.peek_mut() {
            let index = top.0.1;
            let Some(run) = runs.get_mut(index) else {
                break;
            };
            if let Some(row) = run.rows.get(run.position) {
                each(row);
                run.position += 1;
            }
            match run.head(&self.file, &self.folder, chunk)? {
                Some(row) => top.0.0 = row.key(),
                None => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
        }
        Ok(())
    }
}

/// What is left of a run, and a piece of it in memory.
struct Run {
    next: u64,
    end: u64,
    rows: Vec<Row>,
    position: usize,
}

impl Run {
    /// The first row not yet given.
    fn head(
        &mut self,
        file: &File,
        folder: &std::path::Path,
        chunk: usize,
    ) -> Result<Option<&Row>, SpillError> {
        if self.position >= self.rows.len() && self.next < self.end {
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            self.rows.resize(left.min(chunk), Row::new_zeroed());
            let at = self.next * ROW;
            file.read_exact_at(self.rows.as_mut_slice().as_mut_bytes(), at)
                .map_err(|source| SpillError::Read { folder: folder.to_owned(), at, source })?;
            self.next += self.rows.len() as u64;
            self.position = 0;
        }
        Ok(self.rows.get(self.position))
    }
}
