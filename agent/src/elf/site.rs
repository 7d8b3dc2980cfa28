//! What a probe costs where: the first instruction decides (docs/kernels.md has the figures, by kernel).

use crate::bpf::host::KernelVersion;

/// An instruction as far as the price of a probe on it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `0f 1f 44 00 00`, which recent kernels turn into a call.
    Nop5,
    /// `90`, emulated.
    Nop1,
    /// `66 90`, emulated.
    Nop2,
    /// `50` to `57`, also behind `41`: a register is pushed; emulated.
    Push,
    /// `f3 0f 1e fa`, single-stepped out of line.
    EndBr64,
    /// Anything else: single-stepped out of line as far as is known.
    Other,
}

/// From this kernel on a 5-byte nop is turned into a call. Older ones may single-step it.
const NOP5_OPTIMISED: KernelVersion = KernelVersion::new(6, 18);

const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

impl Instruction {
    /// The first instruction of `code`.
    pub fn decode(code: &[u8]) -> Self {
        match code {
            code if code.starts_with(&NOP5) => Self::Nop5,
            [0x90, ..] => Self::Nop1,
            [0x66, 0x90, ..] => Self::Nop2,
            [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..] => Self::Push,
            [0xf3, 0x0f, 0x1e, 0xfa, ..] => Self::EndBr64,
            _ => Self::Other,
        }
    }

    /// Nanoseconds a hit costs the probed thread with an empty program, as measured on one
    /// virtual machine (2 CPUs, Zen 4, Linux 6.18): an order of magnitude elsewhere.
    pub fn cost_ns(self, kernel: KernelVersion) -> u32 {
        match self {
            Self::Nop5 if kernel >= NOP5_OPTIMISED => 453,
            Self::Nop1 | Self::Nop2 => 616,
            Self::Push => 660,
            Self::Nop5 | Self::EndBr64 | Self::Other => 10_000,
        }
    }

    /// The kernel needs no single step, so that the cost is below a microsecond.
    pub fn is_fast(self, kernel: KernelVersion) -> bool {
        self.cost_ns(kernel) < 1000
    }
}

/// A place in a function to put a probe on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes behind the function's first.
    pub skip: u8,
    pub instruction: Instruction,
    /// See [`Instruction::cost_ns`].
    pub cost_ns: u32,
}

impl Site {
    /// The function's first instruction.
    pub fn first(code: &[u8], kernel: KernelVersion) -> Self {
        let instruction = Instruction::decode(code);
        Self { skip: 0, instruction, cost_ns: instruction.cost_ns(kernel) }
    }

    /// The cheapest of the function's first instruction and the nops at its entry, where
    /// arguments and stack are still untouched. The earliest of equals.
    pub fn choose(code: &[u8], kernel: KernelVersion) -> Self {
        let mut best = Self::first(code, kernel);
        let mut skip = 0;
        while let Some(rest) = code.get(usize::from(skip)..) {
            let instruction = Instruction::decode(rest);
            let length = match instruction {
                Instruction::Nop5 => 5,
                Instruction::Nop2 => 2,
                Instruction::Nop1 => 1,
                Instruction::Push | Instruction::EndBr64 | Instruction::Other => break,
            };
            let cost_ns = instruction.cost_ns(kernel);
            if cost_ns < best.cost_ns {
                best = Self { skip, instruction, cost_ns };
            }
            skip += length;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: KernelVersion = KernelVersion::new(6, 18);
    const OLD: KernelVersion = KernelVersion::new(6, 1);

    #[test]
    fn the_first_instruction_is_told_from_others() {
        let check =
            |code: &[u8], expected| assert_eq!(Instruction::decode(code), expected, "{code:02x?}");
        check(&[0x0f, 0x1f, 0x44, 0x00, 0x00, 0xc3], Instruction::Nop5);
        check(&[0x0f, 0x1f, 0x44, 0x00], Instruction::Other);
        check(&[0x90], Instruction::Nop1);
        check(&[0x66, 0x90, 0xc3], Instruction::Nop2);
        check(&[0x66, 0x0f, 0x1f, 0x00], Instruction::Other);
        check(&[0x55, 0x48, 0x89, 0xe5], Instruction::Push);
        check(&[0x41, 0x57, 0x41, 0x56], Instruction::Push);
        check(&[0x41, 0x58, 0xc3], Instruction::Other);
        check(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55], Instruction::EndBr64);
        check(&[0x48, 0x83, 0xec, 0x08], Instruction::Other);
        check(&[], Instruction::Other);
    }

    #[test]
    fn the_cheapest_nop_at_the_entry_is_chosen() {
        let check = |code: &[u8], kernel, skip, instruction| {
            let site = Site::choose(code, kernel);
            assert_eq!(
                (site.skip, site.instruction),
                (skip, instruction),
                "{code:02x?} on {kernel}"
            );
        };
        let probe_point = [0x0f, 0x1f, 0x44, 0x00, 0x00, 0x90, 0xc3];
        check(&probe_point, NEW, 0, Instruction::Nop5);
        check(&probe_point, OLD, 5, Instruction::Nop1);
        // Behind the first real instruction arguments may be gone.
        check(&[0xf3, 0x0f, 0x1e, 0xfa, 0x90], OLD, 0, Instruction::EndBr64);
        check(&[0x90; 16], NEW, 0, Instruction::Nop1);
        check(&[0x66, 0x90, 0xc3], OLD, 0, Instruction::Nop2);
        // Nops of two bytes may stand before one of five.
        check(&[0x66, 0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00], NEW, 2, Instruction::Nop5);
    }
}
