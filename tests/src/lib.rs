//! What the integration tests share: the harness that starts programs, and the judge that compares
//! a report with what the simulated GPUs really did.
#![forbid(unsafe_code)]

pub mod harness;
pub mod judge;
