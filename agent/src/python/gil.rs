//! The global interpreter lock: where it says who holds it, and which addresses are its own.

use std::ops::Range;

use super::memory::Memory;
use super::offsets::{Gil, Offsets};

/// In `_gil_runtime_state`, the same from 3.10 to 3.14: interval, `last_holder`, `locked`, switch number,
/// then two pairs of condition and mutex, on whose futexes threads wait for it.
const HOLDER: u64 = 8;
const LOCKED: u64 = 16;
const BYTES: u64 = 208;

/// Longest interval between switches that anybody sets, us.
const INTERVAL_MAX: u64 = 10_000_000_000;

/// The lock of the main interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// 0: it is not where this version has it.
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
        if start == 0 || start > i64::MAX.cast_unsigned() - BYTES {
            return None;
        }
        let makes_sense = memory
            .u64(start)
            .is_some_and(|interval| (1..=INTERVAL_MAX).contains(&interval))
            // -1: it was never made.
            && matches!(memory.u32(start + LOCKED), Some(0 | 1 | u32::MAX));
        Some(Self { start: if makes_sense { start } else { 0 } })
    }

    /// Address of the holder's thread state; 0: not known.
    pub(super) fn holder(self) -> u64 {
        if self.start == 0 { 0 } else { self.start + HOLDER }
    }

    /// Address of the word that says whether it is held; 0: not known.
    pub(super) fn locked(self) -> u64 {
        if self.start == 0 { 0 } else { self.start + LOCKED }
    }

    /// A thread that waits on a futex in here waits for the lock. Empty where it is not known.
    pub(super) fn range(self) -> Range<u64> {
        let end = if self.start == 0 { 0 } else { self.start + BYTES };
        self.start..end
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::Fake;
    use super::super::version::Version;
    use super::*;

    const RUNTIME: u64 = 0x1000;
    const MAIN: u64 = 0x20_0000;
    const LOCK: u64 = 0x30_0000;

    fn found(version: Version, interval: u64, locked: u32) -> Option<Lock> {
        let offsets = Offsets::of(version);
        let mut memory = Fake::default();
        let start = match offsets.gil {
            Gil::Runtime(offset) => RUNTIME + offset,
            Gil::Pointer(offset) => {
                memory.put_u64(MAIN + offset, LOCK);
                LOCK
            }
        };
        memory.put_u64(start, interval);
        memory.put_u32(start + 16, locked);
        Lock::find(&memory, &offsets, RUNTIME, MAIN)
    }

    #[test]
    fn the_lock_is_found_where_it_makes_sense() {
        for version in Version::ALL {
            let lock = found(version, 5000, 1).unwrap();
            assert_eq!(lock.range().end - lock.range().start, 208);
            assert_eq!((lock.holder(), lock.locked()), (lock.start + 8, lock.start + 16));
            for (interval, locked) in [(0, 1), (u64::MAX, 0), (5000, 7)] {
                let unknown = found(version, interval, locked).unwrap();
                assert_eq!((unknown.holder(), unknown.locked()), (0, 0));
                assert!(unknown.range().is_empty());
            }
        }
    }

    #[test]
    fn a_lock_that_is_nowhere_is_not_there_yet() {
        let offsets = Offsets::of(Version::V3_12);
        for pointer in [0, u64::MAX, u64::MAX - 100, 1 << 63] {
            let mut memory = Fake::default();
            memory.put_u64(MAIN + 384, pointer);
            assert_eq!(Lock::find(&memory, &offsets, RUNTIME, MAIN), None, "{pointer:x}");
        }
        assert_eq!(Lock::find(&Fake::default(), &offsets, RUNTIME, u64::MAX), None);
        assert_eq!(Lock::find(&Fake::default(), &Offsets::of(Version::V3_11), u64::MAX, 0), None);
    }
}
