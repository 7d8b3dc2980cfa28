//! The native unwinder against what programs truly did.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout why it was skipped"
)]

mod changes;
mod compiled;
mod real;
mod signals;
mod support;
