//! Integration tests, one module a tier. What a tier needs and does not find is printed as SKIP;
//! `REQUIRE=tier,...` turns such a skip into a failure.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking, as the test does")]

mod bpf;
mod cli;
mod e2e;
mod real;
mod shim;
mod sim;
