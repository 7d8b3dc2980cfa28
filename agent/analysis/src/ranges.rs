//! What host code launched GPU work: the innermost open range of each kind on the launching thread
//! when the launch was entered.
//!
//! A combination of them has a number, so that work carries four bytes and sums are an array.

use crate::map::HashMap;

use crate::classify::Class;
use crate::event::{Range, RangeKind};
use crate::limits::{LABELS, RANGE_DEPTH, RANGES, THREADS};
use crate::report::RangeTime;

const KINDS: usize = RangeKind::ALL.len();
const CLASSES: usize = Class::ALL.len();

/// Label and shapes of one open range; 0 and 0 where none is open.
type Named = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Open {
    end: u64,
    named: Named,
}

/// Open ranges of one process.
#[derive(Debug, Default)]
pub(crate) struct OpenRanges {
    threads: HashMap<u32, [Vec<Open>; KINDS]>,
    /// The session's label of the process's.
    labels: HashMap<u32, u32>,
}

/// Labels and combinations of a session.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// Number 0 is no label.
    labels: Vec<String>,
    label_ids: HashMap<String, u32>,
    /// Number 0 is no range of any kind.
    combinations: Vec<[Named; KINDS]>,
    numbers: HashMap<[Named; KINDS], u32>,
    /// Labels, ranges and combinations that found a table full.
    pub(crate) refused: u64,
}

impl Ranges {
    /// Some range was told.
    pub(crate) fn any(&self) -> bool {
        !self.combinations.is_empty()
    }

    /// `id` means `text` in this process.
    pub(crate) fn label(&mut self, open: &mut OpenRanges, id: u32, text: String) {
        if self.labels.is_empty() {
            self.labels.push(String::new());
        }
        let next = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        let known = match self.label_ids.get(&text) {
            Some(&known) => known,
            None if self.labels.len() >= LABELS => {
                self.refused += 1;
                return;
            }
            None => {
                self.label_ids.insert(text.clone(), next);
                self.labels.push(text);
                next
            }
        };
        open.labels.insert(id, known);
    }

    /// The text behind a label of the process.
    pub(crate) fn text(&self, open: &OpenRanges, id: u32) -> Option<&str> {
        let known = *open.labels.get(&id)?;
        self.labels.get(known as usize).map(String::as_str)
    }

    /// A range begins. They come by start.
    pub(crate) fn begin(&mut self, open: &mut OpenRanges, range: &Range) {
        if self.combinations.is_empty() {
            self.combinations.push([(0, 0); KINDS]);
        }
        if open.threads.len() >= THREADS && !open.threads.contains_key(&range.thread) {
            self.refused += 1;
            return;
        }
        let label = |id: u32| open.labels.get(&id).copied().unwrap_or(0);
        let named = (label(range.label), label(range.shapes));
        let stacks = open.threads.entry(range.thread).or_default();
        let stack = &mut stacks[range.kind as usize];
        stack.retain(|open| open.end > range.start.0);
        if stack.len() >= RANGE_DEPTH {
            self.refused += 1;
            return;
        }
        stack.push(Open { end: range.end.0, named });
    }

    /// The number of what is open on `thread` at `at`.
    pub(crate) fn at(&mut self, open: &mut OpenRanges, thread: u32, at: u64) -> u32 {
        let Some(stacks) = open.threads.get_mut(&thread) else {
            return 0;
        };
        let mut combination = [(0, 0); KINDS];
        for (named, stack) in combination.iter_mut().zip(stacks) {
            while stack.last().is_some_and(|open| open.end <= at) {
                stack.pop();
            }
            *named = stack.last().map_or((0, 0), |open| open.named);
        }
        if combination == [(0, 0); KINDS] {
            return 0;
        }
        if let Some(&number) = self.numbers.get(&combination) {
            return number;
        }
        if self.combinations.len() >= RANGES {
            self.refused += 1;
            return 0;
        }
        let number = u32::try_from(self.combinations.len()).unwrap_or(0);
        self.combinations.push(combination);
        self.numbers.insert(combination, number);
        number
    }

    /// Rows of one device, longest first within each kind.
    pub(crate) fn rows(&self, device: usize, sums: &RangeSums) -> Vec<RangeTime> {
        let mut rows = Vec::new();
        for (place, &kind) in RangeKind::ALL.iter().enumerate() {
            let told = self.combinations.iter().any(|combination| combination[place].0 != 0);
            if !told {
                continue;
            }
            let mut merged: HashMap<(Named, usize), Sum> = HashMap::default();
            for (combination, sums) in self.combinations.iter().zip(&sums.list) {
                for (class, sum) in sums.iter().enumerate().filter(|(_, sum)| sum.used()) {
                    let row = merged.entry((combination[place], class)).or_default();
                    row.kernels += sum.kernels;
                    row.total = row.total.saturating_add(sum.total);
                }
            }
            let text = |label: u32| {
                let text = self.labels.get(label as usize);
                text.filter(|_| label != 0).cloned()
            };
            let mut of_kind: Vec<RangeTime> = merged
                .into_iter()
                .map(|(((label, shapes), class), sum)| RangeTime {
                    device,
                    kind,
                    name: text(label),
                    shapes: text(shapes),
                    class: Class::ALL[class],
                    kernels: sum.kernels,
                    total: sum.total,
                })
                .collect();
            of_kind.sort_unstable_by(|a, b| {
                (b.total, &a.name, &a.shapes, a.class).cmp(&(a.total, &b.name, &b.shapes, b.class))
            });
            rows.append(&mut of_kind);
        }
        rows
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    kernels: u64,
    total: u64,
}

impl Sum {
    const fn used(self) -> bool {
        self.kernels > 0 || self.total > 0
    }
}

/// Sums of one device by combination and class.
#[derive(Debug, Default)]
pub(crate) struct RangeSums {
    list: Vec<[Sum; CLASSES]>,
}

impl RangeSums {
    /// Adds clipped time of work that was launched in the combination `number`.
    pub(crate) fn add(&mut self, number: u32, class: Class, ns: u64, kernel: bool) {
        let place = number as usize;
        if place >= self.list.len() {
            self.list.resize(place + 1, [Sum::default(); CLASSES]);
        }
        if let Some(sum) = self.list.get_mut(place).and_then(|sums| sums.get_mut(class as usize)) {
            sum.total = sum.total.saturating_add(ns);
            sum.kernels += u64::from(kernel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OpenRanges, RangeSums, Ranges};
    use crate::classify::Class;
    use crate::event::{Range, RangeKind};
    use crate::ids::{Ns, ProcessKey};

    const OUTER: u32 = 5;
    const INNER: u32 = 6;

    fn range(kind: RangeKind, thread: u32, start: u64, end: u64, label: u32) -> Range {
        let process = ProcessKey(0);
        Range { process, thread, kind, start: Ns(start), end: Ns(end), label, shapes: 0 }
    }

    fn labelled() -> (Ranges, OpenRanges) {
        let (mut ranges, mut open) = (Ranges::default(), OpenRanges::default());
        ranges.label(&mut open, OUTER, "outer".to_owned());
        ranges.label(&mut open, INNER, "inner".to_owned());
        (ranges, open)
    }

    fn told(ranges: &Ranges, sums: &RangeSums) -> Vec<(RangeKind, Option<String>, u64, u64)> {
        let rows = ranges.rows(0, sums);
        rows.into_iter().map(|row| (row.kind, row.name, row.kernels, row.total)).collect()
    }

    #[test]
    fn the_innermost_open_range_of_the_thread_gets_the_time() {
        let (mut ranges, mut open) = labelled();
        let mut sums = RangeSums::default();
        let mut launch = |ranges: &mut Ranges, open: &mut OpenRanges, thread, at, ns| {
            let number = ranges.at(open, thread, at);
            sums.add(number, Class::Gemm, ns, true);
        };
        ranges.begin(&mut open, &range(RangeKind::Operator, 1, 10, 100, OUTER));
        launch(&mut ranges, &mut open, 1, 15, 1);
        ranges.begin(&mut open, &range(RangeKind::Operator, 1, 20, 40, INNER));
        launch(&mut ranges, &mut open, 1, 25, 10);
        launch(&mut ranges, &mut open, 2, 26, 100);
        launch(&mut ranges, &mut open, 1, 50, 1_000);
        launch(&mut ranges, &mut open, 1, 100, 10_000);
        let operator = RangeKind::Operator;
        assert_eq!(
            told(&ranges, &sums),
            [
                (operator, None, 2, 10_100),
                (operator, Some("outer".to_owned()), 2, 1_001),
                (operator, Some("inner".to_owned()), 1, 10),
            ]
        );
    }

    #[test]
    fn every_kind_has_the_whole_time() {
        let (mut ranges, mut open) = labelled();
        let mut sums = RangeSums::default();
        ranges.begin(&mut open, &range(RangeKind::Module, 1, 0, 9, OUTER));
        ranges.begin(&mut open, &range(RangeKind::Operator, 1, 1, 9, INNER));
        let number = ranges.at(&mut open, 1, 5);
        sums.add(number, Class::Other, 3, false);
        sums.add(0, Class::Attention, 4, true);
        for kind in [RangeKind::Operator, RangeKind::Module] {
            let rows = told(&ranges, &sums);
            let total: u64 = rows.iter().filter(|row| row.0 == kind).map(|row| row.3).sum();
            assert_eq!(total, 7, "{kind:?}");
        }
        assert!(told(&ranges, &sums).iter().all(|row| row.0 != RangeKind::Annotation));
    }
}
