//! The host's heap, sampled by bytes: who allocates, and what of it lives. docs/memory.md says how.
//!
//! While it is on, slots that lead to the allocator's functions lead to [`hooks`], and Python's table of functions to
//! [`python`]; both go through [`block`]: a sampled block is told as a call that took memory, with its stack, and its
//! address is kept in [`sampled`] until it is freed, which is told too.

mod block;
mod countdown;
mod follow;
mod hooks;
mod python;
mod sampled;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use countdown::Countdown;
pub(crate) use follow::Sampling;

use crate::slots::{Exchange, Export, lead_back, lead_there};
use hooks::HOOKS;
use python::Python;
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
    python: Option<Python>,
    /// Python's calls come to the stand-ins.
    python_led: AtomicBool,
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
        Some(Self {
            exports: HOOKS.iter().map(export).collect::<Option<_>>()?,
            python: Python::find(),
            python_led: AtomicBool::new(false),
        })
    }

    /// Samples from here on, a sample each `mean` bytes on average.
    pub(crate) fn begin(&self, mean: u64) {
        MEAN.store(mean.max(1), Ordering::Relaxed);
        if !ON.swap(true, Ordering::SeqCst) {
            // Whoever is bound or loaded meanwhile finds the stand-ins in the symbol table.
            lead_there(&self.exports);
            let led = self.python.is_some_and(Python::lead_there);
            self.python_led.store(led, Ordering::Relaxed);
        }
    }

    /// To be called now and then while it is on: whoever exchanged Python's functions since may have left us out, and its
    /// blocks are told as freed before they seem to stay for ever.
    pub(crate) fn look(&self) {
        let lost = self.python.is_some_and(|python| !python.is_led());
        if lost && self.python_led.swap(false, Ordering::Relaxed) {
            block::forget_python();
        }
    }

    /// There is a Python here whose small objects are not seen.
    pub(crate) fn misses_python(&self) -> bool {
        self.python.is_some() && !self.python_led.load(Ordering::Relaxed)
    }

    /// Leads everybody back. Blocks that live are forgotten.
    pub(crate) fn end(&self) {
        if ON.swap(false, Ordering::SeqCst) {
            if let Some(python) = self.python {
                python.lead_back();
            }
            lead_back(&self.exports);
            SAMPLED.clear();
        }
    }
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
