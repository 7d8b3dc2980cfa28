//! What becomes of a block as it is handed out, resized and freed: whether it is a sample, and who is told.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use wire::shim::{memory_operation as operation, memory_place as place};

use super::{COUNTS, MEAN, ON, SAMPLED};
use crate::gate::HEAP;
use crate::memory::{Done, tell};
use crate::teller::{Teller, now_ns};
use crate::thread_local;

/// Who made a block: a bit beside its address, which is a multiple of eight.
pub(super) type Maker = usize;

/// The C library's allocator, or who stands for it.
pub(super) const LIBRARY: Maker = 0;
/// Python's, which carves small blocks out of memory of its own.
pub(super) const PYTHON: Maker = 1;

/// A block was handed out. Answers it.
#[inline]
pub(super) fn given(maker: Maker, block: *mut c_void, size: usize) -> *mut c_void {
    let passed = thread_local::current().heap.passes(size);
    let key = block.addr() | maker;
    if passed || SAMPLED.may_hold(key) {
        on_new(key, size, passed);
    }
    block
}

/// The thread's count before a block is asked for.
#[inline]
pub(super) fn position() -> u64 {
    thread_local::current().heap.position()
}

/// Python handed out a block, if the count is still where it was: otherwise it asked the C library for it, which told of
/// it. Its frees are all seen, so no sample has this address. Answers it.
#[inline]
pub(super) fn given_by_python(before: u64, block: *mut c_void, size: usize) -> *mut c_void {
    let heap = &thread_local::current().heap;
    if heap.position() == before && heap.passes_from(before, size) {
        on_new_of_python(block, size);
    }
    block
}

/// The count may be where it was by chance: with the library's sample a distance was drawn, and one in some ten thousand
/// is as long as the rest of the one before. That block is told; the distance is drawn again.
#[cold]
fn on_new_of_python(block: *mut c_void, size: usize) {
    if SAMPLED.holds(block.addr() | LIBRARY) {
        let _drawn = thread_local::current().heap.sample(MEAN.load(Ordering::Relaxed), seed());
    } else {
        on_new(block.addr() | PYTHON, size, true);
    }
}

/// A block is about to be freed. Whether it was a sample.
#[inline]
pub(super) fn taken(maker: Maker, block: *mut c_void) -> bool {
    let key = block.addr() | maker;
    SAMPLED.may_hold(key) && on_free(key)
}

/// Of a thread's random numbers: the address of its own state is as good as any.
fn seed() -> u64 {
    std::ptr::from_ref(thread_local::current()).addr() as u64 ^ now_ns()
}

/// A sample that was told as freed could not be resized: it lives, of a size that nobody told us.
#[cold]
pub(super) fn kept() {
    COUNTS.kept.fetch_add(1, Ordering::Relaxed);
}

/// A block that passed its thread's countdown, or is among the samples perhaps: then it was freed and nobody said so.
#[cold]
fn on_new(key: usize, size: usize, passed: bool) {
    if key & !PYTHON == 0 || !ON.load(Ordering::Relaxed) {
        return;
    }
    if SAMPLED.remove(key) {
        // Whoever is told of the new block knows that the old one is gone; of one that is no sample nobody is told.
        COUNTS.frees_unseen.fetch_add(1, Ordering::Relaxed);
        told(operation::FREED, key, 0, 0);
    }
    let mean = MEAN.load(Ordering::Relaxed);
    let heap = &thread_local::current().heap;
    let Some(mean) = passed.then(|| heap.sample(mean, seed())).flatten() else {
        return;
    };
    if !SAMPLED.insert(key) {
        COUNTS.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    COUNTS.samples.fetch_add(1, Ordering::Relaxed);
    told(operation::ALLOCATED, key, size, mean);
}

/// A block that is among the samples perhaps is about to be freed. Whether it was one.
#[cold]
fn on_free(key: usize) -> bool {
    let was = SAMPLED.remove(key);
    if was {
        COUNTS.frees.fetch_add(1, Ordering::Relaxed);
        told(operation::FREED, key, 0, 0);
    }
    was
}

/// Nobody will say when Python's blocks are freed: they are told as freed now.
pub(super) fn forget_python() {
    SAMPLED.take_all(|key| key & PYTHON != 0, |key| told(operation::FREED, key, 0, 0));
}

/// Tells the agent, if one wants to know. Never in a forked child, where its gate is shut.
fn told(operation: u8, key: usize, size: usize, mean: u64) {
    let Some(teller) = Teller::get().filter(|teller| teller.gate.has(HEAP)) else { return };
    let (address, bytes) = ((key & !PYTHON) as u64, size as u64);
    let done =
        Done { operation, place: place::HEAP, address, bytes, handle: mean, ..Done::NOTHING };
    tell(teller, teller.thread(), &done, now_ns(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a mean of some bytes the count is where it was after every few samples.
    #[test]
    fn what_the_library_told_python_does_not_tell_again() {
        MEAN.store(16, Ordering::Relaxed);
        ON.store(true, Ordering::Relaxed);
        let mut samples = 0;
        for block in (1_usize..200_000).map(|number| number << 4) {
            let block = std::ptr::without_provenance_mut(block);
            let before = position();
            given(LIBRARY, block, 8);
            given_by_python(before, block, 8);
            assert!(!SAMPLED.holds(block.addr() | PYTHON), "after {samples} samples");
            samples += u32::from(SAMPLED.remove(block.addr()));
        }
        ON.store(false, Ordering::Relaxed);
        MEAN.store(0, Ordering::Relaxed);
        assert!(samples > 10_000, "{samples}");
    }
}
