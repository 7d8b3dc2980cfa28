//! Hook: entry and return of the driver library's launch exports, in verification mode only.
//! Rate: every launch. Cost: about 10 us an entry and 0.5 us a return on the real library, whose
//! first instructions must be single-stepped; the agent says so before it attaches.
//!
//! One exported launch may call another, or jump to it. A call is nested while the thread's
//! outermost call has not returned, which the stack pointer tells:
//! - entry with sp < sp(outermost): nested
//! - entry with sp = sp(outermost): nested when it was reached by a jump. Then the word at sp is
//!   not any more the return address the outermost call came with: the return probe replaced it.
//!   Where it is, the outermost call never returned (longjmp), and this is the next
//! - entry with sp > sp(outermost): likewise, this is the next
//! - return with sp > sp(outermost): the outermost call returned

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_attach_cookie, bpf_probe_read_user};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use wire::kernel::{VerifyCounts, counter, verify_cookie};

use crate::emit::{add_one, count};
use crate::filter::Task;
use crate::maps::{Call, IN_LAUNCH, VERIFY};

#[uprobe]
pub fn verify_enter(ctx: ProbeContext) -> u32 {
    let task = Task::current();
    let Some(counts) = VERIFY.get_ptr_mut(task.tgid) else {
        return 0;
    };
    let sp = stack_pointer(ctx.regs);
    // SAFETY: the helper checks the address and answers with an error where it is not readable.
    let return_address = unsafe { bpf_probe_read_user(sp as *const u64) }.unwrap_or(0);
    let this = Call { sp, return_address };
    if let Some(outermost) = IN_LAUNCH.get_ptr(task.key()) {
        // SAFETY: an element of a preallocated map; only this thread writes its own.
        let outermost = unsafe { *outermost };
        if sp < outermost.sp || sp == outermost.sp && return_address != outermost.return_address {
            return 0;
        }
    }
    if IN_LAUNCH.insert(task.key(), this, 0).is_err() {
        count(counter::VERIFY_UNTRACKED);
    }
    // SAFETY: the context is the one the kernel called this program with.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    add_one(field(counts, cookie == verify_cookie::GRAPH));
    0
}

#[uretprobe]
pub fn verify_return(ctx: RetProbeContext) -> u32 {
    let task = Task::current();
    let Some(counts) = VERIFY.get_ptr_mut(task.tgid) else {
        return 0;
    };
    let Some(outermost) = IN_LAUNCH.get_ptr(task.key()) else {
        return 0;
    };
    // SAFETY: an element of a preallocated map; only this thread writes its own.
    if stack_pointer(ctx.regs) <= unsafe { (*outermost).sp } {
        return 0;
    }
    let _ = IN_LAUNCH.remove(task.key());
    let result: u32 = ctx.ret();
    if result != 0 {
        // SAFETY: a field of the map value behind `counts`.
        add_one(unsafe { &raw mut (*counts).failed });
    }
    0
}

#[inline(always)]
fn field(counts: *mut VerifyCounts, graph: bool) -> *mut u64 {
    if graph {
        // SAFETY: a field of the map value behind `counts`.
        unsafe { &raw mut (*counts).graph_launches }
    } else {
        // SAFETY: a field of the map value behind `counts`.
        unsafe { &raw mut (*counts).launches }
    }
}

#[inline(always)]
fn stack_pointer(regs: *mut aya_ebpf::bindings::pt_regs) -> u64 {
    // SAFETY: the kernel calls uprobes with the registers of the probed thread.
    unsafe { (*regs).rsp }
}
