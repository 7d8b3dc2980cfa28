//! Whether a stopped thread may call the loader: it must hold none of the locks that loading a library takes,
//! those of the allocator and of the loader itself.
//!
//! A thread that sleeps in a system call its program made to wait for something is in neither: they sleep on
//! plain futexes, and the loader's own reads show in the stack.

use crate::proc::Mapping;
use crate::unwind::{Copied, End, NativeFrame, Unwinder};

use super::tracee::{RED_ZONE, Registers, Tracee};

/// Bytes of the stack looked at: Python's calls of C use some hundred for each.
const STACK: usize = 1 << 20;

/// System calls that a program waits in, x86-64.
const WAITS: [u64; 18] = [
    0,   // read
    7,   // poll
    23,  // select
    35,  // nanosleep
    43,  // accept
    45,  // recvfrom
    47,  // recvmsg
    61,  // wait4
    128, // rt_sigtimedwait
    230, // clock_nanosleep
    232, // epoll_wait
    247, // waitid
    270, // pselect6
    271, // ppoll
    281, // epoll_pwait
    288, // accept4
    441, // epoll_pwait2
    449, // futex_waitv
];
const FUTEX: u64 = 202;
/// Condition variables and semaphores wait this way; locks, the allocator's among them, with `FUTEX_WAIT`.
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_COMMAND: u64 = 0x7f;

/// `-EINTR`, and from `-ERESTARTSYS` to `-ERESTART_RESTARTBLOCK`: what a system call answers that a stop ended.
const INTERRUPTED: i64 = -4;
const RESTARTED: std::ops::RangeInclusive<i64> = -516..=-512;

/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Whether a program makes this system call to wait.
pub(super) fn waits_in(syscall: u64, second_argument: u64) -> bool {
    WAITS.contains(&syscall)
        || syscall == FUTEX && second_argument & FUTEX_COMMAND == FUTEX_WAIT_BITSET
}

/// The registers to go on with, if the thread is at a safe place.
pub(super) fn safe(
    tracee: &Tracee,
    pid: u32,
    registers: &Registers,
    mappings: &[Mapping],
    unwinder: &mut Unwinder,
) -> Option<Registers> {
    let answer = registers.rax.cast_signed();
    let interrupted = answer == INTERRUPTED || RESTARTED.contains(&answer);
    let at_syscall = tracee.read(registers.rip.wrapping_sub(2), 2) == SYSCALL;
    if !interrupted || !at_syscall || !waits_in(registers.orig_rax, registers.rsi) {
        return None;
    }
    let start = registers.rsp.wrapping_sub(RED_ZONE);
    let bytes = tracee.read(start, STACK);
    let longer = bytes.len() == STACK;
    let general = general(registers);
    let mut frames: Vec<NativeFrame> = Vec::new();
    let copied = Copied { registers: &general, start, bytes: &bytes, longer };
    if unwinder.unwind(pid, &copied, &mut frames) != End::Root {
        return None;
    }
    let in_loader = |frame: &NativeFrame| {
        let at = mappings.iter().find(|map| map.start <= frame.address && frame.address < map.end);
        at.is_none_or(|map| map.file_name().starts_with("ld-"))
    };
    if frames.iter().any(in_loader) {
        return None;
    }
    // Some calls are not started over by the kernel, and their program would see that they ended early.
    Some(match answer {
        INTERRUPTED => Registers {
            rax: registers.orig_rax,
            rip: registers.rip.wrapping_sub(2),
            orig_rax: u64::MAX,
            ..*registers
        },
        _ => *registers,
    })
}

/// By DWARF's numbers (System V ABI, AMD64, figure 3.36).
fn general(registers: &Registers) -> crate::unwind::Registers {
    [
        registers.rax,
        registers.rdx,
        registers.rcx,
        registers.rbx,
        registers.rsi,
        registers.rdi,
        registers.rbp,
        registers.rsp,
        registers.r8,
        registers.r9,
        registers.r10,
        registers.r11,
        registers.r12,
        registers.r13,
        registers.r14,
        registers.r15,
        registers.rip,
    ]
}
