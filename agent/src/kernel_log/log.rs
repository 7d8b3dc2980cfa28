//! The kernel's log as it grows, without ever waiting for it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use super::xid::{Xid, xid_of_record};

/// Longest record, bytes: the kernel's own bound is 8 KiB with what it adds.
const RECORD_MAX: usize = 16 << 10;

/// Reads in one round: a driver that floods the log is heard of again in the next.
const READS_MAX: usize = 64;

/// Why the log cannot be read.
#[derive(Debug, Error)]
pub enum LogError {
    #[error(
        "open the kernel's log, {}: run it as root or grant CAP_SYSLOG, and let a container have the device", path.display()
    )]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// See the module's text.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    /// Of a record whose end has not come yet.
    rest: Vec<u8>,
    /// What does not fit is passed over up to the next end of a line.
    skips: bool,
}

impl KernelLog {
    /// From what is written after this instant on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |source| LogError::Open { path: path.to_owned(), source };
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut options = File::options();
        let mut file = options.read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { file, rest: Vec::new(), skips: false })
    }

    /// Errors of devices that were told since the last call.
    pub fn read(&mut self) -> Vec<Xid> {
        let mut found = Vec::new();
        let mut buffer = [0; RECORD_MAX];
        for _ in 0..READS_MAX {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default(), &mut found),
                Err(error) => match Errno::from_io_error(&error) {
                    // Records were overwritten before they were read: what comes next is the oldest there is.
                    Some(Errno::PIPE | Errno::INTR | Errno::INVAL) => {}
                    // Nothing more for the time being, or for good.
                    _ => break,
                },
            }
        }
        found
    }

    fn take(&mut self, bytes: &[u8], found: &mut Vec<Xid>) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let whole = line.ends_with(b"\n");
            if self.rest.len() + line.len() > RECORD_MAX {
                (self.skips, self.rest) = (true, Vec::new());
            }
            if !self.skips {
                self.rest.extend(line);
            }
            if whole {
                let record = std::mem::take(&mut self.rest);
                // Lines that belong to a record before them begin with a space, which no priority does.
                found.extend(xid_of_record(&record).filter(|_| !self.skips));
                self.skips = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LINE: &str = "3,1,1,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=5, name=x\n";

    fn numbers(log: &mut KernelLog) -> Vec<u32> {
        log.read().iter().map(|xid| xid.number).collect()
    }

    #[test]
    fn what_comes_is_read_once_and_what_was_is_not() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{LINE}").unwrap();
        let mut log = KernelLog::open(file.path()).unwrap();
        assert!(numbers(&mut log).is_empty());
        write!(file, "6,2,2,-;usb 1-1: new device\n{}", LINE.replace("79", "31")).unwrap();
        assert_eq!(numbers(&mut log), [31]);
        assert!(numbers(&mut log).is_empty());
        // In two parts.
        let (first, second) = LINE.split_at(20);
        write!(file, "{first}").unwrap();
        assert!(numbers(&mut log).is_empty());
        write!(file, "{second}").unwrap();
        assert_eq!(numbers(&mut log), [79]);
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut log = KernelLog::open(file.path()).unwrap();
        file.write_all(&vec![b'x'; 3 * RECORD_MAX]).unwrap();
        assert!(numbers(&mut log).is_empty());
        assert!(log.rest.len() <= RECORD_MAX);
        write!(file, "{LINE}{LINE}").unwrap();
        // The first one ends the line that was too long.
        assert_eq!(numbers(&mut log), [79]);
    }

    #[test]
    fn the_kernels_own_log_or_why_not() {
        match KernelLog::open(Path::new("/dev/kmsg")) {
            Ok(mut log) => drop(log.read()),
            Err(error) => assert!(error.to_string().contains("CAP_SYSLOG"), "{error}"),
        }
        let error = KernelLog::open(Path::new("/nowhere/kmsg")).unwrap_err().to_string();
        assert!(error.starts_with("open the kernel's log, /nowhere/kmsg: "), "{error}");
    }
}
