//! Which part of a fleet is switched on. Everybody decides for itself, by a hash of what it is: no
//! one has to be asked, and whoever is in at 10 % is in at 20 %.
//!
//! The hash is part of the contract: another one in another version would exchange the canaries of a
//! whole fleet. It is FNV-1a of 64 bits, whose high bits are weak for short texts, finished with
//! `SplitMix64`'s mixer.

/// A node or a worker, as far as the choice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(u64);

/// <http://www.isthe.com/chongo/tech/comp/fnv/>: offset basis and prime of 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Identity {
    /// Of a name that stays the same over restarts: the node's, or a worker's pod and rank. Not a PID.
    pub fn of(name: &str) -> Self {
        let hash = name
            .bytes()
            .fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        Self(mix(hash))
    }

    /// Of a number that was drawn.
    pub(in crate::level) fn drawn(number: u64) -> Self {
        Self(number)
    }

    /// Another number that depends on nothing but this one and `salt`.
    pub(in crate::level) fn draw(self, salt: u64) -> u64 {
        mix(self.0 ^ mix(salt))
    }
}

/// The finishing steps of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A part of the fleet, percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    pub const ALL: Self = Self(100);

    /// More than 100 is all.
    pub fn of(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// hash < percent / 100 x 2^64, in 128 bits, where nothing is rounded.
    pub fn contains(self, identity: Identity) -> bool {
        u128::from(identity.0) * 100 < u128::from(self.0) << 64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_is_the_one_it_was() {
        // FNV-1a's own vector for "a", before the mixer.
        let fnv = (FNV_BASIS ^ 0x61).wrapping_mul(FNV_PRIME);
        assert_eq!(fnv, 0xaf63_dc4c_8601_ec8c);
        // First output of SplitMix64 with seed 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(Identity::of("a"), Identity(mix(fnv)));
    }

    #[test]
    fn a_percentage_is_one_of_similar_names() {
        for percent in [1, 10, 20, 50, 99] {
            let within = (0..20_000)
                .filter(|n| Percent::of(percent).contains(Identity::of(&format!("gpu-node-{n}"))))
                .count();
            let expected = 200 * usize::from(percent);
            assert!(within.abs_diff(expected) < 250, "{percent} %: {within} of {expected}");
        }
    }

    proptest! {
        #[test]
        fn whoever_is_in_stays_in(name in "\\PC{0,30}", few: u8, many: u8) {
            let identity = Identity::of(&name);
            prop_assert!(Percent::ALL.contains(identity));
            prop_assert!(!Percent::of(0).contains(identity));
            if few <= many && Percent::of(few).contains(identity) {
                prop_assert!(Percent::of(many).contains(identity));
            }
        }
    }
}
