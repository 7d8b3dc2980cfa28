//! Sums per process, kernel, graph and capture on one device, and how sampled stacks share them.
//!
//! Equation: of a cell's exact total T, stack i with weighted sampled time w(i) gets
//! T * w(i) / sum(w), rounded down, and the remaining nanoseconds go one each to the largest
//! remainders; so the parts sum to T. A cell without samples hangs under no stack.

use crate::map::HashMap;

use crate::classify::Kind;
use crate::graphs::Origin;
use crate::ids::{NameId, StackId};
use crate::limits::{CELLS, STACKS};

/// Which graph work belongs to, and where it was captured into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// Executed graph, 0 outside graphs.
    pub(crate) graph: u32,
    pub(crate) origin: Origin,
}

/// One kernel (or all copies of one direction) of one process in one graph, captured at one place.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) worker: u16,
    pub(crate) name: NameId,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    /// Clipped durations, ns.
    pub(crate) total: u128,
    pub(crate) count: u64,
    /// Weighted sampled time by stack, ordered by stack.
    stacks: Vec<(StackId, u128)>,
}

impl Cell {
    /// The total, at most `u64::MAX` (584 years of summed GPU time).
    pub(crate) fn total_ns(&self) -> u64 {
        u64::try_from(self.total).unwrap_or(u64::MAX)
    }

    /// Weighted sampled time of a stack.
    pub(crate) fn weight(&self, stack: StackId) -> u128 {
        let place = self.stacks.binary_search_by_key(&stack, |&(stack, _)| stack);
        place.map_or(0, |place| self.stacks[place].1)
    }

    /// The total shared out over the stacks.
    pub(crate) fn shares(&self) -> Vec<(Option<StackId>, u64)> {
        let total = self.total_ns();
        let weights: Vec<u128> = self.stacks.iter().map(|&(_, weight)| weight).collect();
        match share(total, &weights) {
            Some(parts) => {
                let stacks = self.stacks.iter().map(|&(stack, _)| Some(stack));
                stacks.zip(parts).filter(|&(_, part)| part > 0).collect()
            }
            None => vec![(None, total)],
        }
    }
}

/// `total` in proportion to `weights`; `None` when they sum to 0.
pub(crate) fn share(total: u64, weights: &[u128]) -> Option<Vec<u64>> {
    let sum = weights.iter().fold(0_u128, |sum, &weight| sum.saturating_add(weight));
    if sum == 0 {
        return None;
    }
    // total * weight must fit in 128 bits: total takes 64, so weights get 63 at most. Shifting
    // all of them alike loses less than 2^-62 of the proportion.
    let shift = (128 - sum.leading_zeros()).saturating_sub(63);
    let weights: Vec<u128> = weights.iter().map(|weight| weight >> shift).collect();
    let sum: u128 = weights.iter().sum();
    let products = weights.iter().map(|weight| u128::from(total) * weight);
    let mut parts: Vec<u64> = Vec::with_capacity(weights.len());
    let mut remainders: Vec<(u128, usize)> = Vec::with_capacity(weights.len());
    for (index, product) in products.enumerate() {
        // At most `total`, because no weight exceeds the sum.
        parts.push(u64::try_from(product / sum).unwrap_or(total));
        remainders.push((product % sum, index));
    }
    let mut left = total.saturating_sub(parts.iter().sum());
    remainders.sort_unstable_by_key(|&(remainder, index)| (std::cmp::Reverse(remainder), index));
    for (_, index) in remainders {
        if left == 0 {
            break;
        }
        parts[index] += 1;
        left -= 1;
    }
    Some(parts)
}

/// The cells of one device.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    list: Vec<Cell>,
    index: HashMap<(u16, NameId, Source), u32>,
    /// Graphs and captures that found the table full and were counted as outside graphs.
    pub(crate) refused: u64,
    /// Stacks that found a cell's list full.
    pub(crate) stacks_refused: u64,
}

impl Cells {
    /// The cell of a kernel. Beyond the capacity graphs are not told apart, which bounds the
    /// table by names and workers, both bounded themselves.
    pub(crate) fn of(&mut self, worker: u16, name: NameId, kind: Kind, source: Source) -> u32 {
        if let Some(&cell) = self.index.get(&(worker, name, source)) {
            return cell;
        }
        let outside = Source::default();
        let source = if self.list.len() >= CELLS && source != outside {
            self.refused += 1;
            if let Some(&cell) = self.index.get(&(worker, name, outside)) {
                return cell;
            }
            outside
        } else {
            source
        };
        let cell = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.index.insert((worker, name, source), cell);
        self.list.push(Cell { worker, name, kind, source, total: 0, count: 0, stacks: Vec::new() });
        cell
    }

    /// Adds clipped time of one record, and the record itself when this is its first part.
    pub(crate) fn add(&mut self, cell: u32, ns: u64, first: bool) {
        if let Some(cell) = self.list.get_mut(cell as usize) {
            cell.total += u128::from(ns);
            cell.count += u64::from(first);
        }
    }

    /// Adds weighted time of a sampled record.
    pub(crate) fn sampled(&mut self, cell: u32, stack: StackId, weighted: u128) {
        let Some(cell) = self.list.get_mut(cell as usize) else {
            return;
        };
        match cell.stacks.binary_search_by_key(&stack, |&(stack, _)| stack) {
            Ok(index) => cell.stacks[index].1 = cell.stacks[index].1.saturating_add(weighted),
            Err(_) if cell.stacks.len() >= STACKS => self.stacks_refused += 1,
            Err(index) => cell.stacks.insert(index, (stack, weighted)),
        }
    }

    pub(crate) fn get(&self, cell: u32) -> Option<&Cell> {
        self.list.get(cell as usize)
    }

    /// The kernel of a cell.
    pub(crate) fn name(&self, cell: u32) -> NameId {
        self.list.get(cell as usize).map_or(NameId(0), |cell| cell.name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cells, Source, share};
    use crate::classify::Kind;
    use crate::ids::{NameId, StackId};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn the_largest_remainders_take_the_rest() {
        assert_eq!(share(10, &[1, 1, 1]), Some(vec![4, 3, 3]));
        assert_eq!(share(100, &[1, 3]), Some(vec![25, 75]));
        assert_eq!(share(7, &[0, 5]), Some(vec![0, 7]));
        assert_eq!(share(7, &[0, 0]), None);
        assert_eq!(share(7, &[]), None);
    }

    #[test]
    fn a_cell_without_samples_hangs_under_no_stack() {
        let mut cells = Cells::default();
        let cell = cells.of(0, NameId(1), Kind::Dense, Source::default());
        cells.add(cell, 30, true);
        let shares: Vec<_> = cells.iter().flat_map(super::Cell::shares).collect();
        assert_eq!(shares, [(None, 30)]);
        cells.sampled(cell, StackId(4), 2);
        cells.sampled(cell, StackId(3), 1);
        let shares: Vec<_> = cells.iter().flat_map(super::Cell::shares).collect();
        assert_eq!(shares, [(Some(StackId(3)), 10), (Some(StackId(4)), 20)]);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_total_and_stay_near_their_proportion(
            total in any::<u64>(),
            weights in prop::collection::vec(any::<u128>(), 1..20),
        ) {
            // Divided so that the sum cannot saturate, which would change the proportions.
            let weights: Vec<u128> = weights.iter().map(|weight| weight / 32).collect();
            let sum: u128 = weights.iter().sum();
            let Some(parts) = share(total, &weights) else {
                prop_assert_eq!(sum, 0);
                return Ok(());
            };
            prop_assert_eq!(parts.iter().map(|&p| u128::from(p)).sum::<u128>(), u128::from(total));
            for (part, weight) in parts.iter().zip(&weights) {
                #[expect(clippy::cast_precision_loss, reason = "a tolerance, not a figure")]
                let exact = total as f64 * (*weight as f64 / sum as f64);
                #[expect(clippy::cast_precision_loss, reason = "a tolerance, not a figure")]
                let off = (*part as f64 - exact).abs();
                prop_assert!(off <= 2.0 + exact * 1e-9, "{part} is not near {exact}");
            }
        }
    }
}
