//! `trace.pftrace`, read back by a viewer of the tests' own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and skip aloud, as tests do"
)]

mod drawn;
mod files;
mod format;
mod viewer;
