//! The host's heap, sampled by bytes: who allocates, and what of it lives. docs/memory.md says how.
//!
//! While it is on, slots that lead to the allocator's functions lead to [`hooks`]; a sampled block is told as a call that
//! took memory, with its stack, and its address is kept in [`sampled`] until it is freed, which is told too.

mod countdown;
mod follow;
mod hooks;
mod sampled;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use countdown::Countdown;
pub(crate) use follow::Sampling;

use wire::shim::{memory_operation as operation, memory_place as place};

use crate::gate::HEAP;
use crate::memory::{Done, tell};
use crate::slots::{Exchange, Export, lead_back, lead_there};
use crate::teller::{Teller, now_ns};
use crate::thread_local;
use hooks::HOOKS;
use sampled::Sampled;

/// Zeros that are memory only where they are touched.
static SAMPLED: Sampled = Sampled::new();

/// Whether samples are wanted. Who comes while they are not (by an address of a stand-in that was kept) goes on.
static ON: AtomicBool = AtomicBool::new(false);
/// Bytes between two samples, on average.
static MEAN: AtomicU64 = AtomicU64::new(0);

/// What became of samples since the process began.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) samples: AtomicU64,
    pub(crate) frees: AtomicU64,
    /// Frees that went past: their address was handed out again.
    pub(crate) frees_unseen: AtomicU64,
    /// Samples that found no place among those that live, and are not told.
    pub(crate) refused: AtomicU64,
    /// Blocks that could not be resized: told as freed though they live.
    pub(crate) kept: AtomicU64,
}

pub(crate) static COUNTS: Counts = Counts {
    samples: AtomicU64::new(0),
    frees: AtomicU64::new(0),
    frees_unseen: AtomicU64::new(0),
    refused: AtomicU64::new(0),
    kept: AtomicU64::new(0),
};

/// The allocator's functions as this process finds them, each with what stands in for it.
#[derive(Debug)]
pub(crate) struct Heap {
    exports: Vec<(Export, Exchange)>,
}

impl Heap {
    /// `None`: a function is not found as a plain symbol of a library, and without all of them frees would go past.
    pub(crate) fn find() -> Option<Self> {
        let export = |hook: &hooks::Hook| {
            // SAFETY: a NUL-terminated name.
            let real = unsafe { libc::dlsym(libc::RTLD_DEFAULT, hook.symbol.as_ptr()) };
            // Who is led to the stand-in already (a heap sampled from the start) would call it for ever.
            let real =
                NonNull::new(real).filter(|real| real.as_ptr().cast_const() != hook.stand_in)?;
            hook.real.store(real.as_ptr(), Ordering::Release);
            let exchange = Exchange {
                from: real.as_ptr().expose_provenance() as u64,
                to: hook.stand_in.expose_provenance() as u64,
            };
            Some((Export::find(real)?, exchange))
        };
        Some(Self { exports: HOOKS.iter().map(export).collect::<Option<_>>()? })
    }

    /// Samples from here on, a sample each `mean` bytes on average.
    pub(crate) fn begin(&self, mean: u64) {
        MEAN.store(mean.max(1), Ordering::Relaxed);
        if !ON.swap(true, Ordering::SeqCst) {
            // Whoever is bound or loaded meanwhile finds the stand-ins in the symbol table.
            lead_there(&self.exports);
        }
    }

    /// Leads everybody back. Blocks that live are forgotten.
    pub(crate) fn end(&self) {
        if ON.swap(false, Ordering::SeqCst) {
            lead_back(&self.exports);
            SAMPLED.clear();
        }
    }
}

/// A block that passed its thread's countdown, or whose address is among the samples perhaps: then it was freed and
/// nobody said so.
#[cold]
fn on_new(address: usize, size: usize, passed: bool) {
    if address == 0 || !ON.load(Ordering::Relaxed) {
        return;
    }
    if SAMPLED.remove(address) {
        // Whoever is told of the new block knows that the old one is gone; of one that is no sample nobody is told.
        COUNTS.frees_unseen.fetch_add(1, Ordering::Relaxed);
        told(operation::FREED, address, 0, 0);
    }
    let mean = MEAN.load(Ordering::Relaxed);
    // The address of a thread's own state is as good a seed as any.
    let thread = thread_local::current();
    let seed = std::ptr::from_ref(thread).addr() as u64 ^ now_ns();
    let Some(mean) = passed.then(|| thread.heap.sample(mean, seed)).flatten() else {
        return;
    };
    if !SAMPLED.insert(address) {
        COUNTS.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    COUNTS.samples.fetch_add(1, Ordering::Relaxed);
    told(operation::ALLOCATED, address, size, mean);
}

/// A block whose address is among the samples perhaps is about to be freed. Whether it was a sample.
#[cold]
fn on_free(address: usize) -> bool {
    let was = SAMPLED.remove(address);
    if was {
        COUNTS.frees.fetch_add(1, Ordering::Relaxed);
        told(operation::FREED, address, 0, 0);
    }
    was
}

/// Tells the agent, if one wants to know. Never in a forked child, where its gate is shut.
fn told(operation: u8, address: usize, size: usize, mean: u64) {
    let Some(teller) = Teller::get().filter(|teller| teller.gate.has(HEAP)) else { return };
    let (address, bytes) = (address as u64, size as u64);
    let done =
        Done { operation, place: place::HEAP, address, bytes, handle: mean, ..Done::NOTHING };
    tell(teller, teller.thread(), &done, now_ns(), 0);
}

/// A sample was told as freed, and lives.
#[cold]
fn on_kept(_address: usize) {
    COUNTS.kept.fetch_add(1, Ordering::Relaxed);
}

/// Bytes between two samples where a program is started with the shim loaded before it, for tests and measurements.
const PRELOADED: &str = "WARPLENS_HEAP_MEAN";

/// Run by the loader before the program's first line, wherever the library is loaded.
extern "C" fn loaded() {
    let mean = std::env::var(PRELOADED).ok().and_then(|text| text.parse().ok());
    if let (Some(mean), Some(heap)) = (mean, Heap::find()) {
        // As long as the process.
        Box::leak(Box::new(heap)).begin(mean);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;
