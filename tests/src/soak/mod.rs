//! Long runs in pieces: each drives the whole path for some seconds, holds everything against what really happened,
//! and says what it measured and what was wrong. `cargo xtask soak` adds pieces up; the tests run short ones.

pub mod attach;
pub mod hosts;
pub mod records;
pub mod totals;
pub mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Somebody asked for the end: what was started ends with the piece.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a piece looks whether it goes on.
const LOOK: Duration = Duration::from_millis(50);

/// Waits; an error once somebody asked for the end.
///
/// # Errors
/// When [`INTERRUPTED`] is set meanwhile.
pub fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        match end.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => std::thread::sleep(LOOK.min(left)),
            _ => return Ok(()),
        }
    }
}
