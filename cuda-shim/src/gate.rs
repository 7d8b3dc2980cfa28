//! One word that says which callbacks may act, on a page that a fork wipes to zero: whatever
//! forked the process and however, the child's shim is off.

use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Graph, module and context callbacks act.
pub(crate) const RESOURCES: u32 = 1;
/// Launch and synchronisation callbacks act.
pub(crate) const CALLS: u32 = 2;
/// Launches are sampled into the probe point.
pub(crate) const STACKS: u32 = 4;
/// Activity buffers are handed out and read.
pub(crate) const BUFFERS: u32 = 8;
/// Memory calls are told.
pub(crate) const MEMORY: u32 = 32;
/// Samples of the host's heap are told.
pub(crate) const HEAP: u32 = 64;
/// The shim is alive in this process. Never set again once cleared.
pub(crate) const ALIVE: u32 = 16;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Gate {
    word: NonNull<AtomicU32>,
}

// SAFETY: the word is an atomic on a page that is never unmapped.
unsafe impl Send for Gate {}
// SAFETY: as above.
unsafe impl Sync for Gate {}

impl Gate {
    /// Maps the page. Fails where the kernel cannot wipe on fork: without it no fork is safe.
    pub(crate) fn new() -> io::Result<Self> {
        let size = wire::shim::PAGE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
        let page = unsafe {
            libc::mmap(
                null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `page` is a mapping of `size` bytes that only we know.
        if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: as above; nothing refers to it yet.
            unsafe { libc::munmap(page, size) };
            return Err(error);
        }
        let word = NonNull::new(page.cast::<AtomicU32>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let gate = Self { word };
        gate.word().store(ALIVE, Ordering::Relaxed);
        Ok(gate)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: `new` mapped the page and nothing unmaps it.
        unsafe { self.word.as_ref() }
    }

    /// The bits in force.
    pub(crate) fn bits(&self) -> u32 {
        self.word().load(Ordering::Relaxed)
    }

    pub(crate) fn has(&self, bits: u32) -> bool {
        self.bits() & bits == bits
    }

    /// Sets bits, unless the gate was closed.
    pub(crate) fn open(&self, bits: u32) {
        // A closed gate stays closed, also against a control thread that is under way.
        let _previous = self.word().fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
            (word & ALIVE != 0).then_some(word | bits)
        });
    }

    pub(crate) fn shut(&self, bits: u32) {
        self.word().fetch_and(!bits, Ordering::SeqCst);
    }

    /// Off for good.
    pub(crate) fn close(&self) {
        self.word().store(0, Ordering::SeqCst);
    }
}
