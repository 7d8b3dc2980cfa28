//! Python frames to functions and lines, by the code objects in the process's memory.
//!
//! A code object is read once, and its identity (several of its fields) again when a second has gone by:
//! its address may have been given to another. A frame's function and line have a number, which no other
//! function or line ever gets, in any process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wire::kernel::PythonFrame;

use super::line_table;
use super::memory::Memory;
use super::merge::is_the_loops;
use super::module_name;
use super::offsets::{Code as Fields, Offsets};
use super::runtime::Runtime;
use super::text;
use super::version::Version;
use crate::capture::{Frame, Language};
use crate::pipeline::Symbol;
use crate::stack::Place;

/// The number of a frame whose code object could not be read: it was gone, or never was one.
pub const UNKNOWN: u64 = 0;

/// A code object is looked at again when it was last looked at so long ago: the time in which a function
/// that took the place of another shows under its name.
const TRUSTED_NS: u64 = 1_000_000_000;

/// Code objects read of one process in a second at most; further ones are unknown. A vLLM worker shows
/// some thousands in all, and a process that makes new ones forever costs 4096 * 10 us a second.
const READ_PER_SECOND: u32 = 4096;

/// Code objects remembered of one process, and bytes of their line tables; then all are forgotten and read
/// again as they come. A vLLM worker has 60 000 with 30 MB of tables, and shows a tenth of them.
const CODES_MAX: usize = 1 << 15;
const TABLE_BYTES_MAX: usize = 16 << 20;

/// The longest line table that is read: a module of 20 000 lines.
const TABLE_MAX: u64 = 256 << 10;

/// Names that can be asked for, the latest. A number is asked for once, in the turn that it came in.
const NAMES_MAX: usize = 1 << 18;

/// Processes remembered at once: as many as can be watched.
const PROCESSES_MAX: usize = wire::limits::TARGETS as usize;

/// Bytes of a code object that are read: every field that is used, in every version.
const HEAD: usize = 144;

/// In any object: its type. In a type: its name.
const TYPE: usize = 8;
const TYPE_NAME: u64 = 24;

/// In `bytes`: their number, and the first one.
const BYTES_LENGTH: u64 = 16;
const BYTES_DATA: u64 = 32;

/// The two lowest bits of 3.14's pointer to a frame's code are tags.
const TAGS: u64 = 3;

/// What could not be told, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PythonLosses {
    /// Frames whose code object was gone, or was none.
    pub unreadable: u64,
    /// Frames whose code object was not read, because the process had shown too many new ones in that
    /// second.
    pub too_many: u64,
    /// Times that everything known of a process was forgotten because there was too much of it.
    pub forgotten: u64,
    /// Names asked for when they had been forgotten.
    pub late: u64,
}

/// Functions and lines of every process.
#[derive(Debug, Default)]
pub struct PythonSymbols {
    processes: HashMap<u32, Process>,
    /// Of the numbers from `first` on.
    names: VecDeque<Name>,
    first: u64,
    losses: PythonLosses,
}

/// What a number stands for.
#[derive(Clone, Debug)]
struct Name {
    function: Arc<Function>,
    line: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    file: String,
}

#[derive(Debug, Default)]
struct Process {
    codes: HashMap<u64, Code>,
    table_bytes: usize,
    /// The second that `read` counts in, and code objects read in it.
    second: u64,
    read: u32,
}

/// A code object as it was when it was last looked at.
#[derive(Debug)]
struct Code {
    identity: Identity,
    looked_ns: u64,
    function: Arc<Function>,
    first_line: u32,
    table: Vec<u8>,
    /// Numbers by instruction, and by line.
    by_offset: HashMap<u64, u64>,
    by_line: HashMap<Option<u32>, u64>,
}

/// What tells a code object from one that was at the same address before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    first_line: u32,
    name: u64,
    qualname: u64,
    filename: u64,
    line_table: u64,
    /// Unique in its process from 3.12 on, as long as the interpreter has numbers left.
    version: u32,
}

impl PythonSymbols {
    pub fn new() -> Self {
        Self { first: UNKNOWN + 1, ..Self::default() }
    }

    /// What a frame of the process stands for, for `merge`; `time_ns` is when the frame was taken.
    pub fn place(&mut self, runtime: &Runtime, frame: &PythonFrame, time_ns: u64) -> Place {
        Place::Python(self.number(runtime, frame, time_ns))
    }

    /// The number of a frame's function and line; [`UNKNOWN`] (counted) where it cannot be told.
    pub fn number(&mut self, runtime: &Runtime, frame: &PythonFrame, time_ns: u64) -> u64 {
        let object = Interpreter {
            memory: runtime.memory(),
            version: runtime.version(),
            offsets: runtime.offsets(),
            code_type: runtime.code_type(),
        };
        self.number_in(runtime.pid(), &object, frame, time_ns)
    }

    fn number_in<M: Memory>(
        &mut self,
        pid: u32,
        interpreter: &Interpreter<'_, M>,
        frame: &PythonFrame,
        time_ns: u64,
    ) -> u64 {
        if interpreter.version >= Version::V3_12 && is_the_loops(frame) {
            return UNKNOWN;
        }
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            self.losses.forgotten += self.processes.len() as u64;
            self.processes.clear();
        }
        let process = self.processes.entry(pid).or_default();
        let address = frame.code & !TAGS;
        match process.look(interpreter, address, time_ns) {
            Look::Known => {}
            Look::Unreadable => {
                self.losses.unreadable += 1;
                return UNKNOWN;
            }
            Look::TooMany => {
                self.losses.too_many += 1;
                return UNKNOWN;
            }
            Look::Forgotten => self.losses.forgotten += 1,
        }
        let Some(code) = process.codes.get_mut(&address) else {
            return UNKNOWN;
        };
        let offset = interpreter.offset(address, frame);
        if let Some(&number) = code.by_offset.get(&offset).filter(|&&number| number >= self.first) {
            return number;
        }
        let line = code.line(interpreter.version, offset);
        let known = code.by_line.get(&line).copied().filter(|&number| number >= self.first);
        let number = known.unwrap_or_else(|| {
            let number = self.first + self.names.len() as u64;
            self.names.push_back(Name { function: Arc::clone(&code.function), line });
            number
        });
        code.by_line.insert(line, number);
        code.by_offset.insert(offset, number);
        while self.names.len() > NAMES_MAX {
            self.names.pop_front();
            self.first += 1;
        }
        number
    }

    /// The frame that a number stands for.
    pub fn frame(&mut self, number: u64) -> Frame {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(Name { function, line }) = index.and_then(|index| self.names.get(index)) else {
            self.losses.late += u64::from(number != UNKNOWN);
            let function = "[unknown Python function]".to_owned();
            return Frame { language: Language::Python, function, ..Frame::default() };
        };
        Frame {
            language: Language::Python,
            function: function.name.clone(),
            module: None,
            file: Some(function.file.clone()),
            line: *line,
        }
    }

    /// The names of those of these places (`Place::to_bits`) that are Python's.
    pub fn resolve(&mut self, places: &[u64]) -> Vec<Symbol> {
        let mut symbols = Vec::new();
        for &address in places {
            if let Place::Python(number) = Place::from_bits(address) {
                symbols.push(Symbol { address, frames: vec![self.frame(number)] });
            }
        }
        symbols
    }

    /// The process ended or executes something else. Its numbers still have their names.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    pub fn losses(&self) -> PythonLosses {
        self.losses
    }
}

/// An interpreter as far as its code objects go.
struct Interpreter<'a, M> {
    memory: &'a M,
    version: Version,
    offsets: &'a Offsets,
    code_type: Option<u64>,
}

impl<M: Memory> Interpreter<'_, M> {
    /// The instruction's distance from the function's first one, bytes. A frame that has not begun is
    /// in front of it.
    fn offset(&self, code: u64, frame: &PythonFrame) -> u64 {
        let instruction = frame.instruction & (wire::kernel::PYTHON_ENTRY - 1);
        if self.version == Version::V3_10 {
            // `f_lasti` counts instructions, from -1 on.
            let last = u32::try_from(instruction & 0xffff_ffff).unwrap_or(0).cast_signed();
            return u64::try_from(last).unwrap_or(0) * 2;
        }
        let first = code + self.offsets.code.instructions as u64;
        instruction.saturating_sub(first)
    }

    fn head(&self, address: u64) -> Option<[u8; HEAD]> {
        let mut head = [0; HEAD];
        let is_read = address != 0 && self.memory.read(address, &mut head);
        (is_read && self.is_code(word(&head, TYPE)?)).then_some(head)
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

    fn identity(&self, head: &[u8; HEAD]) -> Option<Identity> {
        let Fields { filename, name, qualname, first_line, line_table, version, instructions: _ } =
            self.offsets.code;
        let optional = |at: Option<usize>| at.map_or(Some(0), |at| word(head, at));
        Some(Identity {
            first_line: half(head, first_line)?,
            name: word(head, name)?,
            qualname: optional(qualname)?,
            filename: word(head, filename)?,
            line_table: word(head, line_table)?,
            version: version.map_or(Some(0), |at| half(head, at))?,
        })
    }

    fn code(&self, identity: Identity, time_ns: u64) -> Option<Code> {
        let name = if identity.qualname == 0 { identity.name } else { identity.qualname };
        let name = text::read(self.memory, self.offsets, name)?;
        let file = text::read(self.memory, self.offsets, identity.filename)?;
        let name = format!("{}.{name}", module_name::of(&file));
        Some(Code {
            identity,
            looked_ns: time_ns,
            function: Arc::new(Function { name, file }),
            first_line: identity.first_line,
            // Without its table a function has a name and no line.
            table: self.bytes(identity.line_table).unwrap_or_default(),
            by_offset: HashMap::new(),
            by_line: HashMap::new(),
        })
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

enum Look {
    Known,
    Unreadable,
    TooMany,
    /// Known, and everything else was forgotten for it.
    Forgotten,
}

impl Process {
    /// Makes sure that what is known of the code object at `address` is true.
    fn look<M: Memory>(
        &mut self,
        interpreter: &Interpreter<'_, M>,
        address: u64,
        time_ns: u64,
    ) -> Look {
        let known = self.codes.get_mut(&address);
        if known.as_ref().is_some_and(|code| time_ns.saturating_sub(code.looked_ns) < TRUSTED_NS) {
            return Look::Known;
        }
        let identity = interpreter.head(address).and_then(|head| interpreter.identity(&head));
        match (known, identity) {
            (Some(code), Some(identity)) if code.identity == identity => {
                code.looked_ns = time_ns;
                return Look::Known;
            }
            _ => self.remove(address),
        }
        let Some(identity) = identity else {
            return Look::Unreadable;
        };
        if !self.may_read(time_ns) {
            return Look::TooMany;
        }
        let Some(code) = interpreter.code(identity, time_ns) else {
            return Look::Unreadable;
        };
        let full =
            self.codes.len() >= CODES_MAX || self.table_bytes + code.table.len() > TABLE_BYTES_MAX;
        if full {
            self.codes.clear();
            self.table_bytes = 0;
        }
        self.table_bytes += code.table.len();
        self.codes.insert(address, code);
        if full { Look::Forgotten } else { Look::Known }
    }

    fn remove(&mut self, address: u64) {
        if let Some(code) = self.codes.remove(&address) {
            self.table_bytes -= code.table.len();
        }
    }

    fn may_read(&mut self, time_ns: u64) -> bool {
        let second = time_ns / 1_000_000_000;
        if second != self.second {
            (self.second, self.read) = (second, 0);
        }
        self.read += 1;
        self.read <= READ_PER_SECOND
    }
}

impl Code {
    fn line(&self, version: Version, offset: u64) -> Option<u32> {
        line_table::line(version, &self.table, self.first_line, offset)
    }
}

#[cfg(test)]
mod tests;
