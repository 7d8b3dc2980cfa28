//! The page to which Linux (from 6.18 on) sends a thread that comes to an optimised uprobe, which replaces a nop of five
//! bytes by a call. Its memory cannot be read from outside, so its code is written down here, as the kernel's
//! `arch/x86/kernel/uprobes.c` has it. Another kernel's may differ: a caller is believed only where the return
//! address is right behind such a nop in its file.

use super::Copied;
use super::row::{RETURN_ADDRESS, STACK_POINTER, State};

/// As `/proc/PID/maps` names it.
pub(super) const NAME: &str = "[uprobes-trampoline]";

/// What stands at a probe in its file.
pub(super) const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Where each instruction begins, and how many words were pushed by then: rcx, r11, rax, the system call's number, the
/// call; and back.
const PUSHED: [(u64, u64); 9] =
    [(0, 0), (1, 1), (3, 2), (4, 3), (11, 3), (13, 3), (14, 2), (16, 1), (17, 0)];

/// The probed function, as it goes on behind the nop. `is_behind_nop` looks at the code in front of an address.
pub(super) fn leave(
    offset: u64,
    state: &State,
    stack: &Copied<'_>,
    is_behind_nop: impl FnOnce(u64) -> bool,
) -> Option<State> {
    let (_, pushed) = PUSHED.into_iter().find(|&(at, _)| at == offset)?;
    let place = state.stack_pointer().checked_add(pushed * 8)?;
    let back = stack.value(place, 8).ok().filter(|&back| is_behind_nop(back))?;
    let mut caller = state.after_return();
    caller.set(STACK_POINTER, place.checked_add(8));
    caller.set(RETURN_ADDRESS, Some(back));
    Some(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: u64 = 0x5555_0005;

    #[test]
    fn at_each_instruction_the_return_address_is_found() {
        let words: [u64; 6] = [1, 2, 3, BACK, 5, 6];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let stack = |start| Copied { registers: &[0; 17], start, bytes: &bytes, longer: false };
        let is_behind_nop = |address| address == BACK;
        for (offset, pushed) in PUSHED {
            let mut registers = [7; 17];
            let pointer = 0x7000 + (3 - pushed) * 8;
            registers[usize::from(STACK_POINTER)] = pointer;
            let state = State::of_leaf(&registers);
            let caller = leave(offset, &state, &stack(0x7000), is_behind_nop).unwrap();
            assert_eq!((caller.instruction_pointer(), caller.stack_pointer()), (BACK, 0x7020));
            // rbx is as it was; rcx is not known.
            assert_eq!((caller.get(3), caller.get(2)), (Some(7), None));
            // In the middle of an instruction, elsewhere on the stack, and where it was not copied.
            assert!(leave(2, &state, &stack(0x7000), is_behind_nop).is_none());
            assert!(leave(offset, &state, &stack(0x7008), is_behind_nop).is_none());
            assert!(leave(offset, &state, &stack(0x9000), is_behind_nop).is_none());
        }
    }
}
