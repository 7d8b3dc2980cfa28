//! x86-64: registers, system calls, and the code that a thread runs.
#![expect(unsafe_code, reason = "code that a thread of another process runs, in assembler")]

use std::arch::{global_asm, x86_64};

use crate::inject::room::{self, MASK_BYTES, Offset};

pub(in crate::inject) use libc::user_regs_struct as Registers;

/// Why this architecture's processes cannot be entered; `None`: they can.
pub(in crate::inject) const UNSUPPORTED: Option<&str> = None;

/// The set of registers that holds vectors, `NT_X86_XSTATE`.
pub(in crate::inject) const VECTOR_SET: i32 = 0x202;

/// Bytes below the stack pointer that a function may use (System V ABI, AMD64, 3.2.2).
pub(in crate::inject) const RED_ZONE: u64 = 128;

/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Direction and trap flags: functions are entered with both clear.
const FLAGS_CLEAR: u64 = 0x500;

/// Numbers of system calls.
const FUTEX: u64 = 202;
const MMAP: u64 = 9;
const RESTART_SYSCALL: u64 = 219;

/// System calls that a program waits in.
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

/// Condition variables and semaphores wait this way; locks, the allocator's among them, with `FUTEX_WAIT`.
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_COMMAND: u64 = 0x7f;

/// What a system call answers that a stop ended: `-EINTR`; what the kernel starts over as it was, `-ERESTARTSYS` to
/// `-ERESTARTNOHAND`; and what it goes on with, `-ERESTART_RESTARTBLOCK`.
const INTERRUPTED: i64 = -4;
const RESTARTED: std::ops::RangeInclusive<i64> = -514..=-512;
const CONTINUED: i64 = -516;

/// Whether a program may have made this system call to wait.
pub(in crate::inject) fn may_wait_in(syscall: u64, second_argument: u64) -> bool {
    syscall == RESTART_SYSCALL || waits_in(syscall, second_argument)
}

/// Whether a program makes this system call to wait.
fn waits_in(syscall: u64, second_argument: u64) -> bool {
    WAITS.contains(&syscall)
        || syscall == FUTEX && second_argument & FUTEX_COMMAND == FUTEX_WAIT_BITSET
}

/// Where a stopped thread is, and how it goes on.
#[derive(Clone, Copy, Debug)]
pub(in crate::inject) struct Waiting {
    /// The system call that it waited in is made again, or gone on with, by these registers alone.
    pub(in crate::inject) again: Registers,
    /// The kernel would do so by itself.
    pub(in crate::inject) by_kernel: bool,
}

/// `None`: it does not wait in a system call that its program made to wait. `bytes`: of its memory.
pub(in crate::inject) fn waiting(
    registers: &Registers,
    bytes: impl Fn(u64, usize) -> Vec<u8>,
) -> Option<Waiting> {
    let answer = registers.rax.cast_signed();
    let number = match answer {
        INTERRUPTED => registers.orig_rax,
        CONTINUED => RESTART_SYSCALL,
        answer if RESTARTED.contains(&answer) => registers.orig_rax,
        _ => return None,
    };
    let at = registers.rip.wrapping_sub(SYSCALL.len() as u64);
    // A call that was gone on with before says only that it is: which one it was stands in the code.
    let made = match registers.orig_rax {
        RESTART_SYSCALL => number_before(at, &bytes)?,
        made => made,
    };
    if !waits_in(made, registers.rsi) || bytes(at, SYSCALL.len()) != SYSCALL {
        return None;
    }
    let again = Registers { rax: number, rip: at, orig_rax: u64::MAX, ..*registers };
    Some(Waiting { again, by_kernel: answer != INTERRUPTED })
}

/// The number of the system call that is made at `at`, where the instruction before loads it.
fn number_before(at: u64, bytes: impl Fn(u64, usize) -> Vec<u8>) -> Option<u64> {
    /// `mov $NUMBER, %eax`.
    const LOAD: u8 = 0xb8;
    const LOAD_BYTES: usize = 5;
    match *bytes(at.wrapping_sub(LOAD_BYTES as u64), LOAD_BYTES).as_slice() {
        [LOAD, a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
        _ => None,
    }
}

/// By DWARF's numbers (System V ABI, AMD64, figure 3.36).
pub(in crate::inject) fn general(registers: &Registers) -> crate::unwind::Registers {
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

pub(in crate::inject) fn stack(registers: &Registers) -> u64 {
    registers.rsp
}

/// Why a thread with this `/proc/PID/status` cannot be entered.
pub(in crate::inject) fn refuses(status: &str) -> Option<&'static str> {
    let features = status.lines().find_map(|line| line.strip_prefix("x86_Thread_features:"))?;
    features.contains("shstk").then_some("it has a shadow stack")
}

// Position-independent, without data of its own. A thread is sent to `map` or to `run` with its registers below its
// red zone, in the order in which `leave` takes them; `iretq` takes the instruction pointer, the flags and the stack
// pointer in one step, so there is no instant in which a signal could not come.
global_asm!(
    ".pushsection .rodata.warplens_inject, \"a\", @progbits",
    ".balign 16",
    ".global warplens_inject_begin",
    "warplens_inject_begin:",
    // The system call whose number and arguments are in the registers; its answer is in the process's map. r12: the
    // signal for the tracer, or 0.
    "warplens_inject_map:",
    "syscall",
    "mov r14, r12",
    "jmp 7f",
    ".global warplens_inject_run",
    // r15: the room.
    "warplens_inject_run:",
    "mov qword ptr [r15 + {state}], {busy}",
    "mov eax, 14", // rt_sigprocmask: every signal waits
    "mov edi, 2",
    "lea rsi, [r15 + {blocked}]",
    "lea rdx, [r15 + {mask}]",
    "mov r10d, {mask_bytes}",
    "syscall",
    "mov eax, -1",
    "mov edx, -1",
    "xsave64 [r15 + {vectors}]",
    "lea r14, [r15 + {calls}]",
    "mov rbx, [r15 + {count}]",
    "2:",
    "test rbx, rbx",
    "jz 9f",
    "mov rax, [r14 + {only_if}]",
    "test rax, rax",
    "jz 3f",
    "cmp qword ptr [r15 + rax], 0",
    "je 6f",
    "3:",
    "mov rax, [r14 + {unless}]",
    "test rax, rax",
    "jz 3f",
    "cmp qword ptr [r15 + rax], 0",
    "jne 6f",
    "3:",
    "mov rdi, [r14 + {first}]",
    "mov rax, [r14 + {first_from}]",
    "test rax, rax",
    "jz 4f",
    "mov rdi, [r15 + rax]",
    "4:",
    "mov r11, [r14 + {function}]",
    "mov rax, [r14 + {function_from}]",
    "test rax, rax",
    "jz 5f",
    "mov r11, [r15 + rax]",
    "5:",
    "mov rsi, [r14 + {second}]",
    "xor eax, eax",
    "call r11",
    "mov [r14 + {result}], rax",
    "6:",
    "add r14, {call_bytes}",
    "dec rbx",
    "jmp 2b",
    "9:",
    "mov eax, -1",
    "mov edx, -1",
    "xrstor64 [r15 + {vectors}]",
    "mov qword ptr [r15 + {state}], {done}",
    "mov eax, 14", // rt_sigprocmask: the mask as it was
    "mov edi, 2",
    "lea rsi, [r15 + {mask}]",
    "xor edx, edx",
    "mov r10d, {mask_bytes}",
    "syscall",
    "mov r14, [r15 + {wake}]",
    "7:",
    "test r14, r14",
    "jz 8f",
    "mov eax, 39", // getpid, as its own namespace counts
    "syscall",
    "mov rbx, rax",
    "mov eax, 186", // gettid
    "syscall",
    "mov rdi, rbx",
    "mov rsi, rax",
    "mov rdx, r14",
    "mov eax, 234", // tgkill
    "syscall",
    "8:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rbx",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "iretq",
    ".global warplens_inject_end",
    "warplens_inject_end:",
    ".popsection",
    blocked = const Offset::BLOCKED,
    mask = const Offset::MASK,
    mask_bytes = const MASK_BYTES,
    vectors = const Offset::VECTORS,
    calls = const Offset::CALLS,
    count = const Offset::COUNT,
    state = const Offset::STATE,
    wake = const Offset::WAKE,
    busy = const room::BUSY,
    done = const room::DONE,
    only_if = const Offset::CALL_ONLY_IF,
    unless = const Offset::CALL_UNLESS,
    first = const Offset::CALL_FIRST,
    first_from = const Offset::CALL_FIRST_FROM,
    function = const Offset::CALL_FUNCTION,
    function_from = const Offset::CALL_FUNCTION_FROM,
    second = const Offset::CALL_SECOND,
    result = const Offset::CALL_RESULT,
    call_bytes = const Offset::CALL_BYTES,
);

unsafe extern "C" {
    static warplens_inject_begin: u8;
    static warplens_inject_run: u8;
    static warplens_inject_end: u8;
}

/// The code, which runs at any address.
pub(in crate::inject) fn code() -> &'static [u8] {
    let (begin, end) = (&raw const warplens_inject_begin, &raw const warplens_inject_end);
    // SAFETY: both mark bytes of one section of this program, which is never unmapped.
    unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}

/// Where in the code a thread starts that runs calls.
fn run_offset() -> u64 {
    let (begin, run) = (&raw const warplens_inject_begin, &raw const warplens_inject_run);
    (run.addr() - begin.addr()) as u64
}

/// Registers to start with, and what must lie on the stack for the code to end with.
pub(in crate::inject) struct Start {
    pub(in crate::inject) registers: Registers,
    pub(in crate::inject) stack: u64,
    pub(in crate::inject) bytes: Vec<u8>,
}

/// Words that `leave` takes.
const LEFT: usize = 20;

fn start(resumed: &Registers, rip: u64) -> Start {
    let words: [u64; LEFT] = [
        resumed.r15,
        resumed.r14,
        resumed.r13,
        resumed.r12,
        resumed.r11,
        resumed.r10,
        resumed.r9,
        resumed.r8,
        resumed.rbp,
        resumed.rbx,
        resumed.rdi,
        resumed.rsi,
        resumed.rdx,
        resumed.rcx,
        resumed.rax,
        resumed.rip,
        resumed.cs,
        resumed.eflags,
        resumed.rsp,
        resumed.ss,
    ];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // Functions are called with the stack pointer a multiple of 16.
    let stack = resumed.rsp.wrapping_sub(RED_ZONE + bytes.len() as u64) & !15;
    let eflags = resumed.eflags & !FLAGS_CLEAR;
    let registers = Registers { rip, rsp: stack, eflags, orig_rax: u64::MAX, ..*resumed };
    Start { registers, stack, bytes }
}

/// Maps `bytes` of memory for reading and writing at `address`, if nothing is there.
pub(in crate::inject) fn map(
    resumed: &Registers,
    code: u64,
    address: u64,
    bytes: u64,
    wake: Option<u32>,
) -> Start {
    /// `MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE`: without a reservation, so that it is not
    /// merged with a neighbour.
    const FLAGS: u64 = 0x02 | 0x20 | 0x4000 | 0x10_0000;
    let mut start = start(resumed, code);
    start.registers = Registers {
        rax: MMAP,
        rdi: address,
        rsi: bytes,
        rdx: 3,
        r10: FLAGS,
        r8: u64::MAX,
        r9: 0,
        r12: wake.map_or(0, u64::from),
        ..start.registers
    };
    start
}

/// Makes the calls in the room.
pub(in crate::inject) fn run(resumed: &Registers, code: u64, room: u64) -> Start {
    let mut start = start(resumed, code + run_offset());
    start.registers.r15 = room;
    start
}

/// Bytes that this processor's vector registers take (`XSAVE`).
pub(in crate::inject) fn vector_bytes() -> u64 {
    // Leaf 13 is there where `XSAVE` is, on every processor that runs CUDA's libraries.
    u64::from(x86_64::__cpuid_count(0xd, 0).ebx)
}
