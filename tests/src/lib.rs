//! What the integration tests share: the harness that starts programs, the judge that compares
//! a report with what the simulated GPUs really did, long runs, and large traces.
#![forbid(unsafe_code)]

pub mod harness;
pub mod judge;
pub mod soak;
pub mod traces;
