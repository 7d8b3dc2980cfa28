//! One stack out of a thread's native frames and its Python frames, taken at the same instant.
//!
//! An activation of CPython's evaluation loop is one native frame and stands for a run of Python
//! frames: from 3.11 on a Python function that calls another does so within the loop. Where a run ends
//! differs between versions:
//!
//! | version | a run |
//! |---|---|
//! | 3.10 | one frame |
//! | 3.11 | up to and with the frame that has `is_entry` |
//! | 3.12 on | up to the frame that the loop itself put there (owner 3 or more), which is no function |
//!
//! From the leaf on, each activation is replaced by the next run. Beside it, functions of the interpreter
//! that only pass a call on (`names`) are left out; C functions that were called stay, because they are
//! not on that list. Counts of activations and runs must agree, but for one at the leaf: a thread may be in
//! the loop's first or last instructions, where its frame is not linked. Where they disagree, both
//! stacks stand one below the other, and a remark says so.

use std::cmp::Ordering;
use std::ops::Range;

use wire::kernel::{PYTHON_ENTRY, PythonFrame, python_walk};

use super::version::Version;
use crate::stack::{Place, Remark};

/// What is needed to know of an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seams {
    pub version: Version,
    /// Code of the evaluation loop, by address.
    pub evaluation: Vec<Range<u64>>,
    /// Functions that only pass calls on, by address.
    pub passing: Vec<Range<u64>>,
    /// Where the interpreter's file is mapped to be executed.
    pub code: Vec<Range<u64>>,
}

/// A thread's native frames.
#[derive(Clone, Copy, Debug)]
pub struct Native<'a> {
    /// Leaf first: its instruction, then return addresses.
    pub addresses: &'a [u64],
    /// Why frames are missing at the root; `None`: none is.
    pub cut: Option<Remark>,
}

/// Who owns a frame from 3.12 on: from this on, the loop itself.
const OWNER_LOOP: u64 = 3;

const OWNER_SHIFT: u32 = 56;

/// The places of the merged stack, leaf first. `place` says what a Python frame stands for; `walk` is how
/// the walk over them ended (`python_walk`).
pub fn merge(
    seams: &Seams,
    native: Native<'_>,
    python: &[PythonFrame],
    walk: u32,
    place: impl FnMut(&PythonFrame) -> Place,
) -> Vec<Place> {
    let rest = match walk {
        python_walk::TRUNCATED => Some(Remark::PythonTooDeep),
        python_walk::FAULT => Some(Remark::PythonUnread),
        _ => None,
    };
    let runs = runs(seams.version, python);
    let activations = seams.activations(native.addresses);
    let mut stack = Merging {
        places: Vec::with_capacity(native.addresses.len() + python.len() + 2),
        python,
        place,
        runs: runs.clone().into_iter(),
        rest,
    };
    match Fit::of(seams, native, &activations, &runs, rest) {
        Fit::Apart => stack.one_below_the_other(native),
        Fit::Together(leaf) => stack.merged(seams, native, &activations, leaf),
    }
    stack.places
}

/// Frames of each activation of the loop, as positions; what the loop put there itself is left out.
fn runs(version: Version, frames: &[PythonFrame]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for (index, frame) in frames.iter().enumerate() {
        match version {
            Version::V3_10 => {
                runs.push(index..index + 1);
                start = index + 1;
            }
            Version::V3_11 if frame.instruction & PYTHON_ENTRY != 0 => {
                runs.push(start..index + 1);
                start = index + 1;
            }
            Version::V3_12 | Version::V3_13 | Version::V3_14 if is_the_loops(frame) => {
                runs.push(start..index);
                start = index + 1;
            }
            _ => {}
        }
    }
    // The walk ended within a run.
    if start < frames.len() {
        runs.push(start..frames.len());
    }
    runs
}

/// From 3.12 on the loop begins with a frame of its own.
pub(super) fn is_the_loops(frame: &PythonFrame) -> bool {
    frame.instruction >> OWNER_SHIFT >= OWNER_LOOP
}

/// What stands at the leaf without a counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaf {
    Even,
    /// An activation whose frame is not linked yet, or no more.
    Activation,
    /// A run whose activation was not recognised.
    Run,
}

/// Whether activations and runs agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Together(Leaf),
    Apart,
}

impl Fit {
    fn of(
        seams: &Seams,
        native: Native<'_>,
        activations: &[usize],
        runs: &[Range<usize>],
        rest: Option<Remark>,
    ) -> Self {
        let (native_whole, python_whole) = (native.cut.is_none(), rest.is_none());
        let (activations, runs) = (activations.len(), runs.len());
        // Only a leaf that is the interpreter's own code can be an activation nobody knows.
        let leaf_is_own = native.addresses.first().is_some_and(|&leaf| contains(&seams.code, leaf));
        match activations.cmp(&runs) {
            Ordering::Equal => Self::Together(Leaf::Even),
            // Python frames that were not taken explain any number of further activations.
            Ordering::Greater => match (python_whole, activations - runs) {
                (false, _) => Self::Together(Leaf::Even),
                (true, 1) => Self::Together(Leaf::Activation),
                (true, _) => Self::Apart,
            },
            // Native frames that were not found explain any number of further runs.
            Ordering::Less => match (native_whole, runs - activations) {
                (false, _) => Self::Together(Leaf::Even),
                (true, 1) if leaf_is_own => Self::Together(Leaf::Run),
                (true, _) => Self::Apart,
            },
        }
    }
}

fn contains(ranges: &[Range<u64>], address: u64) -> bool {
    let behind = ranges.partition_point(|range| range.start <= address);
    ranges[..behind].last().is_some_and(|range| range.contains(&address))
}

impl Seams {
    /// Positions of the native frames that are activations of the loop.
    fn activations(&self, addresses: &[u64]) -> Vec<usize> {
        let is_one = |&(index, &address): &(usize, &u64)| {
            contains(&self.evaluation, instruction(index, address))
        };
        addresses.iter().enumerate().filter(is_one).map(|(index, _)| index).collect()
    }

    /// Which native frames are left out: activations that have a run, and beside them what only passes
    /// calls on.
    fn left_out(&self, addresses: &[u64], replaced: &[usize]) -> Vec<bool> {
        let mut out = vec![false; addresses.len()];
        let passes = |index: usize| {
            addresses
                .get(index)
                .is_some_and(|&address| contains(&self.passing, instruction(index, address)))
        };
        for &activation in replaced {
            let towards_leaf = (0..activation).rev().take_while(|&index| passes(index));
            let towards_root = (activation + 1..addresses.len()).take_while(|&index| passes(index));
            for index in towards_leaf.chain([activation]).chain(towards_root) {
                if let Some(out) = out.get_mut(index) {
                    *out = true;
                }
            }
        }
        out
    }
}

/// Where the frame is: a return address lies behind its call, which may be a function's last
/// instruction.
fn instruction(index: usize, address: u64) -> u64 {
    if index == 0 { address } else { address.saturating_sub(1) }
}

struct Merging<'a, P> {
    places: Vec<Place>,
    python: &'a [PythonFrame],
    place: P,
    runs: std::vec::IntoIter<Range<usize>>,
    /// Why Python frames are missing at the root, until it has been said.
    rest: Option<Remark>,
}

impl<P: FnMut(&PythonFrame) -> Place> Merging<'_, P> {
    fn merged(&mut self, seams: &Seams, native: Native<'_>, activations: &[usize], leaf: Leaf) {
        let skipped = usize::from(leaf == Leaf::Activation);
        let replaced = self.runs.len() + skipped - usize::from(leaf == Leaf::Run);
        let replaced = activations.get(..replaced.min(activations.len())).unwrap_or_default();
        let mut out = seams.left_out(native.addresses, replaced);
        if leaf == Leaf::Run {
            // It is the activation that was not recognised.
            if let Some(out) = out.first_mut() {
                *out = true;
            }
            self.run();
        }
        if self.runs.len() == 0 && replaced.is_empty() {
            // Not one Python frame, but a reason why.
            self.places.extend(self.rest.take().map(Place::Remark));
        }
        for (index, (&address, out)) in native.addresses.iter().zip(out).enumerate() {
            if !out {
                self.places.push(Place::User(address));
            } else if replaced.get(skipped..).unwrap_or_default().contains(&index) {
                self.run();
            }
        }
        self.places.extend(native.cut.map(Place::Remark));
        while self.runs.len() > 0 {
            self.run();
        }
    }

    fn one_below_the_other(&mut self, native: Native<'_>) {
        self.places.extend(native.addresses.iter().map(|&address| Place::User(address)));
        self.places.extend(native.cut.map(Place::Remark));
        self.places.push(Place::Remark(Remark::Unmerged));
        while self.runs.len() > 0 {
            self.run();
        }
    }

    /// The next run, and behind the last one what is missing.
    fn run(&mut self) {
        let Some(run) = self.runs.next() else {
            return;
        };
        let frames = self.python.get(run).unwrap_or_default();
        self.places.extend(frames.iter().map(&mut self.place));
        if self.runs.len() == 0 {
            self.places.extend(self.rest.take().map(Place::Remark));
        }
    }
}

#[cfg(test)]
mod tests;
