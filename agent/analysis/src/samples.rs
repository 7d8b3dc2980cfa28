//! Sampled launches of one process: which stack their records' time goes to.
//!
//! The launch comes through the ring, its stack through the kernel, in either order. Time of its
//! records that becomes final first waits here for the stack.

use crate::map::HashMap;

use crate::ids::StackId;
use crate::limits::STACK_MARKS;

/// A cell of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) device: usize,
    pub(crate) cell: u32,
    /// A cell of the device's idle time.
    pub(crate) idle: bool,
}

/// Weighted time that found its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributed {
    pub(crate) place: Place,
    pub(crate) stack: StackId,
    pub(crate) weighted: u128,
}

#[derive(Debug)]
struct Sample {
    weight: u32,
    stack: Option<StackId>,
    waiting: Vec<(Place, u128)>,
    /// Work records taken and not wholly final.
    open: u32,
    /// A further record may still refer to the launch.
    live: bool,
    born: u64,
}

/// What ageing found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aged {
    /// Launches whose stack never came.
    pub(crate) missing: u64,
    /// Stacks whose launch never came.
    pub(crate) unmatched: u64,
}

#[derive(Debug)]
pub(crate) struct Samples {
    capacity: usize,
    table: HashMap<u64, Sample>,
    /// Stacks that came before their launch, with the mark they came at.
    early: HashMap<u64, (StackId, u64)>,
    /// Entries that found a table full.
    pub(crate) refused: u64,
    /// Stacks that met their launch.
    pub(crate) matched: u64,
}

impl Samples {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            table: HashMap::default(),
            early: HashMap::default(),
            refused: 0,
            matched: 0,
        }
    }

    /// A sampled launch entered.
    pub(crate) fn launched(&mut self, correlation: u64, weight: u32, mark: u64) {
        if self.table.len() >= self.capacity {
            self.refused += 1;
            return;
        }
        let stack = self.early.remove(&correlation).map(|(stack, _)| stack);
        self.matched += u64::from(stack.is_some());
        let sample = Sample { weight, stack, waiting: Vec::new(), open: 0, live: true, born: mark };
        self.table.insert(correlation, sample);
    }

    /// The stack of a launch came; returns the time that waited for it.
    pub(crate) fn stack(&mut self, correlation: u64, stack: StackId, mark: u64) -> Vec<Attributed> {
        if let Some(sample) = self.table.get_mut(&correlation) {
            if sample.stack.is_some() {
                return Vec::new();
            }
            sample.stack = Some(stack);
            self.matched += 1;
            let attribute =
                |(place, weighted): (Place, u128)| Attributed { place, stack, weighted };
            return std::mem::take(&mut sample.waiting).into_iter().map(attribute).collect();
        }
        if self.early.len() < self.capacity {
            self.early.insert(correlation, (stack, mark));
        } else {
            self.refused += 1;
        }
        Vec::new()
    }

    /// The stack of a sampled launch, if it came and the launch is not forgotten.
    pub(crate) fn stack_of(&self, correlation: u64) -> Option<StackId> {
        self.table.get(&correlation)?.stack
    }

    /// A record of the launch waits for the watermark.
    pub(crate) fn opened(&mut self, correlation: u64) {
        if let Some(sample) = self.table.get_mut(&correlation) {
            sample.open += 1;
        }
    }

    /// Time of a record of the launch became final.
    pub(crate) fn spent(&mut self, correlation: u64, place: Place, ns: u64) -> Option<Attributed> {
        let sample = self.table.get_mut(&correlation)?;
        let weighted = u128::from(sample.weight) * u128::from(ns);
        if let Some(stack) = sample.stack {
            return Some(Attributed { place, stack, weighted });
        }
        match sample.waiting.iter_mut().find(|(waiting, _)| *waiting == place) {
            Some((_, sum)) => *sum += weighted,
            None => sample.waiting.push((place, weighted)),
        }
        None
    }

    /// A record of the launch is wholly final.
    pub(crate) fn closed(&mut self, correlation: u64) {
        if let Some(sample) = self.table.get_mut(&correlation) {
            sample.open = sample.open.saturating_sub(1);
        }
    }

    /// No further record can refer to the launch.
    pub(crate) fn retired(&mut self, correlation: u64) {
        if let Some(sample) = self.table.get_mut(&correlation) {
            sample.live = false;
        }
    }

    /// The driver refused the launch: neither stack nor record is expected.
    pub(crate) fn failed(&mut self, correlation: u64) {
        self.table.remove(&correlation);
        self.early.remove(&correlation);
    }

    /// Forgets what is complete or has waited too long, at the mark with this number.
    pub(crate) fn age(&mut self, mark: u64) -> Aged {
        let mut aged = Aged::default();
        self.table.retain(|_, sample| {
            let done = !sample.live && sample.open == 0;
            let late = mark.saturating_sub(sample.born) > STACK_MARKS;
            if !done || (sample.stack.is_none() && !late) {
                return true;
            }
            aged.missing += u64::from(sample.stack.is_none());
            false
        });
        self.early.retain(|_, &mut (_, born)| {
            let keep = mark.saturating_sub(born) <= STACK_MARKS;
            aged.unmatched += u64::from(!keep);
            keep
        });
        aged
    }

    /// Nothing more will come: what still waits never gets its other half.
    pub(crate) fn close(&mut self) -> Aged {
        let missing = self.table.drain().filter(|(_, sample)| sample.stack.is_none()).count();
        let unmatched = self.early.drain().count();
        Aged { missing: missing as u64, unmatched: unmatched as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Aged, Attributed, Place, Samples};
    use crate::ids::StackId;
    use crate::limits::STACK_MARKS;

    const PLACE: Place = Place { device: 0, cell: 3, idle: false };
    const STACK: StackId = StackId(8);

    #[test]
    fn time_waits_for_its_stack() {
        let mut samples = Samples::new(8);
        samples.launched(1, 4, 1);
        samples.opened(1);
        assert_eq!(samples.spent(1, PLACE, 10), None);
        assert_eq!(samples.spent(1, PLACE, 5), None);
        let expected = Attributed { place: PLACE, stack: STACK, weighted: 60 };
        assert_eq!(samples.stack(1, STACK, 1), [expected]);
        let direct = samples.spent(1, PLACE, 2);
        assert_eq!(direct, Some(Attributed { weighted: 8, ..expected }));
        samples.closed(1);
        samples.retired(1);
        assert_eq!(samples.age(2), Aged::default());
        assert_eq!(samples.spent(1, PLACE, 2), None);
    }

    #[test]
    fn a_stack_may_come_before_its_launch() {
        let mut samples = Samples::new(8);
        assert_eq!(samples.stack(1, STACK, 1), []);
        samples.launched(1, 2, 2);
        let expected = Attributed { place: PLACE, stack: STACK, weighted: 14 };
        assert_eq!(samples.spent(1, PLACE, 7), Some(expected));
        assert_eq!(samples.matched, 1);
    }

    #[test]
    fn halves_that_never_meet_are_counted() {
        let mut samples = Samples::new(8);
        samples.launched(1, 2, 0);
        samples.retired(1);
        assert_eq!(samples.stack(2, STACK, 0), []);
        assert_eq!(samples.age(STACK_MARKS), Aged::default());
        assert_eq!(samples.age(STACK_MARKS + 1), Aged { missing: 1, unmatched: 1 });
        assert_eq!(samples.close(), Aged::default());
    }
}
