//! The kernel programs, really loaded and attached, with this test process (or a child) as target.
//!
//! Where root or BPF is missing every test prints SKIP with the reason; where they are there, a
//! test that cannot attach fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout why it was skipped"
)]

mod copies;
mod cpu;
mod features;
mod hostile;
mod launches;
mod phase;
mod process;
mod python;
mod sleeps;
mod support;
mod threads;
mod touches;
mod verify;
