//! The kernel's perf events, opened by ourselves: the clocks that take CPU samples, and first touches of pages ([`Sampler`]), and
//! counters of what processes do ([`Counters`]).
#![expect(
    unsafe_code,
    reason = "perf_event_open and its ioctls have no safe wrapper with what is needed"
)]

mod counters;
mod cpus;
mod error;
mod event;
mod jitter;
mod sampler;

pub use counters::{Count, Counter, Counters, Reading, obstacles};
pub use error::PerfError;
pub use jitter::Phase;
pub use sampler::Sampler;
