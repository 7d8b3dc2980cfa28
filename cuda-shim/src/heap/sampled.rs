//! The addresses of sampled blocks that live, with who made each in their lowest bit. Asked at every free and for every
//! new block, so what is not in it must be answered at once: by a count of the set's addresses per hash, 64 KiB that a
//! processor's second cache holds.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Places: twice the samples of a heap of 16 GiB at a mean of 512 KiB (512 KiB of memory).
pub(crate) const PLACES: usize = 1 << 16;
/// Counts of the filter.
const COUNTS: usize = 1 << 16;
/// Places looked at for an address: four lines of the cache.
const WINDOW: usize = 32;
/// A count that was ever so high is not known any more and stays.
const MANY: u8 = u8::MAX;

/// See the module's text. Threads may come at any time, from a signal handler too: no step waits for another.
#[derive(Debug)]
pub(crate) struct Sampled {
    counts: [AtomicU8; COUNTS],
    places: [AtomicUsize; PLACES],
}

/// The odd constant of Fibonacci hashing, 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn hash(address: usize) -> u64 {
    (address as u64).wrapping_mul(GOLDEN)
}

#[inline]
fn count_index(hash: u64) -> usize {
    (hash >> 48) as usize
}

fn window(hash: u64) -> impl Iterator<Item = usize> {
    let start = (hash >> 20) as usize;
    (0..WINDOW).map(move |step| start.wrapping_add(step) & (PLACES - 1))
}

impl Sampled {
    #[expect(clippy::large_stack_arrays, reason = "a static of zeros: it is on no stack")]
    pub(crate) const fn new() -> Self {
        Self {
            counts: [const { AtomicU8::new(0) }; COUNTS],
            places: [const { AtomicUsize::new(0) }; PLACES],
        }
    }

    /// `false`: it is not in the set. `true`: it may be. Address 0 is in no set.
    #[inline]
    pub(crate) fn may_hold(&self, address: usize) -> bool {
        self.counts[count_index(hash(address))].load(Ordering::Relaxed) != 0
    }

    /// Takes the address in; `false`: no place is left near its own.
    pub(crate) fn insert(&self, address: usize) -> bool {
        let hash = hash(address);
        // The count first: who is handed the address finds it from here on.
        let count = &self.counts[count_index(hash)];
        let more = |count: u8| (count != MANY).then(|| count + 1);
        let counted = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok();
        let taken = window(hash).any(|place| {
            self.places[place]
                .compare_exchange(0, address, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        });
        if !taken && counted {
            self.uncount(hash);
        }
        taken
    }

    /// Takes it out again. Whether it was in.
    pub(crate) fn remove(&self, address: usize) -> bool {
        // Who frees nothing: an empty place is no address.
        if address == 0 {
            return false;
        }
        let hash = hash(address);
        let removed = window(hash).any(|place| {
            self.places[place]
                .compare_exchange(address, 0, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok()
        });
        if removed {
            self.uncount(hash);
        }
        removed
    }

    /// Whether it is there now. Only of a block that is in the caller's hands does that say something.
    pub(crate) fn holds(&self, address: usize) -> bool {
        self.may_hold(address)
            && window(hash(address))
                .any(|place| self.places[place].load(Ordering::Relaxed) == address)
    }

    /// Takes out all that `which` says, each told once to `taken`. Others may come and go meanwhile.
    pub(crate) fn take_all(&self, which: impl Fn(usize) -> bool, taken: impl Fn(usize)) {
        for place in &self.places {
            let address = place.load(Ordering::Relaxed);
            if address != 0 && which(address) && self.remove(address) {
                taken(address);
            }
        }
    }

    fn uncount(&self, hash: u64) {
        let less = |count: u8| (count != MANY && count != 0).then(|| count - 1);
        // Refused where the count is not known any more: then it stays.
        let _kept =
            self.counts[count_index(hash)].fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// Forgets all of them. Nobody may come meanwhile.
    pub(crate) fn clear(&self) {
        self.places.iter().for_each(|place| place.store(0, Ordering::Relaxed));
        self.counts.iter().for_each(|count| count.store(0, Ordering::SeqCst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Box<Sampled> {
        // SAFETY: all zero is a valid set.
        unsafe { Box::new_zeroed().assume_init() }
    }

    #[test]
    fn what_was_put_in_is_found_once() {
        let set = empty();
        let many = if cfg!(miri) { 100 } else { 5000 };
        let addresses: Vec<usize> = (1..many).map(|n| n * 48).collect();
        assert!(addresses.iter().all(|&address| !set.may_hold(address)));
        assert!(addresses.iter().all(|&address| set.insert(address)));
        assert!(addresses.iter().all(|&address| set.may_hold(address)));
        assert!(!set.remove(7));
        assert!(addresses.iter().all(|&address| set.remove(address)));
        assert!(addresses.iter().all(|&address| !set.remove(address)));
        assert!(addresses.iter().all(|&address| !set.may_hold(address)));
    }

    #[test]
    fn what_is_there_is_held() {
        let sampled = empty();
        assert!(!sampled.holds(0x1000));
        assert!(sampled.insert(0x1000));
        assert!(sampled.holds(0x1000) && !sampled.holds(0x1001));
        assert!(sampled.remove(0x1000));
        assert!(!sampled.holds(0x1000));
    }

    #[test]
    fn some_are_taken_out_once_and_the_others_stay() {
        let set = empty();
        assert!((1..100).all(|n| set.insert(n)));
        let (count, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..2 {
            set.take_all(
                |n| n % 2 == 1,
                |n| {
                    count.fetch_add(1, Ordering::Relaxed);
                    sum.fetch_add(n, Ordering::Relaxed);
                },
            );
        }
        assert_eq!((count.into_inner(), sum.into_inner()), (50, 2500));
        assert!((1..100).all(|n| set.remove(n) == (n % 2 == 0)));
    }

    #[test]
    fn who_frees_nothing_takes_nothing_out() {
        let set = empty();
        // One that counts where address 0 would.
        let mut addresses = (1..10 * COUNTS).map(|n| n * 16);
        let address = addresses.find(|&a| count_index(hash(a)) == 0).unwrap();
        assert!(set.insert(address) && set.may_hold(0));
        assert!(!set.remove(0));
        assert!(set.may_hold(address) && set.remove(address));
    }

    #[test]
    fn a_full_window_refuses_and_nothing_is_lost() {
        let set = empty();
        let taken: Vec<usize> = (1..=PLACES).map(|n| n * 16).filter(|&a| set.insert(a)).collect();
        assert!(taken.len() > PLACES / 2 && taken.len() < PLACES, "{}", taken.len());
        assert!(taken.iter().all(|&address| set.may_hold(address) && set.remove(address)));
        assert!((1..=PLACES).all(|n| !set.remove(n * 16)));
    }

    #[test]
    fn threads_that_meet_lose_nothing() {
        let set = empty();
        let rounds = if cfg!(miri) { 2 } else { 200 };
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let set = &set;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let mine: Vec<usize> = (0..64).map(|n| (n * 4 + thread + 1) * 32).collect();
                        assert!(mine.iter().all(|&address| set.insert(address)), "{round}");
                        assert!(mine.iter().all(|&address| set.may_hold(address)));
                        assert!(mine.iter().all(|&address| set.remove(address)), "{round}");
                    }
                });
            }
        });
        assert!((1..=256).all(|n| !set.may_hold(n * 32)));
    }
}
