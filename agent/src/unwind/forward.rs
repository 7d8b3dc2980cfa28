//! The caller of code without unwind information, by carrying the code out up to its return: code
//! made at run time, hand-written loops of math libraries, trampolines.
//!
//! Whatever way a function takes to its `ret`, there the stack pointer is at its return address and the
//! registers it must preserve have their values again. So from the copied registers and stack any way
//! will do: branches are taken either way until one ends. Only what moves the stack and registers is
//! carried out; what is computed is not known, and a way that needs it is given up.

use std::collections::HashSet;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::Copied;
use super::row::{RETURN_ADDRESS, STACK_POINTER, State};

/// Instructions looked at. A loop that a matrix library unrolls has a thousand.
const INSTRUCTIONS_MAX: usize = 4096;

/// Ways kept for later.
const PENDING_MAX: usize = 256;

/// Words of the stack that the code may write on its way: more than the registers it saves.
const WRITTEN_MAX: usize = 64;

/// Bytes of code read at once.
const WINDOW: usize = 1024;

/// The longest instruction.
const INSTRUCTION_BYTES: usize = 15;

/// What the target's memory holds.
pub(super) trait Target {
    /// Code from `address` on, up to the length of `buffer`; the number of bytes there are.
    fn code(&mut self, address: u64, buffer: &mut [u8]) -> usize;
    /// A word of data.
    fn word(&mut self, address: u64) -> Option<u64>;
    /// Unwind information describes what is at `address`.
    fn is_described(&mut self, address: u64) -> bool;
}

/// Where carrying out the code led.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reached {
    /// The caller, right behind its call.
    Caller(State),
    /// The first instruction of other code, which knows how to go on.
    Described(State),
}

/// Follows the code from where `state` stands.
pub(super) fn follow(
    state: &State,
    stack: &Copied<'_>,
    target: &mut impl Target,
) -> Option<Reached> {
    let mut pending = vec![Machine { state: *state, written: Vec::new(), stack }];
    let (mut seen, mut code) = (HashSet::new(), Code::default());
    let mut information = InstructionInfoFactory::new();
    let mut left = INSTRUCTIONS_MAX;
    while let Some(mut machine) = pending.pop() {
        while left > 0 && seen.insert(machine.state.instruction_pointer()) {
            left -= 1;
            let Some(instruction) = code.at(machine.state.instruction_pointer(), target) else {
                break;
            };
            match machine.carry_out(&instruction, &mut information, target) {
                Some(Next::Either(there)) if pending.len() < PENDING_MAX => {
                    let behind = machine.state.instruction_pointer();
                    let mut branch = machine.clone();
                    // Forwards over what a branch skips, and out of loops: the end is near that way.
                    if there > behind {
                        machine.go(there);
                    } else {
                        branch.go(there);
                    }
                    pending.push(branch);
                }
                Some(Next::There(address)) if target.is_described(address) => {
                    return Some(Reached::Described(machine.state));
                }
                Some(Next::Behind | Next::There(_)) => {}
                Some(Next::Returned) => {
                    if is_behind_a_call(machine.state.instruction_pointer(), target) {
                        return Some(Reached::Caller(machine.state.after_return()));
                    }
                    break;
                }
                Some(Next::Either(_)) | None => break,
            }
        }
    }
    None
}

/// The instruction that ends at `address` is a call.
fn is_behind_a_call(address: u64, target: &mut impl Target) -> bool {
    /// A direct call has 5 bytes; an indirect one 2 to 8.
    const LENGTHS: std::ops::RangeInclusive<usize> = 2..=8;
    let longest = *LENGTHS.end();
    let mut bytes = [0; 8];
    let Some(start) = address.checked_sub(longest as u64) else { return false };
    if target.code(start, &mut bytes) < longest {
        return false;
    }
    LENGTHS.into_iter().any(|length| {
        let bytes = bytes.get(longest - length..).unwrap_or_default();
        let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        let calls =
            matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        calls && instruction.len() == length && instruction.mnemonic() == Mnemonic::Call
    })
}

/// What comes after an instruction.
enum Next {
    Behind,
    /// Behind it, or here.
    Either(u64),
    There(u64),
    Returned,
}

/// Registers and stack on one way.
#[derive(Clone)]
struct Machine<'a> {
    state: State,
    /// Words of the stack written since, `None` for what is not known.
    written: Vec<(u64, Option<u64>)>,
    stack: &'a Copied<'a>,
}

impl Machine<'_> {
    fn go(&mut self, address: u64) {
        self.state.set(RETURN_ADDRESS, Some(address));
    }

    /// `None`: this way cannot be followed.
    fn carry_out(
        &mut self,
        instruction: &Instruction,
        information: &mut InstructionInfoFactory,
        target: &mut impl Target,
    ) -> Option<Next> {
        let behind = instruction.next_ip();
        self.go(behind);
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch => {
                // `loop` counts in a register.
                if matches!(
                    instruction.mnemonic(),
                    Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne
                ) {
                    self.state.set(2, None);
                }
                return Some(Next::Either(instruction.near_branch_target()));
            }
            FlowControl::UnconditionalBranch => {
                let address = instruction.near_branch_target();
                self.go(address);
                return Some(Next::There(address));
            }
            FlowControl::IndirectBranch => {
                let address = match instruction.op0_kind() {
                    OpKind::Register => self.get(instruction.op0_register())?,
                    OpKind::Memory if instruction.is_ip_rel_memory_operand() => {
                        target.word(instruction.ip_rel_memory_address())?
                    }
                    _ => return None,
                };
                self.go(address);
                return Some(Next::There(address));
            }
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => {
                let address = self.pop()?;
                if instruction.op_count() == 1 {
                    self.move_stack(i64::from(instruction.immediate16()))?;
                }
                self.go(address);
                return Some(Next::Returned);
            }
            // A call may never return, and then what stands behind it belongs to nobody.
            _ => return None,
        }
        self.carry_out_plain(instruction, information, target)?;
        Some(Next::Behind)
    }

    fn carry_out_plain(
        &mut self,
        instruction: &Instruction,
        information: &mut InstructionInfoFactory,
        target: &mut impl Target,
    ) -> Option<()> {
        let wide = instruction.op0_register().is_gpr64();
        let to = instruction.op0_register();
        match (instruction.mnemonic(), instruction.op0_kind(), instruction.op1_kind()) {
            (Mnemonic::Push, kind, _) => {
                let value = match kind {
                    OpKind::Register => self.get(to),
                    _ => None,
                };
                self.move_stack(-8)?;
                let at = self.state.stack_pointer();
                self.write(at, value)?;
            }
            (Mnemonic::Pop, OpKind::Register, _) if wide => {
                let value = self.pop();
                self.set(to, value)?;
            }
            (Mnemonic::Leave, ..) => {
                let frame = self.get(Register::RBP)?;
                self.state.set(STACK_POINTER, Some(frame));
                let value = self.pop();
                self.set(Register::RBP, value)?;
            }
            (Mnemonic::Mov, OpKind::Register, OpKind::Register) if wide => {
                let value = self.get(instruction.op1_register());
                self.set(to, value)?;
            }
            (Mnemonic::Mov, OpKind::Register, OpKind::Memory) if wide => {
                let value = if instruction.is_ip_rel_memory_operand() {
                    target.word(instruction.ip_rel_memory_address())
                } else {
                    self.address(instruction).and_then(|address| self.read(address))
                };
                self.set(to, value)?;
            }
            (Mnemonic::Mov, OpKind::Memory, OpKind::Register)
                if instruction.op1_register().is_gpr64() =>
            {
                let value = self.get(instruction.op1_register());
                if let Some(address) = self.address(instruction) {
                    self.write(address, value)?;
                }
            }
            (Mnemonic::Lea, OpKind::Register, _) if wide => {
                let value = self.address(instruction);
                self.set(to, value)?;
            }
            (Mnemonic::Add | Mnemonic::Sub | Mnemonic::And, OpKind::Register, immediate)
                if wide
                    && matches!(immediate, OpKind::Immediate8to64 | OpKind::Immediate32to64) =>
            {
                let by = instruction.immediate(1);
                let value = self.get(to).map(|value| match instruction.mnemonic() {
                    Mnemonic::Add => value.wrapping_add(by),
                    Mnemonic::Sub => value.wrapping_sub(by),
                    _ => value & by,
                });
                self.set(to, value)?;
            }
            _ => self.forget_written(instruction, information)?,
        }
        Some(())
    }

    /// What an instruction that is not carried out writes is not known any more.
    fn forget_written(
        &mut self,
        instruction: &Instruction,
        information: &mut InstructionInfoFactory,
    ) -> Option<()> {
        let writes = |access| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        let used = information.info(instruction);
        for register in used.used_registers() {
            if writes(register.access()) && register.register().is_gpr() {
                self.set(register.register().full_register(), None)?;
            }
        }
        for memory in used.used_memory() {
            if !writes(memory.access()) {
                continue;
            }
            let address = memory.virtual_address(0, |register, _, _| {
                if register.is_gpr64() { self.get(register) } else { Some(0) }
            });
            if let Some(address) = address {
                let end = address.saturating_add(memory.memory_size().size() as u64);
                for word in (address & !7..end).step_by(8) {
                    self.write(word, None)?;
                }
            }
        }
        Some(())
    }

    /// The address of the memory operand, if its registers are known.
    fn address(&self, instruction: &Instruction) -> Option<u64> {
        if instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        if !matches!(instruction.segment_prefix(), Register::None) {
            return None;
        }
        let part = |register: Register| match register {
            Register::None => Some(0),
            register if register.is_gpr64() => self.get(register),
            _ => None,
        };
        let index = part(instruction.memory_index())?;
        Some(
            part(instruction.memory_base())?
                .wrapping_add(index.wrapping_mul(u64::from(instruction.memory_index_scale())))
                .wrapping_add(instruction.memory_displacement64()),
        )
    }

    fn get(&self, register: Register) -> Option<u64> {
        self.state.get(u16::from(number(register)?))
    }

    /// `None` where the stack pointer would be lost: then nothing can be found any more.
    fn set(&mut self, register: Register, value: Option<u64>) -> Option<()> {
        let number = number(register)?;
        if number == STACK_POINTER {
            value?;
        }
        self.state.set(number, value);
        Some(())
    }

    fn move_stack(&mut self, by: i64) -> Option<()> {
        let to = self.state.stack_pointer().checked_add_signed(by)?;
        self.state.set(STACK_POINTER, Some(to));
        Some(())
    }

    /// The word on top, taken off; `None` too where it is not known.
    fn pop(&mut self) -> Option<u64> {
        let value = self.read(self.state.stack_pointer());
        self.move_stack(8)?;
        value
    }

    fn read(&self, address: u64) -> Option<u64> {
        let overlaps = |at: u64| at < address.saturating_add(8) && address < at.saturating_add(8);
        match self.written.iter().rev().find(|(at, _)| overlaps(*at)) {
            Some((at, value)) => value.filter(|_| *at == address),
            None => self.stack.value(address, 8).ok(),
        }
    }

    fn write(&mut self, address: u64, value: Option<u64>) -> Option<()> {
        self.written.retain(|(at, _)| *at != address);
        if self.written.len() >= WRITTEN_MAX {
            return None;
        }
        self.written.push((address, value));
        Some(())
    }
}

/// DWARF number of a 64-bit register.
fn number(register: Register) -> Option<u8> {
    use Register::{R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};
    [RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15]
        .iter()
        .position(|&known| known == register)
        .and_then(|at| u8::try_from(at).ok())
}

/// Code around the last instruction.
#[derive(Default)]
struct Code {
    start: u64,
    bytes: Vec<u8>,
}

impl Code {
    fn at(&mut self, address: u64, target: &mut impl Target) -> Option<Instruction> {
        let here = |code: &Self| {
            let inside = usize::try_from(address.checked_sub(code.start)?).ok()?;
            code.bytes.get(inside..).filter(|rest| !rest.is_empty()).map(<[u8]>::len)
        };
        if here(self).is_none_or(|length| length < INSTRUCTION_BYTES) {
            self.bytes.resize(WINDOW, 0);
            let length = target.code(address, &mut self.bytes);
            self.bytes.truncate(length);
            self.start = address;
        }
        let inside = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(inside..)?;
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }
}
