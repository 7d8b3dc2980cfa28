//! Never attached: the agent runs it to learn which function of the kernel an address lies in. The kernel
//! looks that up in a microsecond; its whole table as text, `/proc/kallsyms`, takes 30 ms to read and is
//! shown to few.

use aya_ebpf::helpers::generated::bpf_snprintf;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::maps::KERNEL_SYMBOL;

/// The name, how far behind its start, and how long it is: `name+0x12/0x340 [module]`.
#[unsafe(no_mangle)]
static KERNEL_SYMBOL_FORMAT: [u8; 4] = *b"%pS\0";

/// Argument: the address. What it is called is in `KERNEL_SYMBOL` afterwards, up to a NUL; nothing where that failed.
#[raw_tracepoint]
pub fn kernel_symbol(ctx: RawTracePointContext) -> u32 {
    let Some(text) = KERNEL_SYMBOL.get_ptr_mut(0) else {
        return 0;
    };
    let mut address: u64 = ctx.arg(0);
    // SAFETY: the map's element has as many bytes as are said, the format ends with NUL and takes one value,
    // which is there.
    let length = unsafe {
        bpf_snprintf(
            text.cast(),
            wire::limits::KERNEL_SYMBOL_BYTES,
            (&raw const KERNEL_SYMBOL_FORMAT).cast(),
            &raw mut address,
            8,
        )
    };
    // With the NUL. A text that is longer was cut, in the middle of a name maybe.
    if !(1..=i64::from(wire::limits::KERNEL_SYMBOL_BYTES)).contains(&length) {
        // SAFETY: the map's element, which only the agent has this program write, one call at a time.
        unsafe { *text.cast::<u8>() = 0 };
    }
    0
}
