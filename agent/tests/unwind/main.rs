//! The native unwinder against what programs truly did.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod changes;
mod compiled;
mod real;
mod signals;
mod support;
