//! Which code is CPython's evaluation loop. A native frame in it is an activation of the loop, and
//! stands for a run of Python frames.
//!
//! Compilers split the function: GCC moves cold blocks away, and of Debian's 3.14 the symbol covers an
//! entry of 1 kB only. A part has unwind information of its own and often no symbol, and it is reached by
//! jumps. So the parts are found by following jumps: a conditional one, or one into the middle of
//! another part, never leaves a function; a plain jump to the beginning of one may be a tail call.

use std::collections::VecDeque;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::memory::Memory;

/// Parts of the function. Three are the most that were seen.
const PARTS_MAX: usize = 16;

/// Bytes of one part: the largest loop seen has 100 kB.
const PART_BYTES_MAX: u64 = 1 << 20;

/// The parts of the function that begins with `first`, by address. `function_at` gives the piece of
/// code that unwind information describes as one.
pub(super) fn parts(
    memory: &impl Memory,
    code: &[Range<u64>],
    first: Range<u64>,
    mut function_at: impl FnMut(u64) -> Option<Range<u64>>,
) -> Vec<Range<u64>> {
    let mut parts = vec![first.clone()];
    let mut open = VecDeque::from([first]);
    while let Some(part) = open.pop_front() {
        for jump in jumps(memory, &part) {
            let known = parts.iter().any(|part| part.contains(&jump.target));
            let is_code = code.iter().any(|code| code.contains(&jump.target));
            if known || !is_code || parts.len() >= PARTS_MAX {
                continue;
            }
            if let Some(other) = function_at(jump.target)
                && other.contains(&jump.target)
                && (jump.conditional || jump.target != other.start)
            {
                parts.push(other.clone());
                open.push_back(other);
            }
        }
    }
    parts.sort_unstable_by_key(|part| part.start);
    parts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    target: u64,
    conditional: bool,
}

/// Jumps to fixed addresses outside of `part`. Compilers for this machine put no data between
/// instructions; where somebody else does, decoding finds its way again after a few bytes.
fn jumps(memory: &impl Memory, part: &Range<u64>) -> Vec<Jump> {
    let length = part.end.saturating_sub(part.start);
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= PART_BYTES_MAX) else {
        return Vec::new();
    };
    let mut bytes = vec![0; length];
    if !memory.read(part.start, &mut bytes) {
        return Vec::new();
    }
    let mut decoder = Decoder::with_ip(64, &bytes, part.start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut jumps = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let conditional = match instruction.flow_control() {
            FlowControl::ConditionalBranch => true,
            FlowControl::UnconditionalBranch => false,
            _ => continue,
        };
        let target = instruction.near_branch_target();
        let jump = Jump { target, conditional };
        if target != 0 && !part.contains(&target) && !jumps.contains(&jump) {
            jumps.push(jump);
        }
    }
    jumps
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::Fake;
    use super::*;

    /// Code at 0x1000 that does nothing but jump.
    fn code(jumps: &[(&[u8], u64)]) -> (Fake, Range<u64>) {
        let mut bytes = Vec::new();
        for (operation, target) in jumps {
            bytes.extend_from_slice(operation);
            let next = 0x1000 + bytes.len() as u64 + 4;
            let distance = u32::try_from(target.wrapping_sub(next) & 0xffff_ffff).unwrap();
            bytes.extend(distance.to_le_bytes());
        }
        let end = 0x1000 + bytes.len() as u64;
        let mut memory = Fake::default();
        memory.put(0x1000, &bytes);
        (memory, 0x1000..end)
    }

    fn only(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    const JE: &[u8] = &[0x0f, 0x84];
    const JMP: &[u8] = &[0xe9];

    #[test]
    fn parts_are_found_by_the_jumps_into_them() {
        let (mut memory, first) =
            code(&[(JE, 0x8000), (JMP, 0x9010), (JMP, 0xa000), (JE, 0xdead_0000)]);
        // The second part jumps on into a third.
        memory.put(0x8000, &[0x0f, 0x84, 0x7a, 0x3f, 0, 0]);
        memory.put(0x8006, &[0x90; 0xfa]);
        let functions = [0x8000..0x8100, 0x9000..0x9100, 0xa000..0xa100, 0xbf00..0xc000];
        let at = |address: u64| functions.iter().find(|range| range.contains(&address)).cloned();
        let found = parts(&memory, &only(0x1000..0x10000), first.clone(), at);
        assert_eq!(found, [first, 0x8000..0x8100, 0x9000..0x9100, 0xbf00..0xc000]);
    }

    #[test]
    fn code_that_cannot_be_read_has_one_part() {
        let first = 0x1000..0x2000;
        let all = only(0..u64::MAX);
        assert_eq!(parts(&Fake::default(), &all, first.clone(), |_| None), [first]);
        let huge = 0..u64::MAX;
        assert_eq!(parts(&Fake::default(), &all, huge.clone(), |_| None), [huge]);
    }

    #[test]
    fn a_maze_of_parts_ends() {
        let (memory, first) = code(&(0..64).map(|n| (JE, 0x8000 + n * 16)).collect::<Vec<_>>());
        let found =
            parts(&memory, &only(0x1000..0x10000), first, |address| Some(address..address + 16));
        assert_eq!(found.len(), PARTS_MAX);
    }
}
