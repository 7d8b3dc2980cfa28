//! Randomness of a test that can be had again: `WARPLENS_CHAOS_SEED` sets the seed that a failed run
//! printed, `WARPLENS_CHAOS_ROUNDS` multiplies the rounds for a long run.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^= value >> 31;
        // The bias of a plain remainder is far below what a test could show.
        usize::try_from(value % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// A length in `0..limit_ms`.
    pub fn millis(&mut self, limit_ms: usize) -> std::time::Duration {
        std::time::Duration::from_millis(self.below(limit_ms) as u64)
    }
}

/// The seed that the environment asks for, else another one each time. Printed, so that a failure can
/// be had again.
#[expect(clippy::print_stdout, reason = "shown with a failed test")]
pub fn seed() -> u64 {
    let asked = env::var("WARPLENS_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or_else(|| {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(time.subsec_nanos() ^ std::process::id())
    });
    println!("WARPLENS_CHAOS_SEED={seed}");
    seed
}

/// So many rounds, or as many times more as the environment asks for.
pub fn rounds(usual: u32) -> u32 {
    let factor = env::var("WARPLENS_CHAOS_ROUNDS").ok().and_then(|text| text.parse::<u32>().ok());
    usual.saturating_mul(factor.unwrap_or(1).max(1))
}
