//! Native stacks from what the kernel programs copied: registers and bytes of the stack, by the
//! unwind information of the mapped files. Frame pointers are not needed and not believed.
//!
//! Files are opened through `/proc/PID/map_files`, so other mount namespaces and deleted files make
//! no difference, and never mapped. What cannot be known ends the walk, with the reason: no guess
//! stands for a frame. Bytes of stacks are looked at and not kept.

mod code;
mod expression;
mod follow;
mod forward;
mod function;
mod image;
mod index;
mod modules;
mod recent;
mod rehearsal;
mod row;
mod space;
mod trampoline;

use std::collections::HashMap;
use std::ops::Range;

use wire::limits::STACK_FRAMES;

use crate::stack::Remark;

use modules::{Found, ModuleId, Modules};
use recent::Recent;
use row::{State, Step, Stuck};
use space::{Located, Space};

#[doc(hidden)]
pub use rehearsal::{rehearse_code, rehearse_file};

/// General-purpose registers by DWARF number, and the instruction pointer.
pub type Registers = [u64; wire::kernel::REGISTERS];

/// Processes whose mappings are remembered.
const SPACES_MAX: usize = 4096;

/// Bytes within which a caller's frame belongs to the same stack; those of other threads may lie
/// anywhere. The usual limit is 8 MiB.
const STACK_BYTES: u64 = 64 << 20;

/// What a stack is unwound from. Without `Debug`, which would show bytes of a user's stack.
#[derive(Clone, Copy)]
pub struct Copied<'a> {
    /// Registers of the thread in user mode.
    pub registers: &'a Registers,
    /// Address of the first of `bytes`.
    pub start: u64,
    /// The stack, from the stack pointer on or from a little before: functions that call nothing may
    /// use 128 bytes in front of it.
    pub bytes: &'a [u8],
    /// The stack goes on behind `bytes`.
    pub longer: bool,
}

impl Copied<'_> {
    /// Up to eight bytes as a number.
    fn value(&self, address: u64, size: usize) -> Result<u64, Stuck> {
        let inside = address.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let bytes = inside.and_then(|at| self.bytes.get(at..)).and_then(|rest| rest.get(..size));
        let bytes = bytes.ok_or(Stuck::Memory(address))?;
        let mut word = [0; 8];
        word.get_mut(..size).ok_or(Stuck::Rule)?.copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    /// Why there is nothing at `address`.
    fn missing(&self, address: u64) -> Remark {
        let behind = self.start.saturating_add(self.bytes.len() as u64);
        if self.longer
            && address.saturating_add(8) > behind
            && address < behind.saturating_add(STACK_BYTES)
        {
            Remark::TooLong
        } else {
            Remark::StackUnread
        }
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeFrame {
    /// The instruction pointer of the leaf and of frames a signal interrupted; the return address
    /// of others.
    pub address: u64,
    /// The stack pointer while the frame was the innermost one.
    pub stack_pointer: u64,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a thread's first function.
    Root,
    /// Frames are missing at the root, because of this.
    Cut(Remark),
}

/// How the walks ended since the start, and what could not be used for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwindLosses {
    /// Walks that reached a thread's first function.
    pub whole: u64,
    /// Walks that were cut, all of them.
    pub cut: u64,
    /// The stack was longer than what is copied.
    pub too_long: u64,
    /// In executable memory without a file: code made at run time.
    pub anonymous: u64,
    /// In a file's code without unwind information, or with such that does not lead on.
    pub no_information: u64,
    /// At an address that is no code.
    pub astray: u64,
    /// The caller's frame was not among the copied bytes, although the stack was not longer.
    pub stack_unread: u64,
    /// More frames than are kept.
    pub too_many_frames: u64,
    /// At an address whose mapping was not known, when the mappings could not be read again.
    pub maps_changed: u64,
    /// Functions whose unwind information is damaged or uses what is not supported.
    pub damaged: u64,
    /// Frames in code without unwind information whose caller was found by following the code.
    pub followed: u64,
    /// Files not opened because too many were.
    pub files_refused: u64,
    /// Times that all evaluated functions were let go to make room.
    pub flushed: u64,
}

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub processes: usize,
    pub files: usize,
    /// Pieces of functions in which one row holds.
    pub pieces: usize,
    /// Rows, each counted once.
    pub rows: usize,
}

/// Unwinds stacks of any number of processes.
#[derive(Debug, Default)]
pub struct Unwinder {
    spaces: HashMap<u32, Space>,
    modules: Modules,
    recent: Recent,
    losses: UnwindLosses,
}

impl Unwinder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the frames of a stack of process `pid`, leaf first. Only addresses of code become
    /// frames.
    pub fn unwind(&mut self, pid: u32, stack: &Copied<'_>, frames: &mut Vec<NativeFrame>) -> End {
        let end = self.walk(pid, stack, frames);
        let counter = match end {
            End::Root => {
                self.losses.whole += 1;
                return end;
            }
            End::Cut(Remark::TooLong) => &mut self.losses.too_long,
            End::Cut(Remark::AnonymousCode) => &mut self.losses.anonymous,
            End::Cut(Remark::Astray) => &mut self.losses.astray,
            End::Cut(Remark::StackUnread) => &mut self.losses.stack_unread,
            End::Cut(Remark::TooManyFrames) => &mut self.losses.too_many_frames,
            End::Cut(Remark::MapsChanged) => &mut self.losses.maps_changed,
            End::Cut(_) => &mut self.losses.no_information,
        };
        *counter += 1;
        self.losses.cut += 1;
        end
    }

    fn walk(&mut self, pid: u32, stack: &Copied<'_>, frames: &mut Vec<NativeFrame>) -> End {
        self.begin(pid);
        let mut state = State::of_leaf(stack.registers);
        // The leaf's instruction is the one that is carried out; a return address lies behind its
        // call, which may be the function's last instruction.
        let mut exact = true;
        for depth in 0..STACK_FRAMES {
            let address = state.instruction_pointer();
            if address == 0 && depth > 0 {
                // What coroutines and threads of some libraries put below their first function.
                return End::Root;
            }
            let instruction = if exact { address } else { address.wrapping_sub(1) };
            let located = self.locate(pid, instruction);
            let found = match located {
                Located::File(id, at) => {
                    let code = at.wrapping_add(address.wrapping_sub(instruction));
                    self.row(id, at, code)
                }
                Located::NoFile | Located::Trampoline(_) => Found::Nothing,
                Located::Nowhere => return End::Cut(Remark::Astray),
                Located::Unknown => return End::Cut(Remark::MapsChanged),
            };
            frames.push(frame(&state));
            let (step, signal) = match found {
                Found::Row(row) => (row.step(&state, stack), row.signal),
                Found::Entry => return End::Root,
                Found::Nothing => match self.follow(pid, &state, stack) {
                    Some(step) => (step, false),
                    None if matches!(located, Located::NoFile | Located::Trampoline(_)) => {
                        return End::Cut(Remark::AnonymousCode);
                    }
                    None => return End::Cut(Remark::NoUnwindInformation),
                },
            };
            let caller = match step {
                Ok(Step::Caller(caller)) => caller,
                Ok(Step::Root) => return End::Root,
                Err(Stuck::Memory(address)) => return End::Cut(stack.missing(address)),
                Err(Stuck::Rule) => return End::Cut(Remark::NoUnwindInformation),
            };
            // Every return takes something off the stack; only signals change stacks.
            if !signal && caller.stack_pointer() <= state.stack_pointer() {
                return End::Cut(Remark::Astray);
            }
            exact = signal;
            state = caller;
        }
        End::Cut(Remark::TooManyFrames)
    }

    fn begin(&mut self, pid: u32) {
        self.modules.begin();
        if self.spaces.len() >= SPACES_MAX && !self.spaces.contains_key(&pid) {
            self.spaces.clear();
            self.modules.sweep(std::iter::empty());
        }
        self.spaces.entry(pid).or_default().begin(pid);
    }

    fn locate(&mut self, pid: u32, address: u64) -> Located {
        let Some(space) = self.spaces.get_mut(&pid) else {
            return Located::Nowhere;
        };
        space.known(address).unwrap_or_else(|| {
            space.prepare(pid, address);
            space.locate(pid, address, &mut self.modules)
        })
    }

    /// What holds at `address`, which is the byte before `code` where that is a return address.
    fn row(&mut self, id: ModuleId, address: u64, code: u64) -> Found {
        if let Some(row) = self.recent.get(id, address) {
            return Found::Row(row);
        }
        let mut found = self.modules.find(id, address);
        if let Found::Nothing = found
            && let Some(row) = self.modules.recognise(id, code)
        {
            found = Found::Row(row);
        }
        if let Found::Row(row) = &found {
            self.recent.put(id, address, row);
        }
        found
    }

    /// The addresses of the function, or of the part of one, that unwind information describes as
    /// one piece and `address` lies in. A function that the compiler split has two such parts.
    pub fn function_at(&mut self, pid: u32, address: u64) -> Option<Range<u64>> {
        self.begin(pid);
        let Located::File(id, at) = self.locate(pid, address) else {
            return None;
        };
        let (start, end) = self.modules.function(id, at)?;
        let bias = address.wrapping_sub(at);
        Some(start.wrapping_add(bias)..end.wrapping_add(bias))
    }

    /// The process ended or executed another program: what was known of its memory is void.
    pub fn forget(&mut self, pid: u32) {
        self.spaces.remove(&pid);
        self.modules.sweep(self.spaces.values().flat_map(Space::modules));
    }

    /// How the walks ended.
    pub fn losses(&self) -> UnwindLosses {
        UnwindLosses {
            damaged: self.modules.damaged,
            files_refused: self.modules.refused,
            flushed: self.modules.flushed,
            ..self.losses
        }
    }

    /// What is kept.
    pub fn kept(&self) -> Kept {
        let (pieces, rows) = self.modules.kept();
        Kept { processes: self.spaces.len(), files: self.modules.len(), pieces, rows }
    }
}

fn frame(state: &State) -> NativeFrame {
    NativeFrame { address: state.instruction_pointer(), stack_pointer: state.stack_pointer() }
}

#[cfg(test)]
mod tests;
