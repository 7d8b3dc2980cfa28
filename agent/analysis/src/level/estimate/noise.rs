//! Deterministic noise for simulations: xorshift, and the sum of twelve uniforms for a bell.

pub(in crate::level) struct Noise(u64);

impl Noise {
    /// Seeds that differ little give streams that differ.
    pub(in crate::level) fn new(seed: u64) -> Self {
        let mut noise = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            noise.uniform();
        }
        noise
    }

    pub(in crate::level) fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[expect(clippy::cast_precision_loss, reason = "noise")]
        let value = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
        value
    }

    pub(in crate::level) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// From 0 to one less.
    pub(in crate::level) fn below(&mut self, end: u32) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a uniform of [0, 1) times a u32"
        )]
        let value = (self.uniform() * f64::from(end)) as u32;
        value
    }
}
