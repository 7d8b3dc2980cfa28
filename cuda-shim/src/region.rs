//! The shared memory: created, sealed, mapped, and its parts as references.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::ptr::{NonNull, null_mut};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use wire::limits::{GRAPH_ENTRIES, NAMES_BYTES, RING_SLOTS};
use wire::ring::Producer;
use wire::shim::{
    CONTROL_OFFSET, CURSORS_OFFSET, Control, Cursor, Cursors, FLAG_NO_DRIVER, FLAG_SIMULATED,
    FLAG_STATS_ONLY, GRAPHS_OFFSET, GraphSlot, Header, MAGIC, MEMFD_NAME, NAMES_OFFSET,
    RING_OFFSET, SMALL_BYTES, STATS_OFFSET, Slot, Stats, TOTAL_BYTES,
};
use zerocopy::IntoBytes;

/// How much of the layout is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Header, control and stats: a shim that is off but can say why.
    StatsOnly,
    Full,
}

/// A mapping that lives as long as the process.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    extent: Extent,
}

// SAFETY: the mapping is never unmapped and is only reached through atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// What the header says besides the layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description {
    pub(crate) loaded_ns: u64,
    pub(crate) simulated: bool,
    /// The process has a CUDA driver.
    pub(crate) driver: bool,
    /// Keep the descriptor open for agents that may not use `/proc/PID/map_files`.
    pub(crate) keep_descriptor: bool,
}

impl Region {
    /// Creates the memfd, allocates it, seals its size, maps it and closes the descriptor.
    pub(crate) fn create(extent: Extent, description: Description) -> io::Result<Self> {
        let size = match extent {
            Extent::StatsOnly => SMALL_BYTES,
            Extent::Full => TOTAL_BYTES,
        };
        let mut name = [0_u8; 32];
        name[..MEMFD_NAME.len()].copy_from_slice(MEMFD_NAME.as_bytes());
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: `name` is NUL-terminated because it is longer than the name.
        let descriptor = unsafe { libc::memfd_create(name.as_ptr().cast(), flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: memfd_create gave us this descriptor and nobody else has it.
        let mut file = unsafe { File::from_raw_fd(descriptor) };
        let length = libc::off_t::try_from(size).map_err(io::Error::other)?;
        file.set_len(size as u64)?;
        // Allocated up front: a full tmpfs or cgroup shows here, not as SIGBUS in a callback.
        // SAFETY: plain system calls on our descriptor.
        check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) })?;
        // SAFETY: as above. A memfd is born 0777.
        check(unsafe { libc::fchmod(file.as_raw_fd(), 0o600) })?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: as above.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
        // Written before the mapping exists: whoever finds it finds a header.
        file.write_all(header(extent, description, size).as_bytes())?;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A forked child must not write into its parent's ring, nor be taken for a worker.
        // SAFETY: `base` is our mapping of `size` bytes.
        check(unsafe { libc::madvise(base, size, libc::MADV_DONTFORK) })?;
        if description.keep_descriptor {
            let _kept_open = file.into_raw_fd();
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, extent })
    }

    /// A reference to a `T` at a constant offset of the layout.
    fn at<T>(&self, offset: usize) -> &'static T {
        // SAFETY: `wire` asserts that every structure fits where its offset puts it; offsets are
        // page multiples, so aligned; the bytes start as zeros, valid for structures of atomics;
        // the mapping outlives the process.
        unsafe { &*self.base.as_ptr().wrapping_add(offset).cast::<T>() }
    }

    pub(crate) fn control(&self) -> &'static Control {
        self.at(CONTROL_OFFSET)
    }

    pub(crate) fn stats(&self) -> &'static Stats {
        self.at(STATS_OFFSET)
    }

    /// `None` in a stats-only region.
    pub(crate) fn cursors(&self) -> Option<&'static Cursors> {
        (self.extent == Extent::Full).then(|| self.at(CURSORS_OFFSET))
    }

    /// The ring's producer side.
    pub(crate) fn producer(&self) -> Option<Producer<'static>> {
        Producer::new(self.cursors()?, self.array::<Slot>(RING_OFFSET, RING_SLOTS)?)
    }

    pub(crate) fn graph_slots(&self) -> Option<&'static [GraphSlot]> {
        self.array(GRAPHS_OFFSET, GRAPH_ENTRIES)
    }

    /// The names area, in words.
    pub(crate) fn names(&self) -> Option<&'static [AtomicU64]> {
        self.array(NAMES_OFFSET, NAMES_BYTES / size_of::<AtomicU64>())
    }

    fn array<T>(&self, offset: usize, count: usize) -> Option<&'static [T]> {
        if self.extent != Extent::Full {
            return None;
        }
        // SAFETY: see `at`; a full region holds `count` of them at `offset`.
        Some(unsafe {
            slice::from_raw_parts(self.base.as_ptr().wrapping_add(offset).cast::<T>(), count)
        })
    }
}

/// Lost races before a reservation gives up. A lost race means that another thread won one, so only a
/// writer outside this process that keeps moving the cursor can bring it about.
const RACES: usize = 1024;

/// Takes `size` units of an append-only area of `capacity`; answers where they begin. `None`: it is full.
pub(crate) fn reserve(cursor: &Cursor, size: u64, capacity: u64) -> Option<u64> {
    let mut used = cursor.position.load(Ordering::Acquire);
    for _ in 0..RACES {
        let end = used.checked_add(size).filter(|&end| end <= capacity)?;
        let taken =
            cursor.position.compare_exchange(used, end, Ordering::AcqRel, Ordering::Acquire);
        match taken {
            Ok(begin) => return Some(begin),
            Err(moved) => used = moved,
        }
    }
    None
}

fn header(extent: Extent, description: Description, size: usize) -> Header {
    let mut shim_version = [0; 32];
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let length = version.len().min(shim_version.len() - 1);
    shim_version[..length].copy_from_slice(&version[..length]);
    let mut flags = 0;
    if description.simulated {
        flags |= FLAG_SIMULATED;
    }
    if extent == Extent::StatsOnly {
        flags |= FLAG_STATS_ONLY;
    }
    if !description.driver {
        flags |= FLAG_NO_DRIVER;
    }
    Header {
        magic: MAGIC,
        wire_version: wire::WIRE_VERSION,
        flags,
        total_bytes: size as u64,
        loaded_ns: description.loaded_ns,
        pid: std::process::id(),
        reserved: 0,
        shim_version,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
