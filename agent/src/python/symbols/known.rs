//! The code objects of one process, as they were when they were last looked at.
//!
//! What a process can make us read and keep is bounded, whatever it puts into its frames.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::code::{Function, Identity, Interpreter, Lines};
use super::super::memory::Memory;
use super::PythonLosses;

/// A code object of a file is looked at again when it was last looked at so long ago: the time in which a
/// function that took the place of another shows under its name. Those of no file, as `exec` and `eval`
/// make them, die young and are looked at each time.
const TRUSTED_NS: u64 = 1_000_000_000;

/// What is read of one process in a second at most, in code objects and in pages of line tables; further
/// ones are unknown. A vLLM worker shows some thousands in all, and a process that makes new
/// ones forever costs us 4096 * 10 us a second.
pub(super) const READ_PER_SECOND: usize = 4096;
const PAGE: usize = 4096;

/// Code objects remembered, bytes of their line tables, and instructions; then all are forgotten and read
/// again as they come. A vLLM worker has 60 000 code objects with 30 MB of tables, and shows a tenth
/// of them.
const CODES_MAX: usize = 1 << 15;
const TABLE_BYTES_MAX: usize = 16 << 20;
pub(super) const OFFSETS_MAX: usize = 1 << 18;

#[derive(Debug, Default)]
pub(super) struct Known {
    codes: HashMap<u64, Code>,
    table_bytes: usize,
    /// Instructions in `by_offset` of all of them, those of removed ones too.
    offsets: usize,
    /// The second that `read` counts in, and what was read in it.
    second: u64,
    read: usize,
}

/// A code object.
#[derive(Debug)]
pub(super) struct Code {
    identity: Identity,
    pub(super) looked_ns: u64,
    pub(super) function: Arc<Function>,
    pub(super) lines: Lines,
    pub(super) numbers: Numbers,
}

/// Numbers by instruction, and by line.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) by_offset: HashMap<Option<u64>, u64>,
    pub(super) by_line: HashMap<Option<u32>, u64>,
}

pub(super) enum Look<'a> {
    Known(&'a mut Code),
    /// It cannot be told, and that was counted.
    Unknown,
}

impl Known {
    /// The code object that is at `address` at `time_ns`.
    pub(super) fn look<M: Memory>(
        &mut self,
        interpreter: &Interpreter<'_, M>,
        address: u64,
        time_ns: u64,
        losses: &mut PythonLosses,
    ) -> Look<'_> {
        if self.offsets > OFFSETS_MAX {
            self.forget(losses);
        }
        let trusted = |code: &Code| {
            !code.function.file.starts_with('<')
                && time_ns.saturating_sub(code.looked_ns) < TRUSTED_NS
        };
        if !self.codes.get(&address).is_some_and(trusted) {
            let identity = interpreter.identity(address);
            match self.codes.get_mut(&address) {
                Some(code) if Some(code.identity) == identity => code.looked_ns = time_ns,
                _ => self.replace(interpreter, address, identity, time_ns, losses),
            }
        }
        self.codes.get_mut(&address).map_or(Look::Unknown, Look::Known)
    }

    /// Another instruction has a number.
    pub(super) fn note_offset(&mut self) {
        self.offsets += 1;
    }

    fn replace<M: Memory>(
        &mut self,
        interpreter: &Interpreter<'_, M>,
        address: u64,
        identity: Option<Identity>,
        time_ns: u64,
        losses: &mut PythonLosses,
    ) {
        if let Some(code) = self.codes.remove(&address) {
            self.table_bytes -= code.lines.bytes();
        }
        if identity.is_some() && !self.may_read(time_ns) {
            losses.too_many += 1;
            return;
        }
        let read = identity.and_then(|identity| Some((identity, interpreter.function(&identity)?)));
        let Some((identity, (function, lines))) = read else {
            losses.unreadable += 1;
            return;
        };
        self.read += lines.bytes() / PAGE;
        if self.codes.len() >= CODES_MAX || self.table_bytes + lines.bytes() > TABLE_BYTES_MAX {
            self.forget(losses);
        }
        self.table_bytes += lines.bytes();
        let code = Code {
            identity,
            looked_ns: time_ns,
            function: Arc::new(function),
            lines,
            numbers: Numbers::default(),
        };
        self.codes.insert(address, code);
    }

    fn forget(&mut self, losses: &mut PythonLosses) {
        losses.forgotten += 1;
        self.codes.clear();
        self.table_bytes = 0;
        self.offsets = 0;
    }

    fn may_read(&mut self, time_ns: u64) -> bool {
        let second = time_ns / 1_000_000_000;
        if second != self.second {
            (self.second, self.read) = (second, 0);
        }
        self.read += 1;
        self.read <= READ_PER_SECOND
    }

    #[cfg(test)]
    pub(super) fn distrust(&mut self) {
        self.codes.values_mut().for_each(|code| code.looked_ns = 0);
    }
}
