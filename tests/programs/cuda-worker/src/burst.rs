//! What a launch costs its thread: bursts of launches, timed, with waits between them that are not.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::sites::Thread;

/// Launches timed together: long against the clock's cost, short against a scheduler's tick. Whether a stream of a real
/// driver takes so many before a launch waits for room was not tried.
const BURST: u32 = 500;

/// What the bursts took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Burst {
    /// Of the launching thread, the waits left out: median of the bursts.
    ns_per_launch: f64,
    /// Waits included.
    kernels_per_second: f64,
}

/// Launches so many bursts.
pub(crate) fn measure(thread: &mut Thread<'_>, bursts: u32) -> Result<Burst> {
    // The first one warms caches.
    burst(thread)?;
    let begin = Instant::now();
    let mut figures = (0..bursts).map(|_| burst(thread)).collect::<Result<Vec<f64>>>()?;
    let elapsed = begin.elapsed().as_secs_f64();
    figures.sort_by(f64::total_cmp);
    Ok(Burst {
        ns_per_launch: figures.get(figures.len() / 2).copied().unwrap_or(0.0),
        kernels_per_second: f64::from(bursts) * f64::from(BURST) / elapsed,
    })
}

fn burst(thread: &mut Thread<'_>) -> Result<f64> {
    let begin = Instant::now();
    for _ in 0..BURST {
        thread.launch_short();
    }
    let elapsed = begin.elapsed();
    thread.wait_for_all()?;
    Ok(elapsed.as_secs_f64() * 1e9 / f64::from(BURST))
}
