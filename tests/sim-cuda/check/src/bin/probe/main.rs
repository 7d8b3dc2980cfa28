//! A program that uses the simulated CUDA as a profiler and its host would, and checks what it sees.
//! One case per run, named by the first argument: a case that fails panics.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program: failing loudly is its job"
)]

mod api;
mod cases;
mod collect;
mod gpu;

fn main() {
    let case = std::env::args().nth(1).unwrap_or_default();
    let Some((_, run)) = cases::ALL.iter().find(|(name, _)| *name == case) else {
        let names: Vec<&str> = cases::ALL.iter().map(|(name, _)| *name).collect();
        panic!("no case {case:?}; there are: {}", names.join(" "));
    };
    run();
}
