//! One row of unwind information: how the caller's registers follow from the callee's and from the
//! stack. Pure: the registers, the row and the bytes of the stack decide everything.

use gimli::{CfaRule, RegisterRule, UnwindTableRow};

use super::expression;
use super::function::{Eh, Storage};
use super::{Copied, Registers};

/// Number of the stack pointer.
pub(super) const STACK_POINTER: u8 = 7;
/// Number of the instruction pointer: in a row, the return address.
pub(super) const RETURN_ADDRESS: u8 = 16;

/// Registers a function gives back as it found them, unless its row says otherwise: rbx, rbp, r12
/// to r15 (System V ABI, AMD64). What others held in the caller is not known.
const PRESERVED: u32 = 1 << 3 | 1 << 6 | 0xf << 12;

/// Longest expression taken, bytes. Linkers' for the PLT have 11, compilers' for realigned stacks 4,
/// the C library's for signal frames 5.
const EXPRESSION_MAX: usize = 64;

/// Registers of a frame, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    registers: Registers,
    /// One bit each.
    known: u32,
    /// Where a register was saved that is unknown because the place was not copied.
    unread: Option<u64>,
}

impl State {
    /// Of a leaf, whose registers were all copied.
    pub(super) fn of_leaf(registers: &Registers) -> Self {
        Self { registers: *registers, known: (1 << wire::kernel::REGISTERS) - 1, unread: None }
    }

    pub(super) fn instruction_pointer(&self) -> u64 {
        self.registers[usize::from(RETURN_ADDRESS)]
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.registers[usize::from(STACK_POINTER)]
    }

    pub(super) fn get(&self, register: u16) -> Option<u64> {
        let known = self.known.checked_shr(u32::from(register)).is_some_and(|bits| bits & 1 == 1);
        self.registers.get(usize::from(register)).copied().filter(|_| known)
    }

    /// As [`State::get`], for what cannot do without.
    pub(super) fn need(&self, register: u16) -> Result<u64, Stuck> {
        self.get(register).ok_or(self.unread.map_or(Stuck::Rule, Stuck::Memory))
    }

    /// As the caller has it when its callee returns.
    pub(super) fn after_return(mut self) -> Self {
        self.known &= PRESERVED | 1 << STACK_POINTER | 1 << RETURN_ADDRESS;
        self
    }

    /// What a register was saved as. Most are not needed to go on: one that was not copied is merely
    /// unknown.
    fn load(&mut self, register: u8, stack: &Copied<'_>, address: u64) -> Option<u64> {
        let value = stack.value(address, 8);
        if value.is_err() && (self.unread.is_none() || register == RETURN_ADDRESS) {
            self.unread = Some(address);
        }
        value.ok()
    }

    pub(super) fn set(&mut self, register: u8, value: Option<u64>) {
        if let (Some(place), Some(value)) = (self.registers.get_mut(usize::from(register)), value) {
            *place = value;
            self.known |= 1 << register;
        } else {
            self.known &= !(1 << register);
        }
    }
}

/// Why a row does not lead to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    /// This address of the stack was not copied.
    Memory(u64),
    /// The row asks for what is not known, or makes no sense.
    Rule,
}

/// Where a row leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Caller(State),
    /// The row says that there is no caller.
    Root,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Cfa {
    Register { register: u8, offset: i64 },
    Expression(Box<[u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Undefined,
    Same,
    /// In memory, so far from the CFA.
    At(i64),
    /// The CFA and so much.
    Value(i64),
    Register(u8),
    AtExpression(Box<[u8]>),
    ValueExpression(Box<[u8]>),
}

/// How the caller's registers follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    cfa: Cfa,
    rules: Box<[(u8, Rule)]>,
    /// The frame was called by the kernel: what it returns to is not behind a call.
    pub(super) signal: bool,
}

impl Row {
    /// Of code that has put nothing on the stack.
    pub(super) fn of_entry() -> Self {
        let cfa = Cfa::Register { register: STACK_POINTER, offset: 8 };
        Self { cfa, rules: [(RETURN_ADDRESS, Rule::At(-8))].into(), signal: false }
    }

    /// Of what a signal handler returns to: the kernel's `ucontext` is on the stack.
    pub(super) fn of_signal_return() -> Self {
        /// Offset of the registers, and their DWARF numbers in order.
        const REGISTERS: i64 = 40;
        const ORDER: [u8; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16];
        let offsets = (0..).map(|at| REGISTERS + at * 8);
        let mut rules: Vec<_> = ORDER.into_iter().zip(offsets.map(Rule::At)).collect();
        rules.sort_by_key(|(register, _)| *register);
        let cfa = Cfa::Register { register: STACK_POINTER, offset: 0 };
        Self { cfa, rules: rules.into(), signal: true }
    }

    /// `None` where the row uses what is not supported; then nothing can be unwound there.
    pub(super) fn of(
        row: &UnwindTableRow<usize, Storage>,
        section: &Eh<'_>,
        signal: bool,
    ) -> Option<Self> {
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                Cfa::Register { register: general(register.0)?, offset: *offset }
            }
            CfaRule::Expression(expression) => Cfa::Expression(bytes(*expression, section)?),
        };
        let mut rules = Vec::new();
        for (register, rule) in row.registers() {
            // Vector registers have rules in functions of another calling convention.
            let Some(register) = general(register.0) else {
                continue;
            };
            let rule = match rule {
                RegisterRule::Undefined => Rule::Undefined,
                RegisterRule::SameValue => Rule::Same,
                RegisterRule::Offset(offset) => Rule::At(*offset),
                RegisterRule::ValOffset(offset) => Rule::Value(*offset),
                RegisterRule::Register(register) => Rule::Register(general(register.0)?),
                RegisterRule::Expression(expression) => {
                    Rule::AtExpression(bytes(*expression, section)?)
                }
                RegisterRule::ValExpression(expression) => {
                    Rule::ValueExpression(bytes(*expression, section)?)
                }
                _ => return None,
            };
            rules.push((register, rule));
        }
        // The order of equal rows depends on how they came about.
        rules.sort_by_key(|(register, _)| *register);
        Some(Self { cfa, rules: rules.into(), signal })
    }

    /// The register that `code` would look for at `address` has its caller's value again.
    ///
    /// A function whose stack GCC realigned finds its saved registers by rbp, and its last rows go on
    /// saying so when `leave` has given rbp back: then the place is not in this frame.
    fn is_restored(&self, code: &[u8], address: u64, cfa: u64, state: &State) -> bool {
        const BY_RBP: u8 = gimli::DW_OP_breg6.0;
        const RED_ZONE: u64 = 128;
        let frame = state.stack_pointer().saturating_sub(RED_ZONE)..cfa;
        code.first() == Some(&BY_RBP)
            && matches!(self.cfa, Cfa::Register { .. })
            && !self.signal
            && !frame.contains(&address)
    }

    /// The caller's registers.
    pub(super) fn step(&self, state: &State, stack: &Copied<'_>) -> Result<Step, Stuck> {
        let cfa = match &self.cfa {
            Cfa::Register { register, offset } => {
                state.need(u16::from(*register))?.wrapping_add_signed(*offset)
            }
            Cfa::Expression(code) => expression::evaluate(code, None, state, stack)?,
        };
        let mut caller = *state;
        if !self.signal {
            caller.known &= PRESERVED;
        }
        caller.set(STACK_POINTER, Some(cfa));
        caller.set(RETURN_ADDRESS, None);
        for (register, rule) in &self.rules {
            let value = match rule {
                Rule::Undefined if *register == RETURN_ADDRESS => return Ok(Step::Root),
                Rule::Undefined => None,
                Rule::Same => state.get(u16::from(*register)),
                Rule::At(offset) => caller.load(*register, stack, cfa.wrapping_add_signed(*offset)),
                Rule::Value(offset) => Some(cfa.wrapping_add_signed(*offset)),
                Rule::Register(other) => state.get(u16::from(*other)),
                Rule::AtExpression(code) => {
                    let address = expression::evaluate(code, Some(cfa), state, stack)?;
                    if self.is_restored(code, address, cfa, state) {
                        state.get(u16::from(*register))
                    } else {
                        caller.load(*register, stack, address)
                    }
                }
                Rule::ValueExpression(code) => {
                    Some(expression::evaluate(code, Some(cfa), state, stack)?)
                }
            };
            caller.set(*register, value);
        }
        caller.need(u16::from(RETURN_ADDRESS))?;
        Ok(Step::Caller(caller))
    }
}

/// A register the walk keeps.
fn general(register: u16) -> Option<u8> {
    u8::try_from(register).ok().filter(|&register| register <= RETURN_ADDRESS)
}

fn bytes(expression: gimli::UnwindExpression<usize>, section: &Eh<'_>) -> Option<Box<[u8]>> {
    let code = expression.get(section).ok()?.0;
    (code.len() <= EXPRESSION_MAX).then(|| code.slice().into())
}
