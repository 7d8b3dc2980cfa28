//! Where a thread keeps the pointer to its Python state: thread-specific data of the C library under
//! the key `_PyRuntime.autoTSSkey`.
//!
//! CPython stores it for every thread it binds and leaves it there when the lock is released. The place
//! is checked with threads that the interpreter lists: their `thread_id` is `pthread_self()`, which on
//! x86-64 is the thread pointer.

use super::memory::Memory;

/// Keys that the first block holds; others lie behind a pointer, which the kernel program does not follow.
const FIRST_BLOCK: u32 = 32;

/// Where the first block lies in glibc's `struct pthread`, as far as the C library does not tell: unchanged
/// from 2.3 to 2.43.
const FIRST_BLOCK_AT: u64 = 0x310;

/// `struct pthread_key_data`: a sequence number and the value.
const KEY_BYTES: u64 = 16;
const VALUE_AT: u64 = 8;

/// Where glibc keeps thread-specific data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// From the thread pointer to the first block.
    first_block: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self { first_block: FIRST_BLOCK_AT }
    }
}

impl Slots {
    /// From what glibc tells debuggers: `_thread_db_pthread_specific`, three words {bits of an element,
    /// elements, offset} of the table of blocks, in front of which the first block lies. `None` where
    /// they make no sense.
    pub(super) fn told(specific: [u32; 3]) -> Option<Self> {
        let [bits, elements, offset] = specific;
        // 32 pointers, as one element or as 32.
        let is_table = bits.checked_mul(elements) == Some(2048);
        let block = u64::from(FIRST_BLOCK) * KEY_BYTES;
        let first_block = u64::from(offset).checked_sub(block).filter(|&at| at < 0x10000)?;
        is_table.then_some(Self { first_block })
    }

    fn of_key(self, key: u32) -> u64 {
        self.first_block + u64::from(key) * KEY_BYTES + VALUE_AT
    }
}

/// A thread of the interpreter: its state and its thread pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) state: u64,
    pub(super) thread_id: u64,
}

/// What was found out about the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// From the thread pointer to the word that holds the thread's state.
    At(u64),
    /// No thread is bound yet.
    NoThread,
    /// The key lies where the kernel program does not look.
    KeyTooLarge(u32),
    /// No key has it.
    NotFound,
}

/// The slot of `key`, if threads have their state there; otherwise the one key that fits: a release
/// that moved `autoTSSkey` is found out this way.
pub(super) fn find(
    memory: &impl Memory,
    slots: Slots,
    key: Option<u32>,
    threads: &[Bound],
) -> Slot {
    if !threads.iter().any(|thread| thread.thread_id != 0) {
        return Slot::NoThread;
    }
    let fits = |key: u32| fitting(memory, slots.of_key(key), threads);
    if let Some(key) = key.filter(|&key| key < FIRST_BLOCK) {
        match fits(key) {
            Fit::Yes => return Slot::At(slots.of_key(key)),
            Fit::Unknown => return Slot::NoThread,
            Fit::No => {}
        }
    }
    let mut fitting = (0..FIRST_BLOCK).filter(|&key| fits(key) == Fit::Yes);
    match (fitting.next(), fitting.next(), key) {
        (Some(only), None, _) => Slot::At(slots.of_key(only)),
        // glibc allows 1024 keys.
        (None, _, Some(key)) if (FIRST_BLOCK..1024).contains(&key) => Slot::KeyTooLarge(key),
        _ => Slot::NotFound,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    /// No thread has anything there yet.
    Unknown,
    No,
}

/// One thread that has its state there is enough: a thread that is being started stands in the list with the
/// `thread_id` of the one that starts it (up to 3.11), and the list may change while it is read.
fn fitting(memory: &impl Memory, offset: u64, threads: &[Bound]) -> Fit {
    let mut fit = Fit::Unknown;
    for thread in threads.iter().filter(|thread| thread.thread_id != 0) {
        match thread.thread_id.checked_add(offset).and_then(|at| memory.u64(at)) {
            Some(state) if state == thread.state => return Fit::Yes,
            // Not bound yet, or its stack went with the thread.
            Some(0) | None => {}
            Some(_) => fit = Fit::No,
        }
    }
    fit
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::Fake;
    use super::*;

    const MAIN: Bound = Bound { state: 0x5000, thread_id: 0x10_0000 };
    const OTHER: Bound = Bound { state: 0x6000, thread_id: 0x20_0000 };

    fn bound(key: u64) -> Fake {
        let mut memory = Fake::default();
        for thread in [MAIN, OTHER] {
            memory.put(thread.thread_id + 0x310, &[0; 512]);
            memory.put_u64(thread.thread_id + 0x310 + key * 16 + 8, thread.state);
        }
        memory
    }

    #[test]
    fn the_c_library_tells_where() {
        assert_eq!(Slots::told([2048, 1, 1296]), Some(Slots::default()));
        assert_eq!(Slots::told([64, 32, 1312]), Some(Slots { first_block: 0x320 }));
        assert_eq!(Slots::told([2048, 1, 100]), None);
        assert_eq!(Slots::told([0, 1, 1296]), None);
        assert_eq!(Slots::told([u32::MAX, u32::MAX, u32::MAX]), None);
    }

    #[test]
    fn the_key_is_believed_when_a_thread_confirms_it() {
        let find = |memory: &Fake, key| find(memory, Slots::default(), key, &[MAIN, OTHER]);
        assert_eq!(find(&bound(3), Some(3)), Slot::At(0x310 + 3 * 16 + 8));
        // Another key, or none: the one that fits.
        assert_eq!(find(&bound(3), Some(0x7fff)), Slot::At(0x310 + 3 * 16 + 8));
        assert_eq!(find(&bound(3), None), Slot::At(0x310 + 3 * 16 + 8));
        let mut wrong = bound(3);
        wrong.put_u64(MAIN.thread_id + 0x310 + 8, 0xbad);
        assert_eq!(find(&wrong, Some(0)), Slot::At(0x310 + 3 * 16 + 8));
    }

    #[test]
    fn a_thread_that_is_being_started_has_the_number_of_the_one_that_starts_it() {
        let starting = Bound { state: 0x7000, thread_id: MAIN.thread_id };
        let threads = [starting, MAIN, OTHER];
        let found = find(&bound(3), Slots::default(), Some(3), &threads);
        assert_eq!(found, Slot::At(0x310 + 3 * 16 + 8));
    }

    #[test]
    fn nothing_is_taken_for_granted() {
        let find = |memory: &Fake, key| find(memory, Slots::default(), key, &[MAIN, OTHER]);
        let mut empty = bound(3);
        for thread in [MAIN, OTHER] {
            empty.put_u64(thread.thread_id + 0x310 + 3 * 16 + 8, 0);
        }
        assert_eq!(find(&empty, Some(3)), Slot::NoThread);
        assert_eq!(find(&empty, Some(77)), Slot::KeyTooLarge(77));
        assert_eq!(find(&empty, None), Slot::NotFound);
        assert_eq!(find(&Fake::default(), None), Slot::NotFound);
        // Two keys fit: neither is taken.
        let mut two = bound(3);
        for thread in [MAIN, OTHER] {
            two.put_u64(thread.thread_id + 0x310 + 9 * 16 + 8, thread.state);
        }
        assert_eq!(find(&two, None), Slot::NotFound);
        let unbound = [Bound { thread_id: 0, ..MAIN }];
        assert_eq!(super::find(&two, Slots::default(), Some(3), &unbound), Slot::NoThread);
    }
}
