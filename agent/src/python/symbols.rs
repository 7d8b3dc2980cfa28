//! Python frames to functions and lines, by the code objects in the process's memory.
//!
//! A code object is read once, and its identity (several of its fields) again when a second has gone by:
//! its address may have been given to another. A frame's function and line have a number, which no other
//! function or line ever gets, in any process.

mod known;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wire::kernel::PythonFrame;

use super::code::{Function, Interpreter};
use super::memory::Memory;
use super::merge::is_the_loops;
use super::runtime::Runtime;
use super::version::Version;
use crate::capture::{Frame, Language};
use crate::pipeline::Symbol;
use crate::stack::Place;
use known::{Known, Look};

/// The number of a frame whose code object could not be read: it was gone, or never was one.
pub const UNKNOWN: u64 = 0;

/// Names that can be asked for, the latest. A number is asked for once, in the turn that it came in.
const NAMES_MAX: usize = 1 << 18;

/// Processes remembered at once: as many as can be watched.
const PROCESSES_MAX: usize = wire::limits::TARGETS as usize;

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
#[derive(Debug)]
pub struct PythonSymbols {
    processes: HashMap<u32, Known>,
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

impl Default for PythonSymbols {
    fn default() -> Self {
        Self {
            processes: HashMap::new(),
            names: VecDeque::new(),
            first: UNKNOWN + 1,
            losses: PythonLosses::default(),
        }
    }
}

impl PythonSymbols {
    pub fn new() -> Self {
        Self::default()
    }

    /// What a frame of the process stands for, for `merge`; `time_ns` is when the frame was taken.
    pub fn place(&mut self, runtime: &Runtime, frame: &PythonFrame, time_ns: u64) -> Place {
        Place::Python(self.number(runtime, frame, time_ns))
    }

    /// The number of a frame's function and line; [`UNKNOWN`] (counted) where it cannot be told.
    pub fn number(&mut self, runtime: &Runtime, frame: &PythonFrame, time_ns: u64) -> u64 {
        self.number_in(runtime.pid(), &runtime.interpreter(), frame, time_ns)
    }

    pub(super) fn number_in<M: Memory>(
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
        let known = self.processes.entry(pid).or_default();
        let address = frame.code & !TAGS;
        let code = match known.look(interpreter, address, time_ns, &mut self.losses) {
            Look::Known(code) => code,
            Look::Unknown => return UNKNOWN,
        };
        let offset = interpreter.offset(address, frame);
        let is_kept = |&number: &u64| number >= self.first;
        if let Some(number) = code.numbers.by_offset.get(&offset).copied().filter(is_kept) {
            return number;
        }
        let line = code.lines.line(offset);
        let number = code.numbers.by_line.get(&line).copied().filter(is_kept);
        let number = number.unwrap_or_else(|| {
            let number = self.first + self.names.len() as u64;
            self.names.push_back(Name { function: Arc::clone(&code.function), line });
            number
        });
        code.numbers.by_line.insert(line, number);
        code.numbers.by_offset.insert(offset, number);
        known.note_offset();
        if self.names.len() > NAMES_MAX {
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

#[cfg(test)]
mod tests;
