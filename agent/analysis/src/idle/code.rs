//! In which code launching threads were while the host was late.
//!
//! Of the host-bound time of a gap, what the thread slept is known to the nanosecond, with the stack
//! it went to sleep in; the rest it ran, and CPU samples share that out. Most gaps are shorter than
//! the time between two samples, so a device's samples share out what ran in all its gaps: each
//! stands for as much time as any other, whichever gap it fell into. To share out only the gaps with
//! samples would favour long ones.

use crate::classify::Kind;
use crate::ids::{NameId, ProcessKey, StackId};
use crate::limits::{GAP_STACKS, GAP_STACKS_KEPT};
use crate::report::{GapHost, HostStack, HostState};
use crate::timeline::cells::{Cell, Cells, Source, share};
use crate::whereabouts::Spent;

/// Cells of one worker: it ran; it slept in a known stack; it slept in an unknown one.
const RAN: NameId = NameId(0);
const SLEPT: NameId = NameId(1);
const SLEPT_SOMEWHERE: NameId = NameId(2);

/// Host-bound time of one device by stack of the launching thread.
#[derive(Debug, Default)]
pub(crate) struct Code {
    cells: Cells,
    /// A sample or a sleep was told of this worker's threads.
    told: Vec<bool>,
}

impl Code {
    /// `ns` of host-bound time, in which the launching thread of `worker` did `spent`.
    pub(super) fn add(&mut self, worker: u16, ns: u64, spent: &Spent) {
        let place = usize::from(worker);
        if self.told.len() <= place {
            self.told.resize(place + 1, false);
        }
        if !spent.samples.is_empty() || !spent.asleep.is_empty() {
            self.told[place] = true;
        }
        let mut ran = ns;
        for &(stack, slept) in &spent.asleep {
            ran = ran.saturating_sub(slept);
            let name = if stack.is_some() { SLEPT } else { SLEPT_SOMEWHERE };
            let cell = self.cell(worker, name);
            self.cells.add(cell, slept, true);
            if let Some(stack) = stack {
                self.cells.sampled(cell, stack, u128::from(slept));
            }
        }
        let cell = self.cell(worker, RAN);
        self.cells.add(cell, ran, true);
        for &stack in &spent.samples {
            self.cells.sampled(cell, stack, 1);
        }
    }

    fn cell(&mut self, worker: u16, name: NameId) -> u32 {
        self.cells.of(worker, name, Kind::Other, Source::default())
    }

    /// Rows of the device at `position`; per worker they sum to its host-bound time. None of a
    /// worker whose threads nobody told anything of.
    pub(crate) fn rows(
        &self,
        position: usize,
        process: impl Fn(u16) -> Option<ProcessKey>,
    ) -> Vec<HostStack> {
        let mut rows: Vec<HostStack> = Vec::new();
        for cell in self.cells.iter().filter(|cell| cell.total > 0) {
            let told = self.told.get(usize::from(cell.worker)).is_some_and(|&told| told);
            let Some(process) = process(cell.worker).filter(|_| told) else {
                continue;
            };
            let state = if cell.name == RAN { HostState::Running } else { HostState::Asleep };
            rows.extend(cell.shares().into_iter().map(|(stack, total)| HostStack {
                device: position,
                process,
                state,
                stack,
                samples: samples_of(cell, stack),
                total,
            }));
        }
        rows.sort_unstable_by_key(|row| (row.process, row.state, row.stack));
        rows
    }

    /// Stacks that found a worker's list full: their time hangs under the others.
    pub(crate) const fn stacks_refused(&self) -> u64 {
        self.cells.stacks_refused
    }
}

fn samples_of(cell: &Cell, stack: Option<StackId>) -> u64 {
    let ran = cell.name == RAN;
    let weight = stack.filter(|_| ran).map_or(0, |stack| cell.weight(stack));
    u64::try_from(weight).unwrap_or(u64::MAX)
}

/// The same of one gap.
#[derive(Clone, Debug, Default)]
pub(super) struct GapCode {
    /// Host-bound time, ns.
    total: u64,
    /// Of it, asleep, wherever; ns.
    asleep: u64,
    samples: u64,
    stacks: Vec<Here>,
}

#[derive(Clone, Copy, Debug)]
struct Here {
    stack: StackId,
    samples: u64,
    asleep: u64,
}

impl GapCode {
    pub(super) fn add(&mut self, ns: u64, spent: &Spent) {
        self.total += ns;
        for &stack in &spent.samples {
            self.samples += 1;
            self.at(stack, |here| here.samples += 1);
        }
        for &(stack, slept) in &spent.asleep {
            self.asleep += slept;
            if let Some(stack) = stack {
                self.at(stack, |here| here.asleep += slept);
            }
        }
    }

    fn at(&mut self, stack: StackId, add: impl FnOnce(&mut Here)) {
        let known = self.stacks.iter().position(|here| here.stack == stack);
        if known.is_none() && self.stacks.len() < GAP_STACKS {
            self.stacks.push(Here { stack, samples: 0, asleep: 0 });
        }
        let place = known.unwrap_or(self.stacks.len().saturating_sub(1));
        if let Some(here) = self.stacks.get_mut(place).filter(|here| here.stack == stack) {
            add(here);
        }
    }

    /// Where most of it was spent, most first.
    pub(super) fn finish(self) -> Vec<GapHost> {
        let ran = self.total.saturating_sub(self.asleep);
        let told: u64 = self.stacks.iter().map(|here| here.samples).sum();
        let mut weights: Vec<u128> = self.stacks.iter().map(|here| here.samples.into()).collect();
        // Samples of stacks beyond the capacity have their share of the time, under no stack.
        weights.push(self.samples.saturating_sub(told).into());
        let parts = share(ran, &weights).unwrap_or_else(|| vec![0; weights.len()]);
        let mut list: Vec<GapHost> = self
            .stacks
            .iter()
            .zip(parts)
            .map(|(here, ran)| GapHost {
                stack: here.stack,
                samples: here.samples,
                asleep: here.asleep,
                total: here.asleep.saturating_add(ran),
            })
            .filter(|host| host.total > 0)
            .collect();
        list.sort_by_key(|host| (std::cmp::Reverse(host.total), host.stack));
        list.truncate(GAP_STACKS_KEPT);
        list
    }
}
