//! The programs that run in the kernel. Each filters by process first, does a constant amount of
//! work, and counts what it had to drop. None reads a kernel structure by a literal offset.
#![no_std]
#![no_main]
#![expect(
    internal_features,
    reason = "atomic addition is only an intrinsic on a target without compare-and-swap"
)]
#![feature(core_intrinsics)]

mod cpu;
mod emit;
mod filter;
mod launch;
mod maps;
mod process;
mod python;
mod registers;
mod sched;
mod scratch;
mod sleep;
mod stack;
mod symbol;
mod touch;
mod verify;

/// Helpers that read user memory or stacks are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics: a path that could would not pass the verifier.
    loop {}
}
