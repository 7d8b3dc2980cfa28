//! The one shim of a process: everything the callbacks reach.

use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use cupti_sys::callback::{Call, DRIVER_CALLS, RUNTIME_CALLS};
use wire::limits::{PRODUCERS, SAMPLED_THREADS};
use wire::ring::Producer;
use wire::shim::Payload;

use crate::activity::Fields;
use crate::buffers::Pool;
use crate::cupti::Cupti;
use crate::gate::Gate;
use crate::names::Names;
use crate::region::Region;
use crate::sampling::Sampler;
use crate::thread_local::{self, ThreadLocal};

/// Set once, never freed: CUDA may call us as long as the process lives.
static SHIM: AtomicPtr<Shim> = AtomicPtr::new(null_mut());

/// Ids of both domains lie below this (877 in 13.5).
const CALL_IDS: usize = 1024;

/// See the module's text. Built at start-up; nothing in it is allocated later.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) gate: Gate,
    pub(crate) region: Region,
    pub(crate) cupti: Cupti,
    /// What the library's records hold.
    pub(crate) fields: Fields,
    pub(crate) names: Option<Names>,
    pub(crate) ring: Option<Producer<'static>>,
    pub(crate) pool: Pool,
    runtime_calls: Box<[Option<Call>; CALL_IDS]>,
    driver_calls: Box<[Option<Call>; CALL_IDS]>,
    /// `SAMPLED_THREADS` samplers, each used by the one thread it was given to.
    samplers: *mut Sampler,
    threads: AtomicU32,
}

// SAFETY: `samplers` hands each element to one thread; everything else is Send and Sync.
unsafe impl Send for Shim {}
// SAFETY: as above.
unsafe impl Sync for Shim {}

impl Shim {
    pub(crate) fn new(
        gate: Gate,
        region: Region,
        cupti: Cupti,
        fields: Fields,
    ) -> io::Result<Self> {
        let names =
            region.names().zip(region.cursors()).map(|(area, cursors)| Names::new(area, cursors));
        Ok(Self {
            names,
            ring: region.producer(),
            pool: Pool::new()?,
            runtime_calls: call_table(RUNTIME_CALLS),
            driver_calls: call_table(DRIVER_CALLS),
            samplers: map_samplers()?,
            threads: AtomicU32::new(0),
            gate,
            region,
            cupti,
            fields,
        })
    }

    /// Makes `self` the process's shim.
    pub(crate) fn publish(self) -> &'static Self {
        let shim: &'static Self = Box::leak(Box::new(self));
        SHIM.store(std::ptr::from_ref(shim).cast_mut(), Ordering::Release);
        shim
    }

    /// The process's shim, once there is one. In a forked child its gate is shut.
    pub(crate) fn get() -> Option<&'static Self> {
        // SAFETY: only `publish` stores here, a reference that lives for ever.
        unsafe { SHIM.load(Ordering::Acquire).as_ref() }
    }

    pub(crate) fn runtime_call(&self, id: u32) -> Option<Call> {
        self.runtime_calls.get(id as usize).copied().flatten()
    }

    pub(crate) fn driver_call(&self, id: u32) -> Option<Call> {
        self.driver_calls.get(id as usize).copied().flatten()
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

fn call_table(calls: &[(u32, Call)]) -> Box<[Option<Call>; CALL_IDS]> {
    let mut table = Box::new([None; CALL_IDS]);
    for (id, call) in calls {
        if let Some(entry) = table.get_mut(*id as usize) {
            *entry = Some(*call);
        }
    }
    table
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
