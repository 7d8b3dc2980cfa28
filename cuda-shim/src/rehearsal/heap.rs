//! The sampled heap, without anybody who wants it: for tests of their own process.

use std::sync::atomic::Ordering;

use crate::heap::{self, COUNTS};

/// The allocator's functions of this process.
#[derive(Debug)]
pub struct Heap(heap::Heap);

/// What became of samples since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub samples: u64,
    pub frees: u64,
    pub frees_unseen: u64,
    pub refused: u64,
    pub kept: u64,
}

impl Heap {
    /// `None`: not all of them are found.
    pub fn find() -> Option<Self> {
        heap::Heap::find().map(Self)
    }

    /// Samples from here on, each `mean` bytes on average.
    pub fn begin(&self, mean: u64) {
        self.0.begin(mean);
    }

    /// Leads everybody back.
    pub fn end(&self) {
        self.0.end();
    }
}

/// Of this process.
pub fn counts() -> Counts {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::SeqCst);
    Counts {
        samples: of(&COUNTS.samples),
        frees: of(&COUNTS.frees),
        frees_unseen: of(&COUNTS.frees_unseen),
        refused: of(&COUNTS.refused),
        kept: of(&COUNTS.kept),
    }
}
