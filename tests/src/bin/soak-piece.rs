//! `soak-piece`: one piece of a soak, on the simulated CUDA; one line of JSON says what it saw.
//!
//! Exit status 0: all was as it should be; 3: something was not, and the line says what; 1: it could not be run; 2: usage.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use warplens_tests::soak::hosts::Kind;
use warplens_tests::soak::{INTERRUPTED, attach, records};

#[derive(Debug, Parser)]
#[command(
    name = "soak-piece",
    about = "Runs one piece of a soak on the simulated CUDA and prints a line of JSON",
    after_help = "Exit status: 0 all as it should be, 1 not run, 2 usage, 3 a finding. `cargo xtask soak` adds pieces up."
)]
struct Options {
    /// Seed of everything random
    #[arg(long, global = true, default_value_t = 1)]
    seed: u32,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Kernel records with graphs, through CUPTI, shim, ring and agent
    Records {
        #[arg(long, default_value_t = 5_000_000)]
        kernels: u64,
        /// Kernels a second
        #[arg(long, default_value_t = 200_000)]
        rate: u32,
        #[arg(long, value_enum, default_value = "daemon")]
        reader: records::Reader,
    },
    /// Entering a busy process, in rehearsal and in earnest
    Attach {
        #[arg(long, value_enum)]
        host: Kind,
        #[arg(long, default_value_t = 1)]
        processes: u32,
        /// Of each process
        #[arg(long, default_value_t = 20)]
        rehearsals: u32,
        /// Of each process: attached, counted, detached
        #[arg(long, default_value_t = 5)]
        cycles: u32,
    },
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _closed = writeln!(std::io::stderr(), "soak-piece: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("install the interrupt handler")?;
    std::thread::spawn(move || {
        for _signal in signals.forever() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
    let seed = options.seed;
    match options.part {
        Part::Records { kernels, rate, reader } => {
            let piece = records::piece(&records::Plan { kernels, rate, seed, reader })?;
            tell(&piece, &piece.complaints)
        }
        Part::Attach { host: kind, processes, rehearsals, cycles } => {
            let plan = attach::Plan { kind, seed, processes, rehearsals, cycles };
            let piece = attach::piece(&plan)?;
            tell(&piece, &piece.complaints)
        }
    }
}

fn tell(piece: &impl Serialize, complaints: &[String]) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, piece)?;
    writeln!(out)?;
    Ok(complaints.is_empty())
}
