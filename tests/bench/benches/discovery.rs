//! What it costs to know a node's vLLM servers: a first look at everything, and a look when little
//! has changed, which a daemon takes every two seconds.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use warplens::proc::Discovery;
use warplens_bench::{figure, median};

/// Processes beside those that are here anyway.
const PROCESSES: usize = 2_000;
const LOOKS: usize = 50;

/// Ended with this value.
struct Crowd(Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Gone already is gone.
            let _gone = child.kill();
            let _ended = child.wait();
        }
    }
}

fn main() -> Result<()> {
    let sleep = || Command::new("sleep").arg("300").stdin(Stdio::null()).spawn();
    let crowd = Crowd((0..PROCESSES).map(|_| sleep()).collect::<Result<_, _>>()?);
    let here = warplens::proc::pids().len();
    ensure!(here >= PROCESSES, "only {here} processes");
    let mut node = Discovery::new();
    let begin = Instant::now();
    node.look(begin);
    let first = begin.elapsed().as_secs_f64();
    ensure!(node.changed().len() >= PROCESSES, "a first look looks at everybody");
    let mut again = Vec::new();
    let mut touched = 0;
    for _ in 0..LOOKS {
        let begin = Instant::now();
        node.look(begin);
        again.push(begin.elapsed().as_secs_f64());
        touched += node.changed().len();
    }
    ensure!(touched < LOOKS * 200, "{touched} changes among sleeping processes");
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let thousands = here as f64 / 1e3;
    figure("discovery/processes", thousands * 1e3, "processes");
    figure("discovery/first-look", first * 1e3 / thousands, "ms per 1000 processes");
    figure("discovery/look", median(again) * 1e3, "ms");
    drop(crowd);
    Ok(())
}
