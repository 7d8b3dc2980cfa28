//! What the integration tests share: the harness that starts programs, the judge that compares
//! a report with what the simulated GPUs really did, long runs, large traces, and the questions for a real GPU.
#![forbid(unsafe_code)]

pub mod gpu;
pub mod harness;
pub mod judge;
pub mod soak;
pub mod traces;
