//! What became of single pages of a process: `/proc/PID/pagemap`, and `/proc/kpageflags` for their size
//! (Documentation/admin-guide/mm/pagemap.rst of Linux).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bits of an entry of `pagemap`.
const PRESENT: u64 = 1 << 63;
/// A file's, or shared.
const FILE: u64 = 1 << 61;
/// Where it is, for those who may know.
const FRAME: u64 = (1 << 55) - 1;

/// Bit of `kpageflags`: part of a transparent huge page.
const HUGE: u64 = 1 << 22;

/// Bytes of the smallest page.
pub const PAGE: u64 = 4096;
/// Pages that a huge one has.
pub const HUGE_PAGES: u32 = 512;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Not there: given back, or on disk.
    Gone,
    /// A file's, or memory that processes share.
    OfFile,
    /// The process's own; so many pages of 4 KiB came with its first touch.
    Own { pages: u32 },
}

/// The pages of one process.
#[derive(Debug)]
pub struct Pages {
    map: File,
    /// `None`: a privilege is missing (`CAP_SYS_ADMIN`), and huge pages count as small ones.
    flags: Option<File>,
}

impl Pages {
    /// Fails where the process is gone or not ours to look at.
    pub fn of(pid: u32) -> io::Result<Self> {
        let map = File::open(format!("/proc/{pid}/pagemap"))?;
        Ok(Self { map, flags: File::open("/proc/kpageflags").ok() })
    }

    /// What is at this address.
    pub fn look(&self, address: u64) -> Page {
        match entry(&self.map, address / PAGE) {
            Some(entry) if entry & PRESENT == 0 => Page::Gone,
            Some(entry) if entry & FILE != 0 => Page::OfFile,
            Some(entry) => {
                let frame = Some(entry & FRAME).filter(|&frame| frame != 0);
                let flags = frame.and_then(|frame| self::entry(self.flags.as_ref()?, frame));
                let huge = flags.is_some_and(|flags| flags & HUGE != 0);
                Page::Own { pages: if huge { HUGE_PAGES } else { 1 } }
            }
            // The process is gone.
            None => Page::Gone,
        }
    }
}

/// The word at this place of either file.
fn entry(file: &File, index: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, index.checked_mul(8)?).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_process_are_told_apart() {
        let pages = Pages::of(std::process::id()).unwrap();
        // Too large for an allocator to have it from before.
        let mut own = vec![0_u8; 64 << 20];
        let middle = own.as_ptr().addr() as u64 + (32 << 20);
        assert_eq!(pages.look(middle), Page::Gone, "nobody touched it");
        own[32 << 20] = 1;
        assert!(matches!(pages.look(middle), Page::Own { .. }), "{:?}", pages.look(middle));
        let function: fn() = pages_of_file;
        let code = function as usize as u64;
        pages_of_file();
        assert_eq!(pages.look(code), Page::OfFile);
        assert_eq!(pages.look(u64::MAX), Page::Gone);
        assert!(Pages::of(u32::MAX).is_err());
        drop(own);
    }

    #[inline(never)]
    fn pages_of_file() {}
}
