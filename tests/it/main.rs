//! Integration tests, one module a tier. What a tier needs and does not find is printed as SKIP;
//! `REQUIRE=tier,...` turns such a skip into a failure.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helper fails by panicking, and says what was measured"
)]

mod bpf;
mod chaos;
mod cli;
mod deploy;
mod e2e;
mod real;
mod real_vllm;
mod shim;
mod sim;
