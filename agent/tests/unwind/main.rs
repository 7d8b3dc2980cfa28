//! The native unwinder against what programs truly did.

mod compiled;
mod signals;
mod support;
