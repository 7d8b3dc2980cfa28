//! Python in other processes, from outside: where an interpreter keeps its threads and frames, which
//! function and line a frame stands for, and how Python's frames and native ones make one stack.
//!
//! Everything is read from memory and files of processes that may be hostile or ending: every read
//! has a bound, every number is checked before it is used, and what cannot be told is counted. The
//! processes are never stopped and nothing is written to them.

mod code;
mod error;
mod eval;
mod find;
mod gil;
mod memory;
mod merge;
mod module_name;
mod names;
mod offsets;
mod published;
mod runtime;
mod symbols;
mod text;
mod thread_slot;
mod version;
mod walk;

pub mod line_table;

pub use error::PythonError;
pub use memory::{Memory, ProcessMemory};
pub use merge::{Native, Seams, merge};
pub use names::passes_calls;
pub use runtime::Runtime;
#[doc(hidden)]
pub use runtime::rehearse;
pub use symbols::{PythonLosses, PythonSymbols, UNKNOWN};
pub use version::Version;
pub use walk::Walked;
