//! Code addresses to names, while the process that has them lives; the kernel's by [`KernelNames`].
//!
//! Files are opened through `/proc/PID/map_files`, so other mount namespaces, deleted files and
//! memfds make no difference, and stay open: what was seen once can be named when its process is
//! gone. Names are kept per file and offset, so workers that share libraries share the work.
//!
//! Every address is taken for a return address, which lies behind its call, unless it is the
//! first byte of a function: a probe point, or a sample at an entry.

mod entry;
mod files;
mod kernel;
mod namer;
mod names;
mod perf_map;
mod space;
mod vdso;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use analysis::ids::ProcessKey;

use crate::capture::Frame;
use crate::pipeline::Symbol;

use files::{FileId, Files};
pub use kernel::KernelNames;
use namer::{Job, Namer};
pub use perf_map::parse as parse_perf_map;
use space::{Place, Space};
use vdso::Vdso;

/// Processes whose memory maps are remembered, for addresses that come when they have ended.
const SPACES_MAX: usize = 4096;

/// How long [`Symbols::resolve`] waits.
const RESOLVE_LIMIT: Duration = Duration::from_mins(5);

/// Function of an address that lies in no executable memory: its code was unmapped before it could be
/// named, or the process made it up.
pub const NOT_CODE: &str = "[not code]";

/// Function of an address in memory that nothing was mapped into, where the process does not tell what
/// it made there. Such a frame has no module.
pub const ANONYMOUS_CODE: &str = "[anonymous code]";

/// What naming had to give up, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolLosses {
    /// Mapped files that could not be opened or found the table of open files full.
    pub files: u64,
    /// Addresses named [`NOT_CODE`].
    pub astray: u64,
    /// Addresses of processes that had ended before their memory map was ever read.
    pub too_late: u64,
    /// Addresses whose names were not found in time, or broke the search for them.
    pub unnamed: u64,
}

/// Names code addresses of other processes.
#[derive(Debug, Default)]
pub struct Symbols {
    spaces: HashMap<u32, Space>,
    files: Files,
    namer: Namer,
    vdso: Option<Vdso>,
    losses: SymbolLosses,
}

impl Symbols {
    pub fn new() -> Self {
        Self::default()
    }

    /// The frames of each address of user space, innermost inlined function first; never empty. Those in files are
    /// named elsewhere meanwhile and come with [`Symbols::answers`]. None at all where the process is gone
    /// and unknown.
    pub fn ask(&mut self, process: ProcessKey, pid: u32, addresses: &[u64]) -> Vec<Symbol> {
        let mut symbols = Vec::new();
        if addresses.is_empty() {
            return symbols;
        }
        if self.spaces.len() >= SPACES_MAX && !self.spaces.contains_key(&pid) {
            self.spaces.clear();
        }
        let space = self.spaces.entry(pid).or_default();
        if !space.prepare(pid, addresses) {
            self.losses.too_late += addresses.len() as u64;
            return symbols;
        }
        let mut in_files: HashMap<FileId, Job> = HashMap::new();
        for &address in addresses {
            match space.place(pid, address, &mut self.files) {
                Place::File { file, offset } => {
                    let job = || Job { process, file: Arc::clone(&file), places: Vec::new() };
                    in_files.entry(file.id).or_insert_with(job).places.push((address, offset));
                }
                Place::Anonymous => {
                    let name = space.perf_map.function(pid, address).unwrap_or(ANONYMOUS_CODE);
                    symbols.push(Symbol { address, frames: vec![plain(name.to_owned())] });
                }
                Place::Vdso(offset) => {
                    let vdso = self.vdso.get_or_insert_with(Vdso::of_this_process);
                    let frame = Frame {
                        module: Some(vdso::NAME.to_owned()),
                        ..plain(vdso.function(offset).to_owned())
                    };
                    symbols.push(Symbol { address, frames: vec![frame] });
                }
                Place::Named(function) => {
                    symbols.push(Symbol { address, frames: vec![plain(function)] });
                }
                Place::Nowhere => {
                    self.losses.astray += 1;
                    symbols.push(Symbol { address, frames: vec![plain(NOT_CODE.to_owned())] });
                }
            }
        }
        for job in in_files.into_values() {
            self.namer.ask(job);
        }
        symbols
    }

    /// What was named in files since the last call, and what will be until `limit` has passed.
    pub fn answers(&mut self, limit: Duration) -> Vec<(ProcessKey, Vec<Symbol>)> {
        self.namer.answers(limit)
    }

    /// Addresses in files whose names are still looked for.
    pub fn open(&self) -> u64 {
        self.namer.open()
    }

    /// The thread that looks for names, while there is one.
    pub fn thread(&self) -> Option<i32> {
        self.namer.thread()
    }

    /// What is not named by now never is.
    pub fn give_up(&mut self) {
        self.namer.give_up();
    }

    /// [`Symbols::ask`] and its answers in one, for who has nothing else to do.
    pub fn resolve(&mut self, pid: u32, addresses: &[u64]) -> Vec<Symbol> {
        let mut symbols = self.ask(ProcessKey(0), pid, addresses);
        let answers = self.namer.answers(RESOLVE_LIMIT);
        symbols.extend(answers.into_iter().flat_map(|(_, symbols)| symbols));
        symbols
    }

    /// The process executes another program, or is another one of the same number.
    pub fn forget(&mut self, pid: u32) {
        self.spaces.remove(&pid);
    }

    /// What could not be named, and why.
    pub fn losses(&self) -> SymbolLosses {
        SymbolLosses { files: self.files.refused(), unnamed: self.namer.lost(), ..self.losses }
    }
}

fn plain(function: String) -> Frame {
    Frame { function, ..Frame::default() }
}

#[cfg(test)]
mod tests;
