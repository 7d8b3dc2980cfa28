//! `cargo xtask`: every task that is not plain cargo. This file is the table of contents.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

mod aarch64;
mod artefacts;
mod bench;
mod build;
mod child;
mod demo;
mod fuzz;
mod gpu;
mod hta;
mod kept;
mod kernels;
mod kubernetes;
mod load;
mod miri;
mod nvidia;
mod py_spy;
mod pythons;
mod real_vllm;
mod sanitize;
mod setup;
mod soak;
mod test;
mod tidy;
mod venv;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Warplens' tasks beyond plain cargo. `cargo xtask demo` is the place to start.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what this machine lacks to build and test; says what it does, skips what is there
    Setup,
    /// Build the programs that run in the kernel (ebpf/)
    Ebpf,
    /// Build the simulated CUDA libraries and lay them out under their real names
    Sim,
    /// Build the library that the CUDA driver loads into a worker (release)
    Shim,
    /// Install `HolisticTraceAnalysis` for the comparison of traces, and print its Python
    Hta,
    /// Unpack Python interpreters of further versions for the tests, and print their folder
    Pythons,
    /// Build everything a user runs: kernel programs, shim, `warplens` (release)
    Build,
    /// Run the test tiers in order of cost; installs what is missing first
    Test(test::Args),
    /// The tests with clean settings, as continuous integration runs them
    Ci,
    /// Check what the compiler does not: file sizes, imports, documentation of keys and metrics
    Tidy,
    /// Type-check everything for aarch64 and build the shim for it
    Aarch64,
    /// Profile a simulated vLLM on two simulated GPUs (or the real one that runs here)
    Demo(demo::Args),
    /// Measure the cost of everything that runs beside a worker
    Bench(bench::Args),
    /// Feed every reader of what others wrote with whatever libFuzzer comes upon
    Fuzz(fuzz::Args),
    /// Run the ring's and the shim's tests in Miri, which sees data races and memory used against its rules (gets a nightly Rust)
    Miri,
    /// Run the shim with the address sanitizer: its own tests, and in every host of the tier `shim`
    Sanitize,
    /// Run the kernel programs in kernels of other versions, booted in QEMU; writes docs/kernels.md
    Kernels(kernels::Args),
    /// Run everything for long, in pieces that add up: records by the million, entries by the thousand; writes docs/soak.md
    Soak(soak::Args),
    /// Ask what only a machine with an NVIDIA GPU can answer: pack a bundle, ask, write docs/hardware.md
    Gpu(gpu::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    child::install_interrupt()?;
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => setup::run(&workspace),
        Task::Ebpf => build::ebpf(&workspace).map(|object| println!("{}", object.display())),
        Task::Sim => build::simulator(&workspace).map(|folder| println!("{}", folder.display())),
        Task::Shim => build::shim(&workspace).map(|library| println!("{}", library.display())),
        Task::Hta => hta::python(&workspace).map(|python| println!("{}", python.display())),
        Task::Pythons => pythons::unpack(&workspace).map(|folder| println!("{}", folder.display())),
        Task::Build => build::release(&workspace),
        Task::Test(args) => test::run(&workspace, args),
        Task::Ci => test::run(&workspace.pristine(), &test::Args::everything()),
        Task::Tidy => tidy::run(&workspace),
        Task::Aarch64 => aarch64::run(&workspace),
        Task::Demo(args) => demo::run(&workspace, args),
        Task::Bench(args) => bench::run(&workspace, args),
        Task::Fuzz(args) => fuzz::run(&workspace, args),
        Task::Miri => miri::run(&workspace),
        Task::Sanitize => sanitize::run(&workspace),
        Task::Kernels(args) => kernels::run(&workspace, args),
        Task::Soak(args) => soak::run(&workspace, args),
        Task::Gpu(args) => gpu::run(&workspace, args),
    }
}
