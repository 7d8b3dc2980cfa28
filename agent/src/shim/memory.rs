//! Opening and mapping a ring: every check that keeps a worker from crashing or fooling the agent.
#![expect(unsafe_code, reason = "maps the shared memory and hands out references to atomics in it")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64};

use thiserror::Error;
use wire::limits::{CAPTURE_WORDS, GRAPH_ENTRIES, NAME_MAX, NAMES_BYTES, RING_SLOTS};
use wire::shim::{
    CAPTURE_STACKS_OFFSET, CAPTURES_OFFSET, CONTROL_OFFSET, CURSORS_OFFSET, Control, Cursors,
    FLAG_STATS_ONLY, GRAPHS_OFFSET, GraphSlot, Header, MAGIC, NAMES_OFFSET, RING_OFFSET,
    SMALL_BYTES, STATS_OFFSET, Slot, Stats, TOTAL_BYTES,
};
use zerocopy::FromBytes;

use super::Location;
use super::captures::Area;

/// Why a ring cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("open the ring of process {pid} at {}: it needs CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE and CAP_DAC_OVERRIDE, or a worker of the same user with WARPLENS_KEEP_FD=1", link.display())]
    Open {
        pid: u32,
        link: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the ring of process {pid} is {what}: it is not one of ours, or the process tampers with it"
    )]
    Suspicious { pid: u32, what: &'static str },
    #[error(
        "the ring of process {pid} speaks wire version {found}, this agent {} to {}: {}",
        wire::READABLE_VERSIONS.start(),
        wire::READABLE_VERSIONS.end(),
        remedy(*found)
    )]
    Version { pid: u32, found: u32 },
    #[error(
        "process {pid} is observed by another agent (PID {holder} says its ring): stop that one, or ask it for a recording"
    )]
    Held { pid: u32, holder: u32 },
    #[error("map the ring of process {pid}")]
    Map {
        pid: u32,
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// The agent lacks a privilege.
    pub fn is_privilege(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What to do about a shim of another release.
fn remedy(found: u32) -> &'static str {
    if found > wire::WIRE_VERSION {
        "update the agent"
    } else {
        "restart the worker with this release's shim"
    }
}

/// A checked and mapped ring. The lock on it goes with the open file.
#[derive(Debug)]
pub struct Memory {
    file: File,
    base: NonNull<u8>,
    mapped: usize,
    header: Header,
}

// SAFETY: the mapping is only reached through atomics and lives until drop.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Opens, checks and maps. `lock`: become the one owner; without it only reading the stats is allowed.
    pub fn open(location: &Location, lock: bool) -> Result<Self, OpenError> {
        let pid = location.pid;
        let file = open_first(location)?;
        let header = check(pid, &file)?;
        let full = header.flags & FLAG_STATS_ONLY == 0;
        if lock && full {
            lock_file(pid, &file)?;
        }
        // Names are read with pread: their pages, in the middle, are mapped and never touched.
        let mapped = if full { TOTAL_BYTES } else { SMALL_BYTES };
        // SAFETY: a new mapping at an address of the kernel's choice. The file is sealed against
        // shrinking and at least `mapped` bytes long, so no access can fault.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        let failed = || OpenError::Map { pid, source: io::Error::last_os_error() };
        if base == libc::MAP_FAILED {
            return Err(failed());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(failed)?;
        let memory = Self { file, base, mapped, header };
        if lock && full {
            let ours = std::process::id();
            memory.control().agent_pid.store(ours, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(memory)
    }

    /// The header as it was when the ring was opened.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Device and inode of the file, which no other file has while it is open.
    pub fn identity(&self) -> Option<(u64, u64)> {
        let metadata = self.file.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// Bytes of the whole ring in the worker.
    pub fn bytes(&self) -> u64 {
        self.header.total_bytes
    }

    /// There is a ring, not only a stats page.
    pub fn is_full(&self) -> bool {
        self.header.flags & FLAG_STATS_ONLY == 0
    }

    pub fn control(&self) -> &Control {
        self.at(CONTROL_OFFSET)
    }

    pub fn stats(&self) -> &Stats {
        self.at(STATS_OFFSET)
    }

    /// Cursors and slots of a full ring.
    pub fn ring(&self) -> Option<(&Cursors, &[Slot])> {
        if !self.is_full() {
            return None;
        }
        let first = self.part::<Slot>(RING_OFFSET);
        // SAFETY: a full mapping holds RING_SLOTS slots at this page-aligned offset; they are
        // atomics, so the other side may write them at any time.
        let slots = unsafe { slice::from_raw_parts(first, RING_SLOTS) };
        Some((self.at(CURSORS_OFFSET), slots))
    }

    /// Graph table and capture stacks of a full ring.
    pub(super) fn graphs(&self) -> Option<Area<'_>> {
        let (cursors, _) = self.ring()?;
        let entries = self.part::<GraphSlot>(GRAPHS_OFFSET);
        let captures = self.part::<AtomicU32>(CAPTURES_OFFSET);
        let stacks = self.part::<AtomicU64>(CAPTURE_STACKS_OFFSET);
        Some(Area {
            used: &cursors.graphs,
            // SAFETY: a full mapping holds GRAPH_ENTRIES entries at this aligned offset; they are
            // atomics, so the other side may write them at any time.
            entries: unsafe { slice::from_raw_parts(entries, GRAPH_ENTRIES) },
            // SAFETY: as above, one for each entry.
            captures: unsafe { slice::from_raw_parts(captures, GRAPH_ENTRIES) },
            filled: &cursors.captures,
            // SAFETY: as above, CAPTURE_WORDS words.
            stacks: unsafe { slice::from_raw_parts(stacks, CAPTURE_WORDS) },
        })
    }

    /// The kernel name with this id; `None` where the area holds none (a hostile or torn id).
    pub fn name(&self, id: u32) -> Option<String> {
        let offset = u64::from(id) * 8;
        let room = (NAMES_BYTES as u64).checked_sub(offset + 8)?;
        let mut head = [0; 4];
        self.file.read_exact_at(&mut head, NAMES_OFFSET as u64 + offset).ok()?;
        let length = u64::from(u32::from_ne_bytes(head));
        if id == 0 || length == 0 || length > room || length > NAME_MAX as u64 {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, NAMES_OFFSET as u64 + offset + 8).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn part<T>(&self, offset: usize) -> *const T {
        self.base.as_ptr().wrapping_add(offset).cast::<T>()
    }

    fn at<T>(&self, offset: usize) -> &T {
        // SAFETY: `wire` asserts that the structure fits at this page-aligned offset below
        // SMALL_BYTES or RING_OFFSET; it consists of atomics, valid for any bytes.
        unsafe { &*self.part::<T>(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping; references to it do not outlive `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// The process that made the ring, by its number in its own PID namespace.
pub(super) fn maker(location: &Location) -> Result<u32, OpenError> {
    Ok(check(location.pid, &open_first(location)?)?.pid)
}

fn open_first(location: &Location) -> Result<File, OpenError> {
    let mut last = None;
    for link in &location.links {
        match OpenOptions::new().read(true).write(true).open(link) {
            Ok(file) => return Ok(file),
            Err(source) => last = Some((link.clone(), source)),
        }
    }
    let (link, source) = last.unwrap_or_else(|| (PathBuf::new(), io::ErrorKind::NotFound.into()));
    Err(OpenError::Open { pid: location.pid, link, source })
}

/// Type, seals, size, allocation, then what the header says.
fn check(pid: u32, file: &File) -> Result<Header, OpenError> {
    let suspicious = |what| OpenError::Suspicious { pid, what };
    let metadata = file.metadata().map_err(|source| OpenError::Map { pid, source })?;
    if !metadata.is_file() {
        return Err(suspicious("no regular file"));
    }
    // Only memfds have seals: on any other file system this call fails.
    // SAFETY: a plain system call on our descriptor.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    let needed = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    if seals < 0 || seals & needed != needed {
        return Err(suspicious("not sealed against a change of size"));
    }
    let size = metadata.len();
    if size != TOTAL_BYTES as u64 && size != SMALL_BYTES as u64 {
        return Err(suspicious("of a size no shim makes"));
    }
    if metadata.blocks() * 512 < size {
        return Err(suspicious("not allocated in full"));
    }
    let mut bytes = [0; size_of::<Header>()];
    file.read_exact_at(&mut bytes, 0).map_err(|source| OpenError::Map { pid, source })?;
    let header = Header::read_from_bytes(&bytes).map_err(|_size| suspicious("too short"))?;
    if header.magic != MAGIC {
        return Err(suspicious("without our magic number"));
    }
    if !wire::READABLE_VERSIONS.contains(&header.wire_version) {
        return Err(OpenError::Version { pid, found: header.wire_version });
    }
    let small = header.flags & FLAG_STATS_ONLY != 0;
    if header.total_bytes != size || small != (size == SMALL_BYTES as u64) {
        return Err(suspicious("of another size than it says"));
    }
    Ok(header)
}

/// The lock belongs to the open file description: it ends with this process, however it ends.
#[expect(clippy::cast_possible_truncation, reason = "these constants are 0 and 1")]
fn lock_file(pid: u32, file: &File) -> Result<(), OpenError> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: a live flock structure.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) } == 0 {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    if !matches!(source.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) {
        return Err(OpenError::Map { pid, source });
    }
    let mut word = [0; 4];
    let at = CONTROL_OFFSET + std::mem::offset_of!(Control, agent_pid);
    let read = file.read_exact_at(&mut word, at as u64);
    Err(OpenError::Held { pid, holder: read.map_or(0, |()| u32::from_ne_bytes(word)) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// What opening it says; a panic when it takes longer than anything that is only looked at.
    fn refusal(path: &Path) -> String {
        let links = vec![path.to_owned()];
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let opened = Memory::open(&Location { pid: std::process::id(), links }, true);
            sender.send(opened.err().map(|error| error.to_string()))
        });
        receiver.recv_timeout(Duration::from_secs(5)).unwrap().unwrap()
    }

    #[test]
    fn what_is_no_memfd_is_refused_and_waited_for_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, place("fifo"), FileType::Fifo, mode, 0).unwrap();
        mknodat(CWD, place("socket"), FileType::Socket, mode, 0).unwrap();
        std::fs::write(place("file"), vec![0; SMALL_BYTES]).unwrap();
        std::fs::create_dir(place("folder")).unwrap();
        std::os::unix::fs::symlink(place("link"), place("link")).unwrap();
        for (path, why) in [
            (place("fifo"), "no regular file"),
            (place("socket"), "open the ring"),
            (place("file"), "not sealed"),
            (place("folder"), "open the ring"),
            (place("link"), "open the ring"),
            (place("nothing"), "open the ring"),
            (PathBuf::from("/dev/null"), "no regular file"),
            (PathBuf::from("/proc/self/mem"), "not sealed"),
        ] {
            let said = refusal(&path);
            assert!(said.contains(why), "{}: {said}", path.display());
        }
    }
}
