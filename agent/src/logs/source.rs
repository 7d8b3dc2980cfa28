//! Where a process's log is.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, open, statx};

use super::container;
use crate::proc::Container;

/// Settings of what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `pods/` and `containers/` of a container runtime lie below it.
    pub folder: PathBuf,
    /// Read of each log.
    pub lines: usize,
}

/// A log that may be read; cheap to hold and to copy. Where it is a file that the process has open it stays that file,
/// whatever is renamed or mounted meanwhile.
#[derive(Clone, Debug)]
pub struct LogSource {
    place: Place,
    /// `standard error`, `standard output`, or the path of a container's log.
    pub name: String,
}

#[derive(Clone, Debug)]
enum Place {
    /// Opened for nothing but to know it.
    Known(Arc<OwnedFd>),
    /// Of a container; the latest part is looked for when it is read.
    Container(container::PodLog),
}

impl LogSource {
    /// The logs of a living process; none where there are none that may be read. Nothing is read yet, and nothing waited for.
    pub fn find(pid: u32, container: Option<&Container>, settings: &LogSettings) -> Vec<Self> {
        let mut files = BTreeSet::new();
        let mut found = Vec::new();
        for (descriptor, name) in [(2, "standard error"), (1, "standard output")] {
            // One file for both is one log.
            if let Some((file, identity)) = regular(pid, descriptor)
                && files.insert(identity)
            {
                let place = Place::Known(Arc::new(file));
                found.push(Self { place, name: name.to_owned() });
            }
        }
        if found.is_empty()
            && let Some(log) = container.and_then(|of| container::find(&settings.folder, of))
        {
            found.push(Self { name: log.name(), place: Place::Container(log) });
        }
        found
    }

    /// Opens it to be read.
    pub(super) fn open(&self) -> io::Result<File> {
        match &self.place {
            Place::Known(known) => {
                let path = format!("/proc/self/fd/{}", known.as_raw_fd());
                // The link leads to the file that was looked at, and to no other.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                Ok(File::from(open(path, flags, Mode::empty())?))
            }
            Place::Container(log) => log.open(),
        }
    }
}

/// A file that a process has open under this number, if it is a regular one, and what tells it from others.
fn regular(pid: u32, descriptor: u32) -> Option<(OwnedFd, (u32, u32, u64))> {
    let path = format!("/proc/{pid}/fd/{descriptor}");
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // Without asking a server of files, which may not answer.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(&file, "", flags, StatxFlags::TYPE | StatxFlags::INO).ok()?;
    let regular = FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile;
    regular.then_some((file, (found.stx_dev_major, found.stx_dev_minor, found.stx_ino)))
}
