//! Arguments of `leaks`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{NamesArgs, TargetArgs, duration};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    warplens leaks --pid 4242\n  \
    warplens leaks --model meta-llama/Llama-3.3-70B-Instruct -d 10m\n  \
    warplens leaks --all -d 1h --fail-on 0.8 --json\n\n\
    What is seen: calls of CUDA that take and give back memory, each; and the heap of the C library (malloc, new),\n\
    sampled by bytes. Processes without the shim get it (`warplens attach` says how), those of `--all` excepted; it\n\
    stays, asleep. What a caching allocator keeps for itself is live. Of memory that was there before, nothing is known.\n\
    A verdict needs 24 steps; a leak of a piece a cycle needs three cycles. Act on a confidence of 0.8.")]
pub struct LeaksArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    /// How long, such as 60s, 10m or 1h
    #[arg(short, long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub duration: Duration,

    /// How often what is live is written down
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub step: Duration,

    /// Folder for the report, the flame graph of what is live, a heap profile and the recording
    #[arg(short, long, value_name = "DIR", default_value = "warplens-out")]
    pub out: PathBuf,

    /// Exit with 3 when something leaks with this confidence or more, from 0 to 1
    #[arg(long, value_name = "CONFIDENCE", value_parser = confidence)]
    pub fail_on: Option<f64>,

    /// Leave the host's heap alone: no process gets the shim, and only calls of CUDA are seen
    #[arg(long)]
    pub no_heap: bool,

    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub names: NamesArgs,
}

fn confidence(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_error| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("not from 0 to 1".to_owned()) }
}
