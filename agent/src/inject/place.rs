//! Whether a stopped thread may call the loader: it must hold none of the locks that loading a library takes,
//! those of the allocator and of the loader itself.
//!
//! A thread that sleeps in a system call its program made to wait for something is in neither: they sleep on
//! plain futexes, and the loader's own reads show in the stack.

use crate::proc::Mapping;
use crate::unwind::{Copied, End, NativeFrame, Unwinder};

use super::arch::{self, RED_ZONE, Registers};
use super::error::InjectError;
use super::tracee::Tracee;

/// Bytes of the stack looked at: Python's calls of C use some hundred for each.
const STACK: usize = 1 << 20;

/// The registers to go on with, if the thread is at a safe place.
pub(super) fn safe(
    tracee: &Tracee,
    pid: u32,
    mappings: &[Mapping],
    unwinder: &mut Unwinder,
) -> Result<Option<Registers>, InjectError> {
    let Some(waiting) = tracee.waiting()? else {
        return Ok(None);
    };
    let registers = tracee.registers()?;
    let start = arch::stack(&registers).wrapping_sub(RED_ZONE);
    let bytes = tracee.memory.read(start, STACK);
    let longer = bytes.len() == STACK;
    let general = arch::general(&registers);
    let mut frames: Vec<NativeFrame> = Vec::new();
    let copied = Copied { registers: &general, start, bytes: &bytes, longer };
    if unwinder.unwind(pid, &copied, &mut frames) != End::Root {
        return Ok(None);
    }
    let in_loader = |frame: &NativeFrame| {
        let at = mappings.iter().find(|map| map.start <= frame.address && frame.address < map.end);
        at.is_none_or(|map| map.file_name().starts_with("ld-"))
    };
    Ok((!frames.iter().any(in_loader)).then_some(waiting.again))
}
