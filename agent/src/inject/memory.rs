//! Memory of another process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Through `/proc`, where a tracer may write code, too.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    /// Of a thread: a kernel may ask for the very thread that is traced before code is written.
    pub(super) fn of(pid: u32, tid: u32) -> io::Result<Self> {
        let path = format!("/proc/{pid}/task/{tid}/mem");
        Ok(Self(File::options().read(true).write(true).open(path)?))
    }

    /// As many bytes as are there.
    pub(super) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, address.wrapping_add(filled as u64)) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, address)
    }
}
