//! Seconds of what `cargo xtask fuzz` does for hours: every reader of what others wrote, fed with what libFuzzer once came
//! upon and what becomes of it by chance. Without its coverage and sanitizer; the tier's limit is the judge of what hangs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use warplens_tests::harness::artefacts;

#[path = "../../fuzz/src/readers/mod.rs"]
#[expect(clippy::expect_used, reason = "what it expects is its own doing, not the input's")]
mod readers;

/// Of each reader: half a minute for all of them.
const TIME: Duration = Duration::from_millis(1300);

/// The generator of `SplitMix64` (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }
}

fn seeds(reader: &str) -> Vec<Vec<u8>> {
    let path = artefacts::repository().join(format!("tests/fuzz/seeds/{reader}.hex"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// A seed with some of it changed, cut, doubled, or another one behind it.
fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(6) {
        let at = chance.below(input.len());
        match chance.below(6) {
            0 => input.truncate(at),
            1 => input.extend(&seeds[chance.below(seeds.len())]),
            2 => input.insert(at, chance.next().to_le_bytes()[0]),
            3 => input.extend(input.get(at..).unwrap_or_default().to_vec()),
            4 => {
                // Numbers that lengths and offsets trip over.
                let odd = [0, 1, u64::MAX, u64::MAX / 2, 1 << 32, chance.next()][chance.below(6)];
                for (byte, value) in input.iter_mut().skip(at).zip(odd.to_le_bytes()) {
                    *byte = value;
                }
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
    }
    input.truncate(64 << 10);
    input
}

#[test]
fn nothing_that_others_wrote_makes_a_reader_panic() {
    for (name, reader) in readers::ALL {
        let seeds = seeds(name);
        let seed = RandomState::new().build_hasher().finish();
        let mut chance = Chance(seed);
        let end = Instant::now() + TIME;
        let mut inputs = 0_u64;
        let mut feed = |input: &[u8]| {
            let outcome = catch_unwind(AssertUnwindSafe(|| reader(input)));
            assert!(outcome.is_ok(), "{name}, seed {seed:#x}: panicked at {input:02x?}");
            inputs += 1;
        };
        for seed in &seeds {
            feed(seed);
        }
        while Instant::now() < end {
            feed(&mutated(&seeds, &mut chance));
        }
        println!("{name}: {inputs} inputs");
        assert!(inputs > 20, "{name}: {inputs} inputs in {TIME:?}");
    }
    let _gone = std::fs::remove_file(format!("/dev/shm/warplens-fuzz-{}", std::process::id()));
}
