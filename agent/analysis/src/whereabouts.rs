//! Where the threads of one process were lately: samples on the CPU, and sleeps with the stack they
//! began in. Time in which the host was late is shared over them.
//!
//! Kept until nothing can ask for it any more, or for [`WHEREABOUTS_NS`].

use std::collections::VecDeque;

use crate::event::{Blocked, Sampled};
use crate::ids::{StackId, Thread};
use crate::limits::{SLEEP_STACKS, THREADS, WHEREABOUTS, WHEREABOUTS_NS};
use crate::map::HashMap;
use crate::spans::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sleep {
    from: u64,
    to: u64,
    signature: u64,
}

/// One thread, each list by time.
#[derive(Debug, Default)]
struct Track {
    samples: VecDeque<(u64, StackId)>,
    sleeps: VecDeque<Sleep>,
}

impl Track {
    fn len(&self) -> usize {
        self.samples.len() + self.sleeps.len()
    }

    fn forget_before(&mut self, done: u64) {
        while self.samples.front().is_some_and(|&(at, _)| at < done) {
            self.samples.pop_front();
        }
        while self.sleeps.front().is_some_and(|sleep| sleep.to < done) {
            self.sleeps.pop_front();
        }
    }
}

/// Threads of one process.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    threads: HashMap<Thread, Track>,
    /// Samples and sleeps in all tracks.
    kept: usize,
    /// The latest instant told.
    newest: u64,
    /// What lies before has been asked for.
    asked: u64,
    stacks: SleepStacks,
    /// Entries that found a table full.
    refused: u64,
    /// Samples of time that had been asked for.
    late: u64,
}

/// What a thread did in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// One stack for each sample.
    pub(crate) samples: Vec<StackId>,
    /// Disjoint, by time, with the stack where it is known; ns.
    pub(crate) asleep: Vec<(Option<StackId>, u64)>,
}

impl Whereabouts {
    pub(crate) fn sampled(&mut self, sampled: &Sampled) {
        let at = sampled.at.0;
        if at < self.asked {
            self.late += 1;
            return;
        }
        let Some(track) = self.room(sampled.tid, at) else {
            return;
        };
        let place = track.samples.partition_point(|&(earlier, _)| earlier <= at);
        track.samples.insert(place, (at, sampled.stack));
        self.kept += 1;
    }

    /// Pieces of one sleep begin at the same instant.
    pub(crate) fn slept(&mut self, blocked: &Blocked) {
        let (from, to) = (blocked.from.0, blocked.to.0);
        if from >= to || to < self.asked {
            return;
        }
        if let Some(track) = self.threads.get_mut(&blocked.tid) {
            let place = track.sleeps.partition_point(|earlier| earlier.from < from);
            if let Some(same) = track.sleeps.get_mut(place).filter(|sleep| sleep.from == from) {
                same.to = same.to.max(to);
                self.newest = self.newest.max(to);
                return;
            }
        }
        let Some(track) = self.room(blocked.tid, to) else {
            return;
        };
        let place = track.sleeps.partition_point(|earlier| earlier.from <= from);
        track.sleeps.insert(place, Sleep { from, to, signature: blocked.signature });
        self.kept += 1;
    }

    /// Sleeps of `tid` with this signature begin in `stack`: the latest one told stands for them.
    pub(crate) fn sleeps_in(&mut self, tid: Thread, signature: u64, stack: StackId) {
        self.stacks.insert((tid, signature), stack);
    }

    /// What `tid` did within `span`.
    pub(crate) fn spent(&self, tid: Thread, span: Span) -> Spent {
        let Some(track) = self.threads.get(&tid) else {
            return Spent::default();
        };
        let first = track.samples.partition_point(|&(at, _)| at < span.from);
        let samples = track.samples.range(first..).take_while(|&&(at, _)| at < span.to);
        let samples = samples.map(|&(_, stack)| stack).collect();
        let mut asleep = Vec::new();
        let mut from = span.from;
        // A hostile stream may tell sleeps that overlap: no instant counts twice.
        let first = track.sleeps.partition_point(|sleep| sleep.to <= span.from);
        for sleep in track.sleeps.range(first..).take_while(|sleep| sleep.from < span.to) {
            let here = Span { from: sleep.from.max(from), to: sleep.to.min(span.to) };
            if here.from < here.to {
                asleep.push((self.stacks.get((tid, sleep.signature)), here.to - here.from));
                from = here.to;
            }
        }
        Spent { samples, asleep }
    }

    /// Nothing before `done` is asked for from here on.
    pub(crate) fn forget_before(&mut self, done: u64) {
        self.asked = self.asked.max(done);
        let aged = self.newest.saturating_sub(WHEREABOUTS_NS);
        self.drop_before(done.max(aged));
    }

    /// Entries that found a table full, and samples that came late, since the last call.
    pub(crate) fn take_refused(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.refused), std::mem::take(&mut self.late))
    }

    /// The thread's track, if there is room for one more entry.
    fn room(&mut self, tid: Thread, at: u64) -> Option<&mut Track> {
        // A process that is not armed is never asked about: age alone makes room then. Looking
        // again for every eighth of the age only keeps the cost of an entry constant.
        let newer = at.saturating_sub(self.newest) > WHEREABOUTS_NS / 8;
        self.newest = self.newest.max(at);
        if newer || self.kept >= WHEREABOUTS {
            self.drop_before(self.newest.saturating_sub(WHEREABOUTS_NS));
        }
        let known = self.threads.contains_key(&tid);
        if self.kept >= WHEREABOUTS || (!known && self.threads.len() >= THREADS) {
            self.refused += 1;
            return None;
        }
        Some(self.threads.entry(tid).or_default())
    }

    fn drop_before(&mut self, done: u64) {
        let mut kept = 0;
        self.threads.retain(|_, track| {
            track.forget_before(done);
            kept += track.len();
            track.len() > 0
        });
        self.kept = kept;
    }
}

/// The latest stack by thread and signature. When half of the room is taken, what has not been told
/// since the last time makes way: the kernel programs tell the stack of a place where a thread goes
/// on sleeping again and again.
#[derive(Debug, Default)]
struct SleepStacks {
    recent: HashMap<(Thread, u64), StackId>,
    older: HashMap<(Thread, u64), StackId>,
}

impl SleepStacks {
    fn insert(&mut self, key: (Thread, u64), stack: StackId) {
        if self.recent.len() >= SLEEP_STACKS / 2 && !self.recent.contains_key(&key) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, stack);
    }

    fn get(&self, key: (Thread, u64)) -> Option<StackId> {
        // Signature 0: the place is not known.
        let known = || self.recent.get(&key).or_else(|| self.older.get(&key)).copied();
        if key.1 == 0 { None } else { known() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Ns, ProcessKey};

    const TID: Thread = Thread(7);
    const PROCESS: ProcessKey = ProcessKey(0);

    fn sampled(at: u64, stack: u32) -> Sampled {
        Sampled { process: PROCESS, tid: TID, at: Ns(at), stack: StackId(stack) }
    }

    fn slept(from: u64, to: u64, signature: u64) -> Blocked {
        Blocked { process: PROCESS, tid: TID, from: Ns(from), to: Ns(to), signature }
    }

    fn within(whereabouts: &Whereabouts, from: u64, to: u64) -> Spent {
        whereabouts.spent(TID, Span { from, to })
    }

    #[test]
    fn a_stretch_has_its_samples_and_its_part_of_sleeps() {
        let mut whereabouts = Whereabouts::default();
        for (at, stack) in [(30, 1), (10, 2), (20, 1)] {
            whereabouts.sampled(&sampled(at, stack));
        }
        whereabouts.slept(&slept(40, 50, 9));
        // The same sleep, told again when it was over; then one at an unknown place.
        whereabouts.slept(&slept(40, 60, 9));
        whereabouts.slept(&slept(70, 90, 0));
        whereabouts.sleeps_in(TID, 9, StackId(3));
        let stack = |number| Some(StackId(number));
        assert_eq!(
            within(&whereabouts, 10, 80),
            Spent {
                samples: vec![StackId(2), StackId(1), StackId(1)],
                asleep: vec![(stack(3), 20), (None, 10)]
            }
        );
        assert_eq!(
            within(&whereabouts, 11, 45),
            Spent { samples: vec![StackId(1), StackId(1)], asleep: vec![(stack(3), 5)] }
        );
        assert_eq!(whereabouts.spent(Thread(8), Span { from: 0, to: 100 }), Spent::default());
        whereabouts.forget_before(60);
        assert_eq!(within(&whereabouts, 0, 100).samples, []);
        whereabouts.sampled(&sampled(59, 1));
        assert_eq!(whereabouts.take_refused(), (0, 1));
    }

    #[test]
    fn no_instant_of_overlapping_sleeps_counts_twice() {
        let mut whereabouts = Whereabouts::default();
        for (from, to) in [(0, 50), (10, 20), (40, 60), (45, 46)] {
            whereabouts.slept(&slept(from, to, 1));
        }
        let asleep: u64 = within(&whereabouts, 5, 100).asleep.iter().map(|&(_, ns)| ns).sum();
        assert_eq!(asleep, 55);
    }

    #[test]
    fn a_full_table_counts_and_age_makes_room() {
        let mut whereabouts = Whereabouts::default();
        for _ in 0..WHEREABOUTS + 2 {
            whereabouts.sampled(&sampled(100, 1));
        }
        assert_eq!(whereabouts.take_refused(), (2, 0));
        whereabouts.sampled(&sampled(101 + WHEREABOUTS_NS, 1));
        assert_eq!((whereabouts.kept, whereabouts.take_refused()), (1, (0, 0)));
        for tid in 0..u32::try_from(THREADS).unwrap() {
            whereabouts.sampled(&Sampled { tid: Thread(tid), ..sampled(101 + WHEREABOUTS_NS, 1) });
        }
        assert_eq!(whereabouts.take_refused(), (0, 0));
        whereabouts.sampled(&Sampled { tid: Thread(u32::MAX), ..sampled(102 + WHEREABOUTS_NS, 1) });
        assert_eq!(whereabouts.take_refused(), (1, 0));
    }

    #[test]
    fn stacks_of_sleeps_make_way_for_newer_ones() {
        let mut stacks = SleepStacks::default();
        let half = SLEEP_STACKS as u64 / 2;
        for signature in 1..=half {
            stacks.insert((TID, signature), StackId(1));
        }
        stacks.insert((TID, half + 1), StackId(2));
        assert_eq!(stacks.get((TID, 1)), Some(StackId(1)));
        for signature in half + 1..=2 * half + 1 {
            stacks.insert((TID, signature), StackId(3));
        }
        assert_eq!((stacks.get((TID, 1)), stacks.get((TID, half + 1))), (None, Some(StackId(3))));
        stacks.insert((TID, 0), StackId(4));
        assert_eq!(stacks.get((TID, 0)), None);
    }
}
