//! What was allocated when, and how much of it is still there.

use super::survivors::Age;
use crate::ids::Ns;

/// Stretches of time at most: between 32 and 64 of the whole time. Survivors are asked of the older half of a growth, in
/// stretches that lie in it whole.
const COHORTS: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Cohort {
    allocated: u64,
    live: u64,
}

/// Allocations by time of birth, in a fixed number of stretches: their length doubles when they are used up.
#[derive(Clone, Debug)]
pub(super) struct Cohorts {
    start: Option<Ns>,
    step: u64,
    list: Vec<Cohort>,
}

impl Cohorts {
    /// Stretches of `step_ns` (at least 1 ns) at first. Nothing is allocated before the first block.
    pub(super) fn new(step_ns: u64) -> Self {
        Self { start: None, step: step_ns.max(1), list: Vec::new() }
    }

    pub(super) fn allocated(&mut self, born: Ns, bytes: u64) {
        self.add(born, bytes, bytes);
    }

    pub(super) fn freed(&mut self, born: Ns, bytes: u64) {
        let slot = self.slot(born);
        if let Some(cohort) = self.list.get_mut(slot) {
            cohort.live = cohort.live.saturating_sub(bytes);
        }
    }

    /// Takes over what another has, as if all of a stretch had been born when it began.
    pub(super) fn absorb(&mut self, other: &Self) {
        let Some(start) = other.start else {
            return;
        };
        let mut begin = start.0;
        for cohort in &other.list {
            self.add(Ns(begin), cohort.allocated, cohort.live);
            begin = begin.saturating_add(other.step);
        }
    }

    /// As [`super::judge`] wants them, oldest first.
    pub(super) fn ages(&self, now: Ns) -> Vec<Age> {
        let Some(start) = self.start else {
            return Vec::new();
        };
        let ago = |at: u64| now.0.saturating_sub(at);
        let begin = |index: usize| {
            let index = u64::try_from(index).unwrap_or(u64::MAX);
            start.0.saturating_add(index.saturating_mul(self.step))
        };
        let age = |(index, cohort): (usize, &Cohort)| Age {
            oldest_ns: ago(begin(index)),
            youngest_ns: ago(begin(index + 1)),
            allocated: cohort.allocated,
            live: cohort.live,
        };
        self.list.iter().enumerate().map(age).collect()
    }

    fn add(&mut self, born: Ns, allocated: u64, live: u64) {
        // One born before the first that was told of counts as its twin: threads' events come out of order.
        self.start.get_or_insert(born);
        while self.slot(born) >= COHORTS {
            self.double();
        }
        let slot = self.slot(born);
        if self.list.len() <= slot {
            self.list.resize(slot + 1, Cohort::default());
        }
        let cohort = &mut self.list[slot];
        cohort.allocated = cohort.allocated.saturating_add(allocated);
        cohort.live = cohort.live.saturating_add(live);
    }

    fn slot(&self, born: Ns) -> usize {
        let since = self.start.and_then(|start| born.since(start)).unwrap_or(0);
        usize::try_from(since / self.step).unwrap_or(usize::MAX)
    }

    fn double(&mut self) {
        self.step = self.step.saturating_mul(2);
        let pairs = self.list.chunks(2).map(|pair| Cohort {
            allocated: pair.iter().fold(0, |sum, cohort| sum.saturating_add(cohort.allocated)),
            live: pair.iter().fold(0, |sum, cohort| sum.saturating_add(cohort.live)),
        });
        self.list = pairs.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_is_taken_from_its_own_age() {
        let mut cohorts = Cohorts::new(10);
        for born in 0..6400 {
            cohorts.allocated(Ns(1000 + born), 2);
        }
        for born in (0..6400).filter(|born| *born < 3200) {
            cohorts.freed(Ns(1000 + born), 1);
        }
        let ages = cohorts.ages(Ns(1000 + 6400));
        assert!(ages.len() <= COHORTS && ages.len() >= COHORTS / 2, "{}", ages.len());
        assert_eq!(ages.iter().map(|age| age.allocated).sum::<u64>(), 12_800);
        let (old, young) = ages.split_at(ages.len() / 2);
        assert_eq!(old.iter().map(|age| age.live).sum::<u64>(), 3200);
        assert_eq!(young.iter().map(|age| age.live).sum::<u64>(), 6400);
        assert_eq!((ages[0].oldest_ns, ages.last().unwrap().youngest_ns), (6400, 0));
    }

    #[test]
    fn the_ends_of_time_and_what_was_never_there_are_survived() {
        let mut cohorts = Cohorts::new(0);
        cohorts.freed(Ns(5), 7);
        assert!(cohorts.ages(Ns(9)).is_empty());
        cohorts.allocated(Ns(5), u64::MAX);
        cohorts.allocated(Ns(u64::MAX), u64::MAX);
        cohorts.allocated(Ns(0), 1);
        cohorts.freed(Ns(u64::MAX), u64::MAX);
        let ages = cohorts.ages(Ns(0));
        assert_eq!(ages[0].live, u64::MAX);
        assert_eq!(ages.last().unwrap().live, 0);
    }

    #[test]
    fn another_ones_are_taken_over_with_their_ages() {
        let mut old = Cohorts::new(10);
        old.allocated(Ns(100), 5);
        old.allocated(Ns(130), 6);
        old.freed(Ns(130), 2);
        let mut rest = Cohorts::new(10);
        rest.allocated(Ns(100), 1);
        rest.absorb(&old);
        let ages = rest.ages(Ns(140));
        assert_eq!(
            ages.iter().map(|age| (age.allocated, age.live)).collect::<Vec<_>>(),
            [(6, 6), (0, 0), (0, 0), (6, 4)]
        );
    }
}
