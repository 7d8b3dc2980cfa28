//! The native unwinder against what programs truly did.

mod changes;
mod compiled;
mod real;
mod signals;
mod support;
