//! A file of another process, read piecewise and never beyond a budget.
//!
//! Not mapped: its owner may truncate it, and a mapping would then kill the agent. What lengths a file
//! claims is checked before memory is taken for them.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use elsa::FrozenVec;
use object::ReadRef;

/// Bytes read of one file at most: the symbol tables of the largest libraries (`libtorch_cpu`:
/// 45 MB of .dynsym and .dynstr) with room to spare.
const BUDGET: u64 = 128 << 20;

/// Bytes of a string that is read alone. Tables of strings are read as a whole.
const STRING_MAX: u64 = 4096;

/// The file, what may still be read of it, and what was.
pub(super) struct Bounded {
    file: File,
    length: u64,
    left: Cell<u64>,
    pieces: FrozenVec<Box<[u8]>>,
}

impl Bounded {
    /// Refuses what is not a regular file: opening a device or a pipe may block or act.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Self::of(File::open(path)?, BUDGET)
    }

    /// A file that is open.
    pub(super) fn of(file: File, budget: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let left = Cell::new(budget);
        Ok(Self { file, length: metadata.len(), left, pieces: FrozenVec::new() })
    }

    fn read(&self, offset: u64, size: u64) -> Result<Box<[u8]>, ()> {
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(());
        }
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        let mut bytes = vec![0; usize::try_from(size).map_err(drop)?];
        self.file.read_exact_at(&mut bytes, offset).map_err(drop)?;
        Ok(bytes.into_boxed_slice())
    }
}

impl<'a> ReadRef<'a> for &'a Bounded {
    fn len(self) -> Result<u64, ()> {
        Ok(self.length)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        Ok(self.pieces.push_get(self.read(offset, size)?))
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let length = range.end.min(self.length).checked_sub(range.start).ok_or(())?;
        let bytes = self.read(range.start, length.min(STRING_MAX))?;
        let end = bytes.iter().position(|&byte| byte == delimiter).ok_or(())?;
        Ok(self.pieces.push_get(bytes[..end].into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8], length: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(length).unwrap();
        file
    }

    #[test]
    fn pieces_and_strings_are_read_within_the_file() {
        let file = Bounded::of(file(b"one\0two", 7), 1 << 20).unwrap();
        assert_eq!((&file).read_bytes_at(4, 3), Ok(&b"two"[..]));
        assert_eq!((&file).read_bytes_at(4, 4), Err(()));
        assert_eq!((&file).read_bytes_at(u64::MAX, 2), Err(()));
        assert_eq!((&file).read_bytes_at_until(1..7, 0), Ok(&b"ne"[..]));
        assert_eq!((&file).read_bytes_at_until(4..7, 0), Err(()));
        assert_eq!((&file).read_bytes_at_until(9..10, 0), Err(()));
        assert_eq!(ReadRef::len(&file), Ok(7));
    }

    #[test]
    fn a_length_that_is_only_claimed_takes_no_memory() {
        // Sparse: a tebibyte that takes no room.
        let file = Bounded::of(file(b"", 1 << 40), 1 << 20).unwrap();
        assert_eq!((&file).read_bytes_at(0, 1 << 39), Err(()));
        assert_eq!((&file).read_bytes_at(1 << 39, 16), Ok(&[0; 16][..]));
        assert_eq!((&file).read_bytes_at(0, 1 << 20), Err(()), "16 bytes are spent");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(Bounded::open(Path::new("/dev/zero")).is_err());
        assert!(Bounded::of(File::open("/").unwrap(), 1).is_err());
    }
}
