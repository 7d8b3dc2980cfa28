//! `analyze` of every trace of the shared corpus against computations that share no code with it:
//! the files are read, their times swept and their operators judged here, a second time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and skip aloud, as tests do"
)]

mod classes;
mod corpus;
mod figures;
mod hta;
mod implied;
mod kineto;
mod nsys;
mod sweep;
mod trace;
