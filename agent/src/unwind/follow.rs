//! Following code of a process: what it needs of the process's memory. Code of files comes from the
//! files; code made at run time from `/proc/PID/mem`, while it runs on.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::forward::{self, Reached, Target};
use super::modules::Found;
use super::row::{State, Step, Stuck};
use super::space::Located;
use super::{Copied, Unwinder, trampoline};

impl Unwinder {
    /// The caller of code without unwind information, if following it shows one.
    pub(super) fn follow(
        &mut self,
        pid: u32,
        state: &State,
        stack: &Copied<'_>,
    ) -> Option<Result<Step, Stuck>> {
        if let Located::Trampoline(offset) = self.locate(pid, state.instruction_pointer()) {
            let caller =
                trampoline::leave(offset, state, stack, |back| self.is_behind_nop(pid, back))?;
            return Some(Ok(Step::Caller(caller)));
        }
        let mut memory = Memory { unwinder: self, pid, file: None };
        let step = match forward::follow(state, stack, &mut memory)? {
            Reached::Caller(caller) => Ok(Step::Caller(caller)),
            Reached::Described(state) => {
                let address = state.instruction_pointer();
                let Located::File(id, at) = self.locate(pid, address) else {
                    return None;
                };
                let Found::Row(row) = self.row(id, at, at) else {
                    return None;
                };
                row.step(&state, stack)
            }
        };
        self.losses.followed += 1;
        Some(step)
    }

    /// Whether a file has a probe's nop in front of `address`.
    fn is_behind_nop(&mut self, pid: u32, address: u64) -> bool {
        let length = trampoline::NOP.len();
        let place = address.wrapping_sub(length as u64);
        match self.locate(pid, place) {
            Located::File(id, at) => *self.modules.read(id, at, length) == trampoline::NOP,
            _ => false,
        }
    }
}

struct Memory<'a> {
    unwinder: &'a mut Unwinder,
    pid: u32,
    /// Opened when it is needed.
    file: Option<File>,
}

impl Memory<'_> {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        if self.file.is_none() {
            self.file = File::open(format!("/proc/{}/mem", self.pid)).ok();
        }
        self.file.as_ref().and_then(|file| file.read_at(buffer, address).ok()).unwrap_or(0)
    }
}

impl Target for Memory<'_> {
    fn code(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        match self.unwinder.locate(self.pid, address) {
            Located::File(id, at) => {
                let bytes = self.unwinder.modules.read(id, at, buffer.len());
                let (head, _) = buffer.split_at_mut(bytes.len());
                head.copy_from_slice(&bytes);
                bytes.len()
            }
            Located::NoFile => self.read(address, buffer),
            Located::Trampoline(_) | Located::Nowhere | Located::Unknown => 0,
        }
    }

    fn word(&mut self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(address, &mut bytes) == bytes.len()).then(|| u64::from_le_bytes(bytes))
    }

    fn is_described(&mut self, address: u64) -> bool {
        match self.unwinder.locate(self.pid, address) {
            Located::File(id, at) => matches!(self.unwinder.row(id, at, at), Found::Row(_)),
            Located::NoFile | Located::Trampoline(_) | Located::Nowhere | Located::Unknown => false,
        }
    }
}
