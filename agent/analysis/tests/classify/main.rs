//! The classifier on names that no corpus is needed for.

mod dialects;
mod hints;
mod robust;
mod traps;
