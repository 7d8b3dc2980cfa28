//! The probe points: functions the agent's uprobes sit on.
//!
//! First a 5-byte nop, which recent kernels turn into a direct call (costs about 0.5 us), then a
//! 1-byte nop for kernels where that must be avoided. No caller's red zone is live at a function's
//! entry. Called only for sampled launches, so an attached probe costs nothing elsewhere. It says where its
//! caller is found, because a naked function has no unwind information of its own.

use std::arch::naked_asm;

macro_rules! probe_point {
    ($(#[$text:meta])* $name:ident, ($($argument:ident),*)) => {
        $(#[$text])*
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub(crate) extern "C" fn $name($($argument: u64),*) {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                ".cfi_startproc",
                ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                "nop",
                "ret",
                ".cfi_endproc"
            );
            #[cfg(not(target_arch = "x86_64"))]
            naked_asm!(".cfi_startproc", "nop", "ret", ".cfi_endproc")
        }
    };
}

probe_point! {
    /// Arguments are the probe's payload: correlation id, weight, the shim's thread number, function key.
    warplens_probe_launch, (correlation, weight, thread, key)
}
