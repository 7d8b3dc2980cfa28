//! Code objects in the memory of an interpreter: whose address it is, what the function is called, and
//! where its lines are.

use wire::kernel::{PYTHON_ENTRY, PythonFrame};

use super::line_table;
use super::memory::Memory;
use super::module_name;
use super::offsets::{Code as Fields, Offsets};
use super::text;
use super::version::Version;

/// The longest line table that is read: a module of 20 000 lines.
const TABLE_MAX: u64 = 256 << 10;

/// Bytes of a code object that are read: every field that is used, in every version.
const HEAD: usize = 144;

/// In any object: its type. In a type: its name.
const TYPE: usize = 8;
const TYPE_NAME: u64 = 24;

/// In `bytes`: their number, and the first one.
const BYTES_LENGTH: u64 = 16;
const BYTES_DATA: u64 = 32;

/// An interpreter as far as its code objects go.
pub(super) struct Interpreter<'a, M> {
    pub(super) memory: &'a M,
    pub(super) version: Version,
    pub(super) offsets: &'a Offsets,
    /// Address of `PyCode_Type`, where the interpreter exports it.
    pub(super) code_type: Option<u64>,
}

/// What tells a code object from one that was at the same address before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    first_line: u32,
    name: u64,
    qualname: u64,
    filename: u64,
    line_table: u64,
    /// Unique in its process from 3.12 on, as long as the interpreter has numbers left.
    version: u32,
}

/// A function as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// `module.qualname`.
    pub(super) name: String,
    pub(super) file: String,
}

/// Where a function's lines are.
#[derive(Debug)]
pub(super) struct Lines {
    version: Version,
    first: u32,
    table: Vec<u8>,
}

impl Lines {
    /// The line of an instruction; CPython says of a function that has not begun that it is in its first
    /// one.
    pub(super) fn line(&self, offset: Option<u64>) -> Option<u32> {
        match offset {
            Some(offset) => line_table::line(self.version, &self.table, self.first, offset),
            None => Some(self.first),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.len()
    }
}

impl<M: Memory> Interpreter<'_, M> {
    /// The instruction's distance from the function's first one, bytes; `None` of a frame that has not
    /// begun.
    pub(super) fn offset(&self, code: u64, frame: &PythonFrame) -> Option<u64> {
        let instruction = frame.instruction & (PYTHON_ENTRY - 1);
        if self.version == Version::V3_10 {
            // `f_lasti` counts instructions, from -1 on.
            let last = u32::try_from(instruction & 0xffff_ffff).ok()?.cast_signed();
            return Some(u64::try_from(last).ok()? * 2);
        }
        instruction.checked_sub(code.checked_add(self.offsets.code.instructions as u64)?)
    }

    /// Whose address this is; `None` where no code object is.
    pub(super) fn identity(&self, address: u64) -> Option<Identity> {
        let mut head = [0; HEAD];
        if address == 0 || !self.memory.read(address, &mut head) {
            return None;
        }
        let Fields { filename, name, qualname, first_line, line_table, version, instructions: _ } =
            self.offsets.code;
        if !self.is_code(word(&head, TYPE)?) {
            return None;
        }
        Some(Identity {
            first_line: half(&head, first_line)?,
            name: word(&head, name)?,
            qualname: qualname.map_or(Some(0), |at| word(&head, at))?,
            filename: word(&head, filename)?,
            line_table: word(&head, line_table)?,
            version: version.map_or(Some(0), |at| half(&head, at))?,
        })
    }

    /// The type is `PyCode_Type`; where the interpreter does not export that, one that is called `code`.
    fn is_code(&self, kind: u64) -> bool {
        if let Some(code_type) = self.code_type {
            return kind == code_type;
        }
        let mut name = [0; 5];
        kind.checked_add(TYPE_NAME)
            .and_then(|at| self.memory.u64(at))
            .is_some_and(|at| self.memory.read(at, &mut name) && &name == b"code\0")
    }

    /// The function, and its lines.
    pub(super) fn function(&self, identity: &Identity) -> Option<(Function, Lines)> {
        let name = if identity.qualname == 0 { identity.name } else { identity.qualname };
        let name = text::read(self.memory, self.offsets, name)?;
        let file = text::read(self.memory, self.offsets, identity.filename)?;
        let name = format!("{}.{name}", module_name::of(&file));
        // Without its table a function has a name and no line.
        let table = self.bytes(identity.line_table).unwrap_or_default();
        let lines = Lines { version: self.version, first: identity.first_line, table };
        Some((Function { name, file }, lines))
    }

    /// The contents of a `bytes` object.
    fn bytes(&self, address: u64) -> Option<Vec<u8>> {
        let length = self.memory.u64(address.checked_add(BYTES_LENGTH)?)?;
        let length = usize::try_from(length).ok().filter(|_| length <= TABLE_MAX)?;
        let mut bytes = vec![0; length];
        self.memory.read(address.checked_add(BYTES_DATA)?, &mut bytes).then_some(bytes)
    }
}

fn word(head: &[u8; HEAD], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?))
}

fn half(head: &[u8; HEAD], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?))
}
