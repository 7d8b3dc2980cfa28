//! The frames of a Python interpreter, by offsets that user space looked up.
//!
//! Everything here is memory of the process, which may change or lie: every address is read by a
//! helper that checks it, there are at most [`PYTHON_FRAMES`] steps, and a wrong offset picks other
//! bytes of the same window.

#![expect(clippy::cast_possible_truncation, reason = "a 64-bit machine; numbers of frames")]

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_loop, bpf_probe_read_kernel, bpf_probe_read_user, generated,
};
use wire::kernel::{NO_OFFSET, PYTHON_ENTRY, PythonFrame, PythonLayout, python_walk};
use wire::limits::PYTHON_FRAMES;

use crate::filter::Task;
use crate::maps::{PYTHONS, SCRATCH};
use crate::scratch::{Claim, Place, WINDOW};

/// Offset of `task_struct.thread.fsbase`; the agent stores it before loading (`wire::kernel::task`).
#[unsafe(no_mangle)]
static TASK_FSBASE_OFFSET: u32 = 0;

/// What a walk found.
#[derive(Clone, Copy)]
pub struct Walked {
    /// Frames at the begin of the place's body.
    pub frames: u32,
    /// One of `python_walk`.
    pub outcome: u32,
    pub holds_gil: bool,
}

/// A thread's interpreter state and the frame it is in.
#[derive(Clone, Copy)]
struct State {
    thread: u64,
    /// 0: none.
    frame: u64,
}

/// What one step of a walk needs, kept on the program's stack.
#[repr(C)]
struct Walk {
    frame: u64,
    place: u32,
    taken: u32,
    outcome: u32,
    /// Bytes of a frame that hold all that is picked.
    window: u32,
    code: u32,
    previous: u32,
    instruction: u32,
    instruction_bytes: u32,
    owner: u32,
    entry: u32,
}

/// Walks the frames of the running thread, leaf first, into the claimed place.
#[inline(always)]
pub fn walk(task: Task, claim: Claim) -> Walked {
    let nothing = |outcome| Walked { frames: 0, outcome, holds_gil: false };
    let Some(layout) = layout(task) else {
        return nothing(python_walk::NONE);
    };
    let state = match state(layout) {
        Ok(state) => state,
        Err(outcome) => return nothing(outcome),
    };
    let mut walk = Walk {
        frame: state.frame,
        place: claim.index,
        taken: 0,
        outcome: python_walk::WHOLE,
        window: window(layout),
        code: layout.code,
        previous: layout.previous,
        instruction: layout.instruction,
        instruction_bytes: layout.instruction_bytes,
        owner: layout.owner,
        entry: layout.entry,
    };
    if walk.frame != 0 {
        walk.outcome = python_walk::TRUNCATED;
        let context = (&raw mut walk).cast::<c_void>();
        // SAFETY: the helper calls `step` with the address of `walk`, which outlives the call.
        unsafe { bpf_loop(FRAMES, step as *mut c_void, context, 0) };
    }
    Walked { frames: walk.taken, outcome: walk.outcome, holds_gil: holds_gil(layout, state.thread) }
}

/// What tells the frame the running thread is in from others: its code object, its instruction, and
/// its address, which differs with its callers where they lie behind each other in memory; where they do
/// not, the code object of its caller. Zeroes where there is none.
#[inline(always)]
pub fn leaf(task: Task) -> [u64; 3] {
    let Some(layout) = layout(task) else { return [0; 3] };
    let Ok(State { frame, .. }) = state(layout) else { return [0; 3] };
    if frame == 0 {
        return [0; 3];
    }
    let instruction = frame.wrapping_add(u64::from(layout.instruction));
    [
        user::<u64>(frame.wrapping_add(u64::from(layout.code))).unwrap_or(0),
        if layout.instruction_bytes == 4 {
            user::<u32>(instruction).unwrap_or(0).into()
        } else {
            user::<u64>(instruction).unwrap_or(0)
        },
        if is_on_stack(layout, frame) { frame } else { caller(layout, frame) },
    ]
}

/// The code object of a frame's caller; 0 where there is none.
#[inline(always)]
fn caller(layout: &PythonLayout, frame: u64) -> u64 {
    let Some(caller) = user::<u64>(frame.wrapping_add(u64::from(layout.previous))) else {
        return 0;
    };
    user::<u64>(caller.wrapping_add(u64::from(layout.code))).unwrap_or(0)
}

/// The frame lies on the thread's stack of frames. Those of generators and, before 3.11, all are objects
/// of their own, at another address each time.
#[inline(always)]
fn is_on_stack(layout: &PythonLayout, frame: u64) -> bool {
    layout.owner != NO_OFFSET
        && user::<u8>(frame.wrapping_add(u64::from(layout.owner))) == Some(OWNED_BY_THREAD)
}

/// `FRAME_OWNED_BY_THREAD` of CPython 3.11 and later.
const OWNED_BY_THREAD: u8 = 0;

const FRAMES: u32 = PYTHON_FRAMES as u32;

#[inline(always)]
fn layout(task: Task) -> Option<&'static PythonLayout> {
    // SAFETY: an element of a preallocated map. The agent may change it under our eyes; then what
    // is read is wrong for one stack, and checked like everything else.
    PYTHONS.get_ptr(task.tgid).map(|layout| unsafe { &*layout })
}

/// Reads a word of the process.
#[inline(always)]
fn user<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and answers with an error where it is not readable.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// Where the running thread's interpreter state is, by the slot the C library keeps it in.
#[inline(always)]
fn state(layout: &PythonLayout) -> Result<State, u32> {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() };
    // SAFETY: a static of this program that the loader filled; volatile, or the compiler would
    // take the value it sees here.
    let offset = unsafe { ptr::read_volatile(&raw const TASK_FSBASE_OFFSET) };
    let address = task.wrapping_add(u64::from(offset)) as *const u64;
    // SAFETY: the helper checks the address and answers with an error where it is not readable.
    let pointer = unsafe { bpf_probe_read_kernel(address) }.unwrap_or(0);
    if pointer == 0 {
        return Err(python_walk::NO_THREAD_STATE);
    }
    let thread: u64 = user(pointer.wrapping_add(layout.thread_state.cast_unsigned()))
        .ok_or(python_walk::FAULT)?;
    if thread == 0 {
        return Err(python_walk::NO_THREAD_STATE);
    }
    let mut frame: u64 =
        user(thread.wrapping_add(u64::from(layout.frame))).ok_or(python_walk::FAULT)?;
    if layout.cframe != NO_OFFSET && frame != 0 {
        frame = user(frame.wrapping_add(u64::from(layout.cframe))).ok_or(python_walk::FAULT)?;
    }
    Ok(State { thread, frame })
}

#[inline(always)]
fn holds_gil(layout: &PythonLayout, thread: u64) -> bool {
    layout.gil_locked != 0
        && layout.gil_holder != 0
        && user::<u64>(layout.gil_holder) == Some(thread)
        && user::<u32>(layout.gil_locked).is_some_and(|locked| locked != 0)
}

/// Reading more than the frame may run off the mapping it ends.
#[inline(always)]
fn window(layout: &PythonLayout) -> u32 {
    let mut end = 0;
    reach(&mut end, layout.code, 8);
    reach(&mut end, layout.previous, 8);
    reach(&mut end, layout.instruction, layout.instruction_bytes);
    reach(&mut end, layout.owner, 1);
    reach(&mut end, layout.entry, 1);
    end
}

#[inline(always)]
fn reach(end: &mut u32, offset: u32, bytes: u32) {
    if offset != NO_OFFSET {
        *end = (*end).max(offset.wrapping_add(bytes));
    }
}

/// One frame. A function of its own, because the kernel calls it; it looks its memory up again,
/// because the verifier forgets where a pointer in the context came from.
#[inline(never)]
unsafe extern "C" fn step(index: u64, context: *mut c_void) -> i64 {
    const GO_ON: i64 = 0;
    const STOP: i64 = 1;
    // SAFETY: `walk` passes the address of its `Walk`, which nobody else has.
    let walk = unsafe { &mut *context.cast::<Walk>() };
    let Some(place) = SCRATCH.get_ptr_mut(walk.place) else {
        return STOP;
    };
    let window = walk.window;
    // SAFETY: a field of the map value behind `place`.
    let bytes = unsafe { &raw mut (*place).window };
    let frame = walk.frame as *const c_void;
    // SAFETY: `window` is at most `WINDOW`, tested before; the helper checks the address.
    let read = || unsafe { generated::bpf_probe_read_user(bytes.cast(), window, frame) };
    if window as usize > WINDOW || read() != 0 {
        walk.outcome = python_walk::FAULT;
        return STOP;
    }
    let instruction = if walk.instruction_bytes == 4 {
        u64::from(pick::<u32>(place, walk.instruction))
    } else {
        pick::<u64>(place, walk.instruction)
    };
    let mut marks = 0;
    if walk.owner != NO_OFFSET {
        marks |= u64::from(pick::<u8>(place, walk.owner)) << OWNER_SHIFT;
    }
    if walk.entry != NO_OFFSET && pick::<u8>(place, walk.entry) != 0 {
        marks |= PYTHON_ENTRY;
    }
    let frame = PythonFrame {
        code: pick(place, walk.code),
        instruction: instruction & (PYTHON_ENTRY - 1) | marks,
    };
    let number = index as usize & (PYTHON_FRAMES - 1);
    // SAFETY: a field of the map value behind `place`.
    let frames = unsafe { (&raw mut (*place).body).cast::<PythonFrame>() };
    // SAFETY: `number` is below `PYTHON_FRAMES`, for which the body has room.
    let slot = unsafe { frames.add(number) };
    // SAFETY: as above, and the body is aligned as a frame is.
    unsafe { slot.write(frame) };
    walk.taken = number as u32 + 1;
    walk.frame = pick(place, walk.previous);
    if walk.frame == 0 {
        walk.outcome = python_walk::WHOLE;
        return STOP;
    }
    GO_ON
}

/// The `owner` of a frame in [`PythonFrame::instruction`].
const OWNER_SHIFT: u32 = 56;

/// A field of the window. A wrong offset picks another one of the same alignment.
#[inline(always)]
fn pick<T: Copy>(place: *mut Place, offset: u32) -> T {
    let offset = offset as usize & (WINDOW - 1) & !(size_of::<T>() - 1);
    // SAFETY: a field of the map value behind `place`.
    let window = unsafe { (&raw const (*place).window).cast::<u8>() };
    // SAFETY: `offset` is below `WINDOW`.
    let field = unsafe { window.add(offset) }.cast::<T>();
    // SAFETY: `offset` is a multiple of the size of `T`, and so is `WINDOW`: it is aligned and within.
    unsafe { field.read() }
}
