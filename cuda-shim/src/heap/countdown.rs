//! Which allocations are sampled: each byte with the same chance, whatever the sizes are.
//!
//! A thread counts down bytes to its next sample, a distance drawn from an exponential distribution, so that samples lie
//! in the stream of bytes as by chance (a Poisson process). An allocation of n bytes is sampled with the
//! probability 1 - exp(-n / mean), and stands for n divided by that. All zero is a valid start: a thread's first
//! allocation draws its first distance.

use crate::thread_local::Long;

/// A thread's way to its next sample.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Countdown {
    /// Bytes left; the allocation that leaves less than none is looked at.
    left: Long,
    /// State of its random numbers.
    random: Long,
    /// Mean of the distance it is on; 0: none was drawn yet.
    mean: Long,
}

impl Countdown {
    /// Takes `size` bytes off. Whether the thread has to look closer.
    #[inline]
    pub(crate) fn passes(&self, size: usize) -> bool {
        self.passes_from(self.left.get(), size)
    }

    /// The same, where [`position`](Self::position) is known.
    #[inline]
    pub(crate) fn passes_from(&self, position: u64, size: usize) -> bool {
        let (left, passed) = position.overflowing_sub(size as u64);
        self.left.set(left);
        passed
    }

    /// Changes with each allocation that is taken off.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.left.get()
    }

    /// After [`passes`](Self::passes) said so: the mean of the distance that is over, if the allocation is a sample. Draws
    /// the next distance, `mean` bytes on average.
    pub(crate) fn sample(&self, mean: u64, seed: u64) -> Option<u64> {
        let over = self.mean.get();
        if over == 0 {
            self.random.set(seed | 1);
        }
        self.left.set(self.draw(mean));
        self.mean.set(mean);
        // Nothing led to a thread's first look: it only starts the count.
        (over != 0).then_some(over)
    }

    /// A distance of at least one byte.
    fn draw(&self, mean: u64) -> u64 {
        // xorshift64*, Vigna 2016: the upper 53 bits are the good ones.
        let mut random = self.random.get();
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        self.random.set(random);
        let bits = random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are exact; a mean is far below that"
        )]
        let (uniform, mean) = ((bits + 1) as f64 / (1_u64 << 53) as f64, mean as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most 37 means, and not negative"
        )]
        let distance = (-uniform.ln() * mean) as u64;
        distance.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of `count` allocations of `size` bytes.
    fn samples(size: usize, count: u64, mean: u64, seed: u64) -> u64 {
        let countdown = Countdown::default();
        let look = |_: &u64| countdown.passes(size) && countdown.sample(mean, seed).is_some();
        (0..count).filter(look).count() as u64
    }

    #[test]
    fn every_byte_has_the_same_chance() {
        let mean = 64 << 10;
        for (size, count) in [(16, 4_000_000), (1000, 100_000), (64 << 10, 2000), (1 << 20, 1000)] {
            let ratio = f64::from(u32::try_from(size).unwrap()) / 65536.0;
            let chance = 1.0 - (-ratio).exp();
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let (n, seen) = (count as f64, samples(size, count, mean, 7) as f64);
            let expected = n * chance;
            let deviation = (n * chance * (1.0 - chance)).sqrt().max(1.0);
            assert!((seen - expected).abs() < 4.5 * deviation, "{size}: {seen} of {expected}");
        }
    }

    /// The rest of a distance is as long as a fresh one: what it was drawn with counts, also when that changed meanwhile.
    #[test]
    fn a_sample_is_of_the_mean_it_was_drawn_with() {
        let countdown = Countdown::default();
        assert!(countdown.passes(1));
        assert_eq!(countdown.sample(7, 3), None, "a thread's first look");
        assert!(countdown.passes(usize::MAX / 2));
        assert_eq!(countdown.sample(9, 3), Some(7));
        assert!(countdown.passes(usize::MAX / 2));
        assert_eq!(countdown.sample(9, 3), Some(9));
    }
}
