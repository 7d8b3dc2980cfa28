//! The time of one device: what ran when, and what is not known.
//!
//! [`device`] keeps work until the watermark passes it, [`sweep`] splits a stretch of time,
//! [`invalid`] bounds records without timestamps, [`cells`] sums per kernel.

pub(crate) mod cells;
pub(crate) mod device;
pub(crate) mod invalid;
pub(crate) mod sweep;
