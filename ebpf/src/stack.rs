//! Takes what a stack is unwound from: registers, kernel frames, Python frames, and the thread's
//! stack as bytes. All of one instant, because the thread is the running one.
//!
//! The bytes are a user's data. They go into the ring buffer, from which the agent unwinds them, and
//! nowhere else.

#![expect(clippy::cast_possible_truncation, reason = "a 64-bit machine; lengths within a place")]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_stack, generated};
use wire::kernel::{StackCopy, counter, event_kind, python_walk, stack_flag};
use wire::limits::{KERNEL_FRAMES, STACK_COPY_BYTES};

use crate::emit::{self, count, now};
use crate::filter::Task;
use crate::python::{self, Walked};
use crate::registers::Registers;
use crate::scratch::{Claim, PAGE, PYTHON_BYTES, Place, User};

/// What a stack says beside the stack.
#[derive(Clone, Copy)]
pub struct Subject {
    /// One of `wire::kernel::event_kind`.
    pub of: u32,
    pub correlation: u32,
    pub weight: u32,
    pub thread: u32,
    pub key: u64,
    pub user: User,
    /// The thread is in the kernel, beyond the trap that called the program.
    pub in_kernel: bool,
    /// Counter of stacks of this kind that reached the ring buffer.
    pub taken: u32,
}

/// Takes the stack of the running thread. `PYTHON`: walks Python's frames, which needs `bpf_loop`.
#[inline(always)]
pub fn take<const PYTHON: bool>(ctx: &impl EbpfContext, task: Task, subject: &Subject) {
    let Some(claim) = Claim::of(subject.user) else {
        count(counter::SCRATCH_BUSY);
        return;
    };
    if let Some(place) = claim.memory() {
        let bytes = fill::<PYTHON>(ctx, task, subject, claim, place);
        emit::stack(place, bytes, subject);
    } else {
        count(counter::SCRATCH_BUSY);
    }
    claim.give_back();
}

/// Fills the place and returns how many of its bytes count.
#[inline(always)]
fn fill<const PYTHON: bool>(
    ctx: &impl EbpfContext,
    task: Task,
    subject: &Subject,
    claim: Claim,
    place: *mut Place,
) -> u64 {
    let registers = Registers::current();
    // SAFETY: the claim makes this program the only one that uses the memory, and any bytes are a
    // `StackCopy`, which its derive of `FromBytes` proves.
    let head = unsafe { &mut (*place).head };
    head.kind = event_kind::STACK_COPY;
    head.of = subject.of;
    head.time_ns = now();
    head.tgid = task.tgid;
    head.tid = task.tid;
    head.correlation = subject.correlation;
    head.weight = subject.weight;
    head.thread = subject.thread;
    head.cpu = emit::cpu();
    head.key = subject.key;
    head.flags = 0;
    registers.store(&mut head.registers);
    head.kernel = [0; KERNEL_FRAMES];
    head.kernel_frames = 0;
    head.syscall = -1;
    if subject.in_kernel {
        head.flags |= stack_flag::IN_KERNEL;
        head.syscall = registers.syscall();
        head.kernel_frames = kernel_frames(ctx, subject.user, head);
    }
    // Threads of the kernel that work for a process have no registers in user mode, and what else
    // they have of a thread is a copy of another's.
    let walked = if PYTHON && registers.instruction() != 0 {
        python::walk(task, claim)
    } else {
        Walked { frames: 0, outcome: python_walk::NONE, holds_gil: false }
    };
    if walked.holds_gil {
        head.flags |= stack_flag::HOLDS_GIL;
    }
    head.python = walked.outcome;
    let mut python = u64::from(walked.frames) * FRAME_BYTES;
    if python > PYTHON_BYTES as u64 {
        python = PYTHON_BYTES as u64;
    }
    head.python_frames = walked.frames;
    let copied = copy(place, python, registers.stack());
    head.stack_start = copied.start;
    if copied.longer {
        head.flags |= stack_flag::STACK_LONGER;
    }
    if copied.bytes == 0 {
        count(counter::STACK_FAILED);
    }
    head.stack_bytes = copied.bytes as u32;
    HEAD_BYTES + python + copied.bytes
}

const HEAD_BYTES: u64 = size_of::<StackCopy>() as u64;
const FRAME_BYTES: u64 = size_of::<wire::kernel::PythonFrame>() as u64;
const PAGE_BYTES: u64 = PAGE as u64;

/// The kernel's part of the stack, leaf first.
#[inline(always)]
fn kernel_frames(ctx: &impl EbpfContext, user: User, head: &mut StackCopy) -> u32 {
    const BYTES: u32 = size_of::<[u64; KERNEL_FRAMES]>() as u32;
    let to = head.kernel.as_mut_ptr();
    // On a tracepoint the first frame is this program itself, elsewhere what was interrupted.
    let skip = match user {
        User::Switch => 1,
        User::Clock | User::Probe => 0,
    };
    // SAFETY: the helper writes at most `BYTES` bytes, which is the length of `kernel`.
    let bytes = unsafe { bpf_get_stack(ctx.as_ptr(), to.cast(), BYTES, skip) };
    match u32::try_from(bytes) {
        Ok(bytes) if bytes <= BYTES => bytes / size_of::<u64>() as u32,
        Ok(_) | Err(_) => 0,
    }
}

/// Bytes below the stack pointer that a function may use without moving it (System V ABI, AMD64,
/// 3.2.2): a leaf may have saved registers there, and `OpenSSL`'s hashes where their frame is.
const RED_ZONE: u64 = 128;

struct Copied {
    /// Address of the first byte.
    start: u64,
    bytes: u64,
    longer: bool,
}

/// Copies the stack with its red zone behind the Python frames, page by page, because the helper takes all or
/// nothing and stacks end with a page: the rest of the first page, seven whole ones, and as much of another as
/// makes up [`STACK_COPY_BYTES`].
#[inline(always)]
fn copy(place: *mut Place, at: u64, stack: u64) -> Copied {
    const WHOLE: u64 = STACK_COPY_BYTES as u64 / PAGE_BYTES - 1;
    let mut start = stack.wrapping_sub(RED_ZONE) & !(RED_ZONE / 2 - 1);
    let mut first = PAGE_BYTES - (start & (PAGE_BYTES - 1));
    if !copy_piece(place, at, start, first) {
        // The red zone may lie on a page that nobody has used yet.
        start = stack & !(PAGE_BYTES - 1);
        first = PAGE_BYTES;
        if !copy_piece(place, at, start, first) {
            return Copied { start, bytes: 0, longer: false };
        }
    }
    let mut bytes = first;
    let mut page = 0;
    while page < WHOLE {
        if !copy_piece(place, at + bytes, start.wrapping_add(bytes), PAGE_BYTES) {
            return Copied { start, bytes, longer: false };
        }
        bytes += PAGE_BYTES;
        page += 1;
    }
    let last = PAGE_BYTES - first;
    if last == 0 {
        return Copied { start, bytes, longer: true };
    }
    if !copy_piece(place, at + bytes, start.wrapping_add(bytes), last) {
        return Copied { start, bytes, longer: false };
    }
    Copied { start, bytes: bytes + last, longer: true }
}

#[inline(always)]
fn copy_piece(place: *mut Place, at: u64, from: u64, bytes: u64) -> bool {
    // SAFETY: a field of the map value behind `place`.
    let body = unsafe { (&raw mut (*place).body).cast::<u8>() };
    // SAFETY: `at` and `bytes` are within the body by how `copy` bounds them, as the verifier checks.
    let to = unsafe { body.add(at as usize) };
    // SAFETY: as above; the helper checks `from`.
    unsafe { generated::bpf_probe_read_user(to.cast(), bytes as u32, from as *const _) == 0 }
}
