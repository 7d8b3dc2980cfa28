//! The classifier against the labelled names of the shared corpus: how far it agrees, what is left
//! of that when part of the corpus is taken away, and whether its rules know families or names.
//!
//! The corpus is read where it lies and is no part of the repository; without it each test says so
//! and does nothing.

mod agreement;
mod left_out;
mod names;
mod rows;
mod traps;
