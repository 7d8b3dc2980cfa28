//! `repeat-trace`: makes a large Chrome trace by repeating a small one, later each time and with
//! correlation ids of its own. The same input gives the same output.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use warplens_tests::traces;

#[derive(Debug, Parser)]
#[command(
    name = "repeat-trace",
    after_help = "Example: repeat-trace rank0.json.gz 2000000000 big.json"
)]
struct Options {
    /// The trace to repeat, .json or .json.gz
    from: PathBuf,
    /// Least size of the result, bytes
    bytes: u64,
    /// Where it goes
    to: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let made = traces::make(&options.from, options.bytes, &options.to)
        .with_context(|| format!("make {}", options.to.display()))?;
    writeln!(std::io::stdout(), "{made:?}").context("write to standard output")
}
