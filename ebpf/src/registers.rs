//! The registers a thread has in user mode, also while it is in the kernel.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_task_pt_regs};
use wire::kernel::REGISTERS;

/// Where the kernel keeps them. Only its own memory: what is read through this cannot fault.
#[derive(Clone, Copy)]
pub struct Registers(*const pt_regs);

impl Registers {
    /// Of the running thread.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helper has no precondition.
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the task is the running one, from the helper above.
        let registers = unsafe { bpf_task_pt_regs(task) };
        Self(registers as *const pt_regs)
    }

    #[inline(always)]
    pub fn instruction(self) -> u64 {
        // SAFETY: the kernel's own structure of the running thread; the verifier checks the offset.
        unsafe { (*self.0).rip }
    }

    #[inline(always)]
    pub fn stack(self) -> u64 {
        // SAFETY: as in `instruction`.
        unsafe { (*self.0).rsp }
    }

    /// Number of the system call a thread in the kernel is in; -1 for none, as the kernel has it for
    /// interrupts and faults.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "numbers of system calls are small")]
    pub fn syscall(self) -> i32 {
        // SAFETY: as in `instruction`.
        unsafe { (*self.0).orig_rax as i32 }
    }

    /// By DWARF number (System V ABI, AMD64, figure 3.36), then the instruction pointer.
    #[inline(always)]
    pub fn store(self, to: &mut [u64; REGISTERS]) {
        // SAFETY: as in `instruction`.
        let from = unsafe { &*self.0 };
        to[0] = from.rax;
        to[1] = from.rdx;
        to[2] = from.rcx;
        to[3] = from.rbx;
        to[4] = from.rsi;
        to[5] = from.rdi;
        to[6] = from.rbp;
        to[7] = from.rsp;
        to[8] = from.r8;
        to[9] = from.r9;
        to[10] = from.r10;
        to[11] = from.r11;
        to[12] = from.r12;
        to[13] = from.r13;
        to[14] = from.r14;
        to[15] = from.r15;
        to[16] = from.rip;
    }
}
