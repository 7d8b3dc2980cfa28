//! The global interpreter lock: where it says who holds it, and which addresses are its own.

use std::ops::Range;

use super::memory::Memory;
use super::offsets::{Gil, Offsets};

/// In `_gil_runtime_state`, the same from 3.10 to 3.14: interval, `last_holder`, `locked`, switch number,
/// then two pairs of condition and mutex, on whose futexes threads wait for it.
const HOLDER: u64 = 8;
const LOCKED: u64 = 16;
const BYTES: u64 = 208;

/// The lock of the main interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    start: u64,
}

impl Lock {
    /// `None`: not there yet.
    pub(super) fn find(
        memory: &impl Memory,
        offsets: &Offsets,
        runtime: u64,
        main: u64,
    ) -> Option<Self> {
        let start = match offsets.gil {
            Gil::Runtime(offset) => runtime.checked_add(offset)?,
            Gil::Pointer(offset) => memory.u64(main.checked_add(offset)?)?,
        };
        (start != 0 && start < 1 << 62).then_some(Self { start })
    }

    pub(super) fn holder(self) -> u64 {
        self.start + HOLDER
    }

    pub(super) fn locked(self) -> u64 {
        self.start + LOCKED
    }

    /// A thread that waits on a futex in here waits for the lock.
    pub(super) fn range(self) -> Range<u64> {
        self.start..self.start + BYTES
    }
}
