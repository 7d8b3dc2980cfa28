//! What a thread remembers between a callback's entry and exit.
//!
//! Initial-exec TLS: on a thread the shim has never seen, the first access neither allocates nor
//! calls the loader. All zero is a valid start, and there is no destructor.

use std::arch::{asm, global_asm};

use crate::sampling::Sampler;

/// One thread's state, 64 zero bytes at its birth.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ThreadLocal {
    /// The shim's number of this thread plus one; 0 = not seen yet.
    pub(crate) number: u32,
    /// An outermost call is open.
    pub(crate) open: u32,
    pub(crate) open_correlation: u32,
    /// Its callback id, with `CALLBACK_DRIVER`.
    pub(crate) open_callback: u32,
    /// Entry of an open synchronisation, ns.
    pub(crate) open_enter: u64,
    /// Function key of an open launch.
    pub(crate) open_key: u64,
    /// Weight of an open sampled launch; 0 = not sampled.
    pub(crate) open_weight: u32,
    /// The open launch was seen going into a graph under capture.
    pub(crate) open_captured: u32,
    /// Null until the thread was given one; stays null when none was left.
    pub(crate) sampler: *mut Sampler,
    reserved: [u64; 2],
}

const _: () = assert!(size_of::<ThreadLocal>() == 64);

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the shim's TLS access and probe point are written for x86-64");

global_asm!(
    ".pushsection .tbss.warplens_thread,\"awT\",@nobits",
    ".hidden warplens_thread",
    ".globl warplens_thread",
    ".type warplens_thread, @object",
    ".size warplens_thread, 64",
    ".p2align 6",
    "warplens_thread:",
    ".zero 64",
    ".popsection",
);

/// This thread's state. The pointer is valid on this thread for as long as it lives.
#[inline]
pub(crate) fn current() -> *mut ThreadLocal {
    let address: *mut ThreadLocal;
    // SAFETY: reads the thread pointer and the constant offset that the loader put into the GOT;
    // both always exist on x86-64 Linux.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + warplens_thread@GOTTPOFF]",
            "add {0}, qword ptr fs:[0]",
            out(reg) address,
            options(nostack, readonly, pure)
        );
    }
    address
}
