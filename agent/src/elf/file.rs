//! A file of another process, read piecewise and never beyond a budget.
//!
//! Not mapped: its owner may truncate it, and a mapping would then kill the agent.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use object::read::ReadCacheOps;

/// Bytes read of one file at most: the symbol tables of the largest libraries (`libtorch_cpu`:
/// 45 MB of .dynsym and .dynstr) with room to spare.
const BUDGET: u64 = 128 << 20;

/// The file and what may still be read of it.
#[derive(Debug)]
pub(super) struct Bounded {
    file: File,
    length: u64,
    left: u64,
}

impl Bounded {
    /// Refuses what is not a regular file: opening a device or a pipe may block or act.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Self::of(File::open(path)?, BUDGET)
    }

    /// A file that is open. Its position is shared with whoever else reads it.
    pub(super) fn of(file: File, budget: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, length: metadata.len(), left: budget })
    }

    fn spend(&mut self, bytes: usize) -> Result<(), ()> {
        self.left = self.left.checked_sub(bytes as u64).ok_or(())?;
        Ok(())
    }
}

impl ReadCacheOps for Bounded {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.length)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        Seek::seek(&mut self.file, SeekFrom::Start(position)).map_err(drop)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        self.spend(buffer.len())?;
        Read::read(&mut self.file, buffer).map_err(drop)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.spend(buffer.len())?;
        Read::read_exact(&mut self.file, buffer).map_err(drop)
    }
}
