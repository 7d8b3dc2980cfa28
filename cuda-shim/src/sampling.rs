//! Which launches pass the probe point. Pure: the time is an argument.
//!
//! Per function (kernel or graph), launches come in blocks of n = 2^shift; one of each block is
//! picked uniformly and stands for n launches. The first block has n = 1, so a function's first
//! launch is always taken. `shift` follows the thread's sampling rate.

use wire::limits::SAMPLED_FUNCTIONS;

/// Window over which the rate is judged, ns. Short enough to settle before a burst is over.
const WINDOW_NS: u64 = 125_000_000;
/// Samples of one window never exceed this multiple of the budget; what is picked beyond is dropped.
const BURST: u32 = 4;
/// Largest block: 2^16 launches of one function between two samples.
const SHIFT_MAX: u32 = 16;

/// Block of launches of one function.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Launches in the block; 0 = function not seen yet.
    length: u32,
    /// Index of the picked launch.
    pick: u32,
    /// Launches so far.
    at: u32,
}

/// Sampling state of one thread. All zero is a valid start.
#[derive(Debug)]
pub(crate) struct Sampler {
    random: u64,
    window_start: u64,
    /// Picks in this window, dropped ones too.
    picked: u32,
    shift: u32,
    blocks: [Block; SAMPLED_FUNCTIONS],
}

impl Sampler {
    /// Decides about one launch of the function `key` at `now_ns`, for a rate of `per_second`.
    /// Returns the number of launches a sample stands for, or 0.
    pub(crate) fn decide(&mut self, key: u64, now_ns: u64, per_second: u32) -> u32 {
        let budget = (per_second / 8).max(1);
        self.turn_window(now_ns, budget);
        let slot = slot_of(key);
        if self.blocks[slot].at >= self.blocks[slot].length {
            let length = if self.blocks[slot].length == 0 {
                1
            } else {
                1 << self.shift
            };
            let pick = self.next_random(key) & (length - 1);
            self.blocks[slot] = Block {
                length,
                pick,
                at: 0,
            };
        }
        let block = &mut self.blocks[slot];
        let picked = block.at == block.pick;
        block.at += 1;
        if !picked {
            return 0;
        }
        let length = block.length;
        self.picked = self.picked.saturating_add(1);
        if self.picked > budget.saturating_mul(BURST) {
            0
        } else {
            length
        }
    }

    /// Adapts `shift` at the end of a window: the rate is off by picked / budget.
    fn turn_window(&mut self, now_ns: u64, budget: u32) {
        // A clock that went backwards starts a window, too.
        let elapsed = now_ns.wrapping_sub(self.window_start);
        if elapsed < WINDOW_NS {
            return;
        }
        if elapsed < 2 * WINDOW_NS {
            if self.picked > budget {
                let steps = (self.picked / budget).ilog2().max(1);
                self.shift = (self.shift + steps).min(SHIFT_MAX);
            } else if self.picked.saturating_mul(2) <= budget {
                self.shift = self.shift.saturating_sub(1);
            }
        } else {
            // The thread paused: what it did before tells little about now.
            self.shift = self.shift.saturating_sub(2);
        }
        self.window_start = now_ns;
        self.picked = 0;
    }

    /// xorshift64; seeded by the first key and time it meets.
    fn next_random(&mut self, key: u64) -> u32 {
        if self.random == 0 {
            self.random = (key ^ self.window_start).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

/// Fibonacci hashing; handles are aligned pointers, whose low bits say nothing.
fn slot_of(key: u64) -> usize {
    const BITS: u32 = SAMPLED_FUNCTIONS.ilog2();
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler() -> Box<Sampler> {
        Box::new(Sampler {
            random: 0,
            window_start: 0,
            picked: 0,
            shift: 0,
            blocks: [Block::default(); SAMPLED_FUNCTIONS],
        })
    }

    /// Launches `rate` times a second for `seconds`; returns (samples, sum of weights).
    fn run(sampler: &mut Sampler, rate: u64, seconds: u64, per_second: u32) -> (u64, u64) {
        let (mut samples, mut weight) = (0, 0);
        for index in 0..rate * seconds {
            let now = 1_000_000_000 + index * 1_000_000_000 / rate;
            let decided = sampler.decide(index % 7 * 64, now, per_second);
            samples += u64::from(decided > 0);
            weight += u64::from(decided);
        }
        (samples, weight)
    }

    #[test]
    fn first_launch_of_a_function_is_taken() {
        let mut sampler = sampler();
        assert_eq!(sampler.decide(4096, 1_000_000_000, 100), 1);
    }

    #[test]
    fn rate_settles_near_what_is_asked() {
        let mut sampler = sampler();
        run(&mut sampler, 50_000, 1, 100);
        for _ in 0..3 {
            let (samples, _) = run(&mut sampler, 50_000, 4, 100);
            assert!(
                (160..=600).contains(&samples),
                "{samples} samples in 4 s at 100/s"
            );
        }
    }

    #[test]
    fn weights_add_up_to_the_launches_once_settled() {
        let mut sampler = sampler();
        run(&mut sampler, 20_000, 2, 100);
        let (_, weight) = run(&mut sampler, 20_000, 20, 100);
        assert!(
            (372_000..=428_000).contains(&weight),
            "{weight} of 400 000 launches covered"
        );
    }

    #[test]
    fn a_burst_is_capped() {
        let mut sampler = sampler();
        let taken = (0..100_000_u64)
            .filter(|key| sampler.decide(key * 64, 1_000_000_000, 100) > 0)
            .count();
        assert!(
            taken <= 48,
            "{taken} samples in one window of a 100/s budget"
        );
    }

    #[test]
    fn every_place_in_a_block_is_picked_alike() {
        let mut sampler = sampler();
        sampler.shift = 3;
        let slot = slot_of(64);
        sampler.blocks[slot] = Block {
            length: 1,
            pick: 0,
            at: 1,
        };
        let mut seen = [0_u32; 8];
        for round in 0..8000 {
            for place in &mut seen {
                // Time stands still, so the shift stays; the budget is out of reach.
                if sampler.decide(64, 1, 4_000_000_000) > 0 {
                    *place += 1;
                }
            }
            assert_eq!(seen.iter().sum::<u32>(), round + 1);
        }
        for count in seen {
            assert!((880..=1120).contains(&count), "{seen:?}");
        }
    }
}
