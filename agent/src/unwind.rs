//! Native stacks from what the kernel programs copied: registers and bytes of the stack, by the
//! unwind information of the mapped files. Frame pointers are not needed and not believed.

use std::ops::Range;

use crate::stack::Remark;

/// General-purpose registers by DWARF number, and the instruction pointer.
pub type Registers = [u64; wire::kernel::REGISTERS];

/// What a stack is unwound from.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// Registers of the thread in user mode.
    pub registers: &'a Registers,
    /// Address of the first of `bytes`.
    pub start: u64,
    /// The stack, from the stack pointer on.
    pub bytes: &'a [u8],
    /// The stack goes on behind `bytes`.
    pub longer: bool,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeFrame {
    /// The instruction pointer of the leaf and of frames a signal interrupted; the return address
    /// of others.
    pub address: u64,
    /// The stack pointer while the frame was the innermost one.
    pub stack_pointer: u64,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a thread's first function.
    Root,
    /// Frames are missing at the root, because of this.
    Cut(Remark),
}

/// How many walks ended where, and what could not be used for them, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindLosses {
    /// Walks that reached a thread's first function.
    pub whole: u64,
}

/// Unwinds stacks of any number of processes.
#[derive(Debug, Default)]
pub struct Unwinder {
    losses: UnwindLosses,
}

impl Unwinder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the frames of a stack of process `pid`, leaf first.
    pub fn unwind(&mut self, pid: u32, stack: &Copied<'_>, frames: &mut Vec<NativeFrame>) -> End {
        let _ = (pid, frames, &mut self.losses, stack);
        End::Cut(Remark::NoUnwindInformation)
    }

    /// The addresses of the function, or of the part of one, that unwind information describes as
    /// one piece and `address` lies in.
    pub fn function_at(&mut self, pid: u32, address: u64) -> Option<Range<u64>> {
        let _ = (pid, address, &mut self.losses);
        None
    }

    /// The process ended or executed another program: what was known of its memory is void.
    pub fn forget(&mut self, pid: u32) {
        let _ = (pid, &mut self.losses);
    }

    /// How the walks ended.
    pub fn losses(&self) -> UnwindLosses {
        self.losses
    }
}
