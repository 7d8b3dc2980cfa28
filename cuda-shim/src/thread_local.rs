//! What a thread remembers between a callback's entry and exit.
//!
//! Initial-exec TLS: on a thread the shim has never seen, the first access neither allocates nor
//! calls the loader. All zero is a valid start, and there is no destructor. Only the thread itself
//! comes here, but a signal handler that launches comes in the middle of it: so the fields are
//! relaxed atomics behind a shared reference, which cost as much as plain ones.

use std::arch::{asm, global_asm};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

use crate::heap::Countdown;
use crate::sampling::Sampler;

/// A 32-bit field.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Word(AtomicU32);

impl Word {
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A 64-bit field.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Long(AtomicU64);

impl Long {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// One thread's state, 128 zero bytes at its birth.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ThreadLocal {
    /// The shim's number of this thread plus one; 0 = not seen yet.
    pub(crate) number: Word,
    /// An outermost call is open.
    pub(crate) open: Word,
    pub(crate) open_correlation: Word,
    /// Its callback id, with `CALLBACK_DRIVER`.
    pub(crate) open_callback: Word,
    /// Entry of an open synchronisation, ns.
    pub(crate) open_enter: Long,
    /// Function key of an open launch.
    pub(crate) open_key: Long,
    /// Weight of an open sampled launch; 0 = not sampled.
    pub(crate) open_weight: Word,
    /// The open launch was seen going into a graph under capture.
    pub(crate) open_captured: Word,
    /// Null until the thread was given one; stays null when none was left.
    sampler: AtomicPtr<Sampler>,
    /// The sampler is deciding.
    sampling: Word,
    /// Position of the graph entry of the first node the open launch made, plus one; 0 = none.
    pub(crate) open_node: Word,
    reserved: [u32; 2],
    /// Its way to the next sample of the heap.
    pub(crate) heap: Countdown,
    /// Entry of an open memory call, ns.
    pub(crate) memory_enter: Long,
    reserved_2: [u64; 4],
}

impl ThreadLocal {
    /// Gives the thread its sampler.
    ///
    /// # Safety
    /// `sampler` is a live sampler that no other thread uses, as long as the process lives.
    pub(crate) unsafe fn give(&self, sampler: *mut Sampler) {
        self.sampler.store(sampler, Ordering::Relaxed);
    }

    /// What `decide` says, or 0: without a sampler, and inside a signal handler that interrupted a
    /// decision. A decision left by a jump keeps the sampler for good: the thread is counted on,
    /// but not stack-sampled.
    pub(crate) fn sample(&self, decide: impl FnOnce(&mut Sampler) -> u32) -> u32 {
        let sampler = self.sampler.load(Ordering::Relaxed);
        if sampler.is_null() || self.sampling.get() != 0 {
            return 0;
        }
        self.sampling.set(1);
        compiler_fence(Ordering::SeqCst);
        // SAFETY: `give` was promised a live sampler of this thread's own, and `sampling` keeps a
        // signal handler on this thread away from it.
        let weight = decide(unsafe { &mut *sampler });
        compiler_fence(Ordering::SeqCst);
        self.sampling.set(0);
        weight
    }
}

const _: () = assert!(size_of::<ThreadLocal>() == 128);

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the shim's TLS access and probe point are written for x86-64 and aarch64");

global_asm!(
    ".pushsection .tbss.warplens_thread,\"awT\",@nobits",
    ".hidden warplens_thread",
    ".globl warplens_thread",
    ".type warplens_thread, @object",
    ".size warplens_thread, 128",
    ".p2align 6",
    "warplens_thread:",
    ".zero 128",
    ".popsection",
);

/// This thread's state, valid on this thread for as long as it lives.
#[inline]
pub(crate) fn current() -> &'static ThreadLocal {
    let address: *const ThreadLocal;
    // SAFETY: reads the thread pointer and the constant offset that the loader put into the GOT;
    // both always exist on Linux.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + warplens_thread@GOTTPOFF]",
            "add {0}, qword ptr fs:[0]",
            out(reg) address,
            options(nostack, readonly, pure)
        );
    }
    // SAFETY: as above. Built, never run.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "adrp {0}, :gottprel:warplens_thread",
            "ldr {0}, [{0}, :gottprel_lo12:warplens_thread]",
            "mrs {1}, tpidr_el0",
            "add {0}, {0}, {1}",
            out(reg) address,
            out(reg) _,
            options(nostack, readonly, pure, preserves_flags)
        );
    }
    // SAFETY: 128 aligned bytes that were zero at the thread's birth, a valid value; all fields are
    // atomics, and the reference is not handed to other threads.
    unsafe { &*address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_inside_a_decision_is_not_sampled() {
        // SAFETY: all zero is a valid sampler.
        let sampler: &mut Sampler = Box::leak(unsafe { Box::new_zeroed().assume_init() });
        let thread = current();
        assert_eq!(thread.sample(|_| 7), 0, "without a sampler");
        // SAFETY: leaked, and nobody else has it.
        unsafe { thread.give(sampler) };
        // What a signal handler that launches would do.
        let mut inner = u32::MAX;
        let outer = thread.sample(|_| {
            inner = current().sample(|_| 7);
            5
        });
        assert_eq!((outer, inner), (5, 0));
        assert_eq!(thread.sample(|_| 3), 3, "free again");
    }
}
