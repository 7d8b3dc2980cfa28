//! Which launches pass the probe point. Pure: the time is an argument.
//!
//! Per function (kernel or graph), launches come in blocks of n = 1, 2, 4, ... up to 2^shift; one of
//! each block is picked uniformly and stands for the block. So a function's first launch is always
//! taken, a rare one is sampled soon, and a frequent one at the thread's rate, which `shift` follows.
//! A graph launch stands for hundreds of kernels: its blocks end at 2^(shift - 4).

use wire::limits::SAMPLED_FUNCTIONS;

/// Window over which the rate is judged, ns. Short enough to settle before a burst is over.
const WINDOW_NS: u64 = 125_000_000;
/// Samples of one window never exceed this multiple of the budget; a pick beyond it waits.
const BURST: u32 = 4;
/// Largest block: 2^16 launches of one function between two samples.
const SHIFT_MAX: u32 = 16;
/// A graph's largest block is 16 times smaller: its launches are rare and carry most of the time.
const GRAPH_SHIFT: u32 = 4;

/// Slots looked at for a function before it shares one.
const PROBES: usize = 8;

/// Block of launches of one function.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Half of the function's hash: tells neighbours in the table apart.
    tag: u32,
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
    /// Which asking for stacks the blocks belong to.
    generation: u32,
    /// Samples of this window.
    taken: u32,
    /// Picks of this window that had to wait.
    waited: u32,
    shift: u32,
    blocks: [Block; SAMPLED_FUNCTIONS],
}

/// What the decision is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Handle of the function or graph.
    pub(crate) key: u64,
    pub(crate) is_graph: bool,
    pub(crate) now_ns: u64,
    /// Samples per second asked for.
    pub(crate) rate: u32,
    /// Counts the times stacks were asked for: every observer sees first launches again.
    pub(crate) generation: u32,
}

impl Sampler {
    /// The number of launches a sample of this one stands for, or 0: not sampled.
    pub(crate) fn decide(&mut self, launch: Candidate) -> u32 {
        if self.generation != launch.generation {
            self.generation = launch.generation;
            self.blocks = [Block::default(); SAMPLED_FUNCTIONS];
            self.shift = 0;
        }
        let budget = (launch.rate / 8).max(1);
        self.turn_window(launch.now_ns, budget);
        let (slot, tag) = self.slot_of(launch.key);
        let mut block = self.blocks[slot];
        if block.at >= block.length {
            let shift =
                if launch.is_graph { self.shift.saturating_sub(GRAPH_SHIFT) } else { self.shift };
            let length = (block.length * 2).clamp(1, 1 << shift);
            let pick = self.next_random(launch.key) & (length - 1);
            block = Block { tag, length, pick, at: 0 };
        }
        let picked = block.at == block.pick;
        block.at += 1;
        let mut weight = 0;
        if picked && self.taken < budget.saturating_mul(BURST) {
            self.taken += 1;
            weight = block.length;
        } else if picked {
            // Over the budget: the next launch of this function is picked instead.
            self.waited = self.waited.saturating_add(1);
            block.pick = block.at;
            block.length = block.length.max(block.at + 1).min(1 << SHIFT_MAX);
        }
        self.blocks[slot] = block;
        weight
    }

    /// Adapts `shift` at the end of a window: the rate is off by picks / budget.
    fn turn_window(&mut self, now_ns: u64, budget: u32) {
        // A clock that went backwards starts a window, too.
        let elapsed = now_ns.wrapping_sub(self.window_start);
        if elapsed < WINDOW_NS {
            return;
        }
        let picked = self.taken.saturating_add(self.waited);
        if elapsed >= 2 * WINDOW_NS {
            // The thread paused: what it did before tells little about now.
            self.shift = self.shift.saturating_sub(2);
        } else if picked > budget {
            let steps = (picked / budget).ilog2().max(1);
            self.shift = (self.shift + steps).min(SHIFT_MAX);
        } else if picked.saturating_mul(2) <= budget {
            self.shift = self.shift.saturating_sub(1);
        }
        self.window_start = now_ns;
        self.taken = 0;
        self.waited = 0;
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

    /// The function's slot and tag: by Fibonacci hashing, because handles are aligned pointers whose low
    /// bits say nothing. When the neighbourhood is full, functions share a slot: more variance, no bias.
    fn slot_of(&self, key: u64) -> (usize, u32) {
        const BITS: u32 = SAMPLED_FUNCTIONS.ilog2();
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let [_, _, a, b, c, d, _, _] = hash.to_le_bytes();
        let tag = u32::from_le_bytes([a, b, c, d]);
        let first = (hash >> (64 - BITS)) as usize;
        let slot = (0..PROBES)
            .map(|step| (first + step) % SAMPLED_FUNCTIONS)
            .find(|&slot| self.blocks[slot].length == 0 || self.blocks[slot].tag == tag);
        (slot.unwrap_or(first), tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler() -> Box<Sampler> {
        Box::new(Sampler {
            random: 0,
            window_start: 0,
            generation: 0,
            taken: 0,
            waited: 0,
            shift: 0,
            blocks: [Block::default(); SAMPLED_FUNCTIONS],
        })
    }

    fn kernel(key: u64, now_ns: u64, rate: u32) -> Candidate {
        Candidate { key, is_graph: false, now_ns, rate, generation: 0 }
    }

    /// Launches `rate` times a second for `seconds`; returns (samples, sum of weights).
    fn run(sampler: &mut Sampler, rate: u64, seconds: u64, per_second: u32) -> (u64, u64) {
        let (mut samples, mut weight) = (0, 0);
        for index in 0..rate * seconds {
            let now = 1_000_000_000 + index * 1_000_000_000 / rate;
            let decided = sampler.decide(kernel(index % 7 * 64, now, per_second));
            samples += u64::from(decided > 0);
            weight += u64::from(decided);
        }
        (samples, weight)
    }

    #[test]
    fn first_launch_of_a_function_is_taken() {
        assert_eq!(sampler().decide(kernel(4096, 1_000_000_000, 100)), 1);
    }

    #[test]
    fn rate_settles_near_what_is_asked() {
        let mut sampler = sampler();
        run(&mut sampler, 50_000, 1, 100);
        for _ in 0..3 {
            let (samples, _) = run(&mut sampler, 50_000, 4, 100);
            assert!((160..=600).contains(&samples), "{samples} samples in 4 s at 100/s");
        }
    }

    #[test]
    fn weights_add_up_to_the_launches_once_settled() {
        let mut sampler = sampler();
        run(&mut sampler, 20_000, 2, 100);
        let (_, weight) = run(&mut sampler, 20_000, 20, 100);
        assert!((372_000..=428_000).contains(&weight), "{weight} of 400 000 launches covered");
    }

    #[test]
    fn a_burst_is_capped() {
        let mut sampler = sampler();
        let taken = (0..100_000_u64)
            .filter(|key| sampler.decide(kernel(key * 64, 1_000_000_000, 100)) > 0)
            .count();
        assert!(taken <= 48, "{taken} samples in one window of a 100/s budget");
    }

    #[test]
    fn rare_functions_and_graphs_are_sampled_beside_frequent_ones() {
        let mut sampler = sampler();
        let mut samples = [0_u32; 60];
        // 10 s of 3 000 launches/s of 20 kernels, and 40 graphs that run about once a second.
        for index in 0..30_000_u64 {
            let now_ns = 1_000_000_000 + index * 333_333;
            sampler.decide(kernel(index % 20 * 64, now_ns, 100));
            if index.is_multiple_of(75) {
                let graph = index / 75 % 40;
                let launch =
                    Candidate { is_graph: true, ..kernel(1_000_000 + graph * 64, now_ns, 100) };
                samples[graph as usize] += u32::from(sampler.decide(launch) > 0);
            }
        }
        let without = samples[..40].iter().filter(|&&count| count == 0).count();
        assert!(without <= 1, "{without} of 40 graphs have no sample: {samples:?}");
    }

    #[test]
    fn another_observer_sees_first_launches_again() {
        let mut sampler = sampler();
        run(&mut sampler, 50_000, 2, 100);
        let again = Candidate { generation: 1, ..kernel(0, 60_000_000_000, 100) };
        assert_eq!(sampler.decide(again), 1);
    }

    #[test]
    fn every_place_in_a_block_is_picked_alike() {
        let mut sampler = sampler();
        sampler.shift = 3;
        let (slot, tag) = sampler.slot_of(64);
        sampler.blocks[slot] = Block { tag, length: 8, pick: 0, at: 8 };
        let mut seen = [0_u32; 8];
        for round in 0..8000 {
            for place in &mut seen {
                // Time stands still, so the shift stays; the budget is out of reach.
                if sampler.decide(kernel(64, 1, 4_000_000_000)) > 0 {
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
