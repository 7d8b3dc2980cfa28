//! What a process tells its agent through: the shared memory, and the word that says what may be told. There is one,
//! whatever there is to tell of: CUDA's work, memory calls, the heap.

use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wire::limits::{PRODUCERS, SAMPLED_THREADS};
use wire::ring::Producer;
use wire::shim::Payload;

use crate::gate::Gate;
use crate::region::Region;
use crate::sampling::Sampler;
use crate::thread_local::{self, ThreadLocal};

/// Set once, never freed: the host's threads may come as long as the process lives.
static TELLER: AtomicPtr<Teller> = AtomicPtr::new(null_mut());

/// See the module's text. Built at start-up; nothing in it is allocated later.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) gate: Gate,
    pub(crate) region: Region,
    pub(crate) ring: Option<Producer<'static>>,
    /// `SAMPLED_THREADS` samplers, each used by the one thread it was given to.
    samplers: *mut Sampler,
    threads: AtomicU32,
}

// SAFETY: `samplers` hands each element to one thread; everything else is Send and Sync.
unsafe impl Send for Teller {}
// SAFETY: as above.
unsafe impl Sync for Teller {}

impl Teller {
    pub(crate) fn new(gate: Gate, region: Region) -> io::Result<Self> {
        Ok(Self {
            ring: region.producer(),
            samplers: map_samplers()?,
            threads: AtomicU32::new(0),
            gate,
            region,
        })
    }

    /// Makes `self` the process's own.
    pub(crate) fn publish(self) -> &'static Self {
        let teller: &'static Self = Box::leak(Box::new(self));
        TELLER.store(std::ptr::from_ref(teller).cast_mut(), Ordering::Release);
        teller
    }

    /// The process's, once there is one. In a forked child its gate is shut.
    pub(crate) fn get() -> Option<&'static Self> {
        // SAFETY: only `publish` stores here, a reference that lives for ever.
        unsafe { TELLER.load(Ordering::Acquire).as_ref() }
    }

    /// This thread's state, numbered and, while there are any left, with a sampler.
    pub(crate) fn thread(&self) -> &'static ThreadLocal {
        let thread = thread_local::current();
        if thread.number.get() == 0 {
            let index = self.threads.fetch_add(1, Ordering::Relaxed);
            thread.number.set(index.saturating_add(1));
            if (index as usize) < SAMPLED_THREADS {
                // SAFETY: `samplers` has SAMPLED_THREADS elements.
                let sampler = unsafe { self.samplers.add(index as usize) };
                // SAFETY: the index was taken from the counter by this thread alone; all zero is a
                // valid sampler, and the mapping is never undone.
                unsafe { thread.give(sampler) };
            } else {
                self.region.stats().threads_unslotted.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread
    }

    /// Writes records of this thread, or counts them lost.
    pub(crate) fn push(&self, producer: u16, records: &[Payload]) {
        if self.ring.is_some_and(|ring| ring.push(records)) {
            return;
        }
        let slot = (producer as usize).min(PRODUCERS - 1);
        self.region.stats().lost[slot].fetch_add(records.len() as u64, Ordering::Relaxed);
    }
}

/// The loss counter a thread uses.
pub(crate) fn producer_of(thread: &ThreadLocal) -> u16 {
    let last = u16::try_from(PRODUCERS - 1).unwrap_or(0);
    u16::try_from(thread.number.get().saturating_sub(1)).unwrap_or(last).min(last)
}

/// `CLOCK_MONOTONIC`, the kernel programs' clock, ns. A vDSO read, no system call.
pub(crate) extern "C" fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the out pointer is live; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.unsigned_abs())
}

/// Zero pages are valid samplers; they become memory when a thread first samples.
fn map_samplers() -> io::Result<*mut Sampler> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
    let base = unsafe {
        libc::mmap(
            null_mut(),
            SAMPLED_THREADS * size_of::<Sampler>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(base.cast()) }
}
