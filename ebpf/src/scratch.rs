//! Memory to put a stack together in, which is too large for a program's own stack.
//!
//! A place belongs to a CPU and to a kind of program. Programs on the clock and on context switches
//! cannot meet themselves on a CPU. Programs on probe points can: a thread that is inside one may be
//! preempted by another thread that enters it. So a place is claimed, and whoever finds them all
//! taken gives up its stack.
//!
//! The claim is right under any interleaving on one CPU: an owner's one is part of the word, and it
//! read a word of exactly one, so nobody else's one was part of it then; whoever adds one later reads
//! more than one and takes it back.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use wire::kernel::{PythonFrame, StackCopy};
use wire::limits::{PYTHON_FRAMES, SCRATCH_PLACES, STACK_COPY_BYTES};

use crate::emit::{add_one, take_one};
use crate::maps::{BUSY, SCRATCH};

/// Smallest page of the machine: memory is readable or not by pages.
pub const PAGE: usize = 4096;
/// Bytes of the Python frames.
pub const PYTHON_BYTES: usize = PYTHON_FRAMES * size_of::<PythonFrame>();
/// The verifier adds up the greatest values of lengths that depend on each other, so it sees a
/// page more than is ever written.
const BODY: usize = PYTHON_BYTES + STACK_COPY_BYTES + PAGE;
/// Bytes of a frame of the interpreter that are read at once.
pub const WINDOW: usize = 128;

/// One stack in the making.
#[repr(C)]
pub struct Place {
    pub head: StackCopy,
    /// Python frames, then bytes of the stack.
    pub body: [u64; BODY / 8],
    pub window: [u64; WINDOW / 8],
}

/// Who takes a stack.
#[derive(Clone, Copy)]
pub enum User {
    Clock,
    Switch,
    Probe,
}

/// A claimed place, to be given back.
#[derive(Clone, Copy)]
pub struct Claim {
    /// Position in `SCRATCH`.
    pub index: u32,
    busy: *mut u64,
}

impl Claim {
    /// The first of this CPU's places for `user` that is free.
    #[inline(always)]
    pub fn of(user: User) -> Option<Self> {
        match user {
            User::Clock => Self::place(0),
            User::Switch => Self::place(1),
            User::Probe => Self::place(2).or_else(|| Self::place(3)),
        }
    }

    #[inline(always)]
    fn place(number: u32) -> Option<Self> {
        let busy = BUSY.get_ptr_mut(number)?;
        add_one(busy);
        // SAFETY: an element of an array lives as long as the program runs. Volatile: what counts is
        // the word as it is behind the addition.
        if unsafe { core::ptr::read_volatile(busy) } != 1 {
            take_one(busy);
            return None;
        }
        // SAFETY: the helper takes nothing and answers with a number.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        Some(Self { index: cpu * SCRATCH_PLACES + number, busy })
    }

    /// The claimed memory. `None` only where the loader made too few places for this CPU.
    #[inline(always)]
    pub fn memory(self) -> Option<*mut Place> {
        SCRATCH.get_ptr_mut(self.index)
    }

    #[inline(always)]
    pub fn give_back(self) {
        take_one(self.busy);
    }
}
