//! Where a function of an ELF file lies, and what a probe on it costs.
//!
//! The files belong to the processes under observation, so nothing in them is trusted: reads are
//! bounded in number of bytes, and no content makes this module panic.

mod file;
mod object;
mod site;
mod symbol;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use thiserror::Error;

pub use object::{Extent, Object, Segment};
pub use site::{Instruction, Site};
pub use symbol::Symbol;

/// Why a file gives no symbols.
#[derive(Debug, Error)]
pub enum ElfError {
    #[error("open {path}; the process may have ended, or the agent lacks CAP_CHECKPOINT_RESTORE")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a regular file of an executable for this machine: {reason}")]
    Malformed { path: String, reason: String },
}

/// The dynamic symbols of this name that `path` defines, with the file offset a probe goes to.
pub fn find<'n>(path: &Path, names: &[&'n str]) -> Result<BTreeMap<&'n str, Symbol>, ElfError> {
    let file = file::Bounded::open(path)
        .map_err(|source| ElfError::Open { path: path.display().to_string(), source })?;
    symbol::find(&file, names)
        .map_err(|reason| ElfError::Malformed { path: path.display().to_string(), reason })
}

/// [`find`] in bytes that are at hand.
pub fn find_in<'n>(bytes: &[u8], names: &[&'n str]) -> Result<BTreeMap<&'n str, Symbol>, ElfError> {
    symbol::find(bytes, names)
        .map_err(|reason| ElfError::Malformed { path: "the given bytes".to_owned(), reason })
}

/// Whether `path` defines the dynamic symbol `name`, function or not. The marker of the simulated
/// CUDA is looked for this way.
pub fn defines(path: &Path, name: &str) -> Result<bool, ElfError> {
    find(path, &[name]).map(|found| !found.is_empty())
}

/// Bytes read of a file that may be an interpreter: a debug build of CPython has 3 MB of symbols, and a
/// program that has it built in may have ten times as many.
const INTERPRETER_BUDGET: u64 = 32 << 20;

/// Segments of an open file, and one section of it by name.
pub fn sections(file: &File, name: &str, section: &str) -> Result<Object, ElfError> {
    object::sections(&bounded(file, name)?, section).map_err(|reason| malformed(name, reason))
}

/// Symbols of an open file, dynamic ones first; the first [`Extent`] of a name is the one that counts.
pub fn symbols(
    file: &File,
    name: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Extent)>, ElfError> {
    object::symbols(&bounded(file, name)?, wanted).map_err(|reason| malformed(name, reason))
}

fn bounded(file: &File, name: &str) -> Result<file::Bounded, ElfError> {
    file.try_clone()
        .and_then(|file| file::Bounded::of(file, INTERPRETER_BUDGET))
        .map_err(|source| ElfError::Open { path: name.to_owned(), source })
}

fn malformed(path: &str, reason: String) -> ElfError {
    ElfError::Malformed { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests;
