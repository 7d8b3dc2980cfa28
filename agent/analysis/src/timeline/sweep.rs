//! One pass over a stretch of one device's time: who has each instant.
//!
//! Equations, for every instant t of the stretch:
//! - the running work of highest [`Group`] takes t; nothing runs: t is unobserved for the first
//!   [`UnobservedReason`] that covers it, else idle;
//! - so the five groups + idle + the reasons = the stretch, for the device and for each worker.
//!
//! All spans are clipped to the stretch, so a sweep starts and ends with nothing running and two
//! sweeps of adjacent stretches add up to one sweep of both.

use crate::classify::{Class, Kind};
use crate::report::{Exclusive, Inclusive, UnobservedReason};
use crate::spans::Span;

/// Groups of work by priority, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Attention,
    Gemm,
    OtherCompute,
    Communication,
    Copies,
}

const GROUPS: usize = 5;

impl Group {
    pub(crate) const fn of(kind: Kind) -> Self {
        match kind.class() {
            Class::Attention => Self::Attention,
            Class::Gemm => Self::Gemm,
            Class::Communication => Self::Communication,
            Class::Other => match kind {
                Kind::Memcpy | Kind::Memset => Self::Copies,
                _ => Self::OtherCompute,
            },
        }
    }
}

/// Every reason, in the order in which one of several is given.
pub(crate) const REASONS: [UnobservedReason; 5] = [
    UnobservedReason::Arming,
    UnobservedReason::InvalidRecord,
    UnobservedReason::LostRecord,
    UnobservedReason::Unfinished,
    UnobservedReason::NotArmed,
];

const KINDS: usize = Kind::ALL.len();

/// Time split so that the parts sum to the time swept, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    groups: [u64; GROUPS],
    pub(crate) idle: u64,
    pub(crate) unobserved: [u64; REASONS.len()],
}

impl Split {
    pub(crate) fn exclusive(&self) -> Exclusive {
        let [attention, gemm, other, communication, copies] = self.groups;
        Exclusive {
            attention,
            gemm,
            communication,
            other: other + copies,
            idle: self.idle,
            unobserved: self.unobserved.iter().sum(),
        }
    }

    /// Copies and sets while nothing else ran, ns.
    pub(crate) fn copies(&self) -> u64 {
        self.groups[Group::Copies as usize]
    }

    fn add(&mut self, running: &Running, ns: u64) {
        match running.taker() {
            Taker::Work(group) => self.groups[group] += ns,
            Taker::Unobserved(reason) => self.unobserved[reason] += ns,
            Taker::Nobody => self.idle += ns,
        }
    }
}

/// Who has an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taker {
    /// Position in the groups.
    Work(usize),
    /// Position in [`REASONS`].
    Unobserved(usize),
    Nobody,
}

/// The stretches of a device in which no work ran, in order.
#[derive(Debug, Default)]
pub(crate) struct Empty {
    pub(crate) idle: Vec<Span>,
    pub(crate) unobserved: Vec<(Span, UnobservedReason)>,
}

impl Empty {
    fn clear(&mut self) {
        self.idle.clear();
        self.unobserved.clear();
    }

    fn add(&mut self, taker: Taker, from: u64, to: u64) {
        match taker {
            _ if from >= to => {}
            Taker::Work(_) => {}
            Taker::Unobserved(reason) => {
                let reason = REASONS[reason];
                match self.unobserved.last_mut() {
                    Some((last, same)) if last.to == from && *same == reason => last.to = to,
                    _ => self.unobserved.push((Span { from, to }, reason)),
                }
            }
            Taker::Nobody => match self.idle.last_mut() {
                Some(last) if last.to == from => last.to = to,
                _ => self.idle.push(Span { from, to }),
            },
        }
    }
}

/// Sums of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) split: Split,
    pub(crate) inclusive: Inclusive,
    pub(crate) overlap: u64,
    /// Union of copies and sets.
    pub(crate) copies: u64,
    /// Union per kind, by position in `Kind::ALL`.
    pub(crate) kinds: [u64; KINDS],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            split: Split::default(),
            inclusive: Inclusive::default(),
            overlap: 0,
            copies: 0,
            kinds: [0; KINDS],
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Running {
    groups: [u32; GROUPS],
    reasons: [u32; REASONS.len()],
}

/// A span's begin or end. The code packs worker, lane and direction, so that sorting moves
/// 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Edge {
    at: u64,
    code: u32,
}

const END: u32 = 1;
const DEVICE_TOO: u32 = 2;
/// Lanes from here on are reasons.
const REASON_LANES: u32 = 128;

/// Collects the spans of one stretch, then sweeps them. Kept between sweeps for its memory.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    edges: Vec<Edge>,
    from: u64,
    to: u64,
}

impl Sweep {
    /// Starts the stretch `[from, to)`.
    pub(crate) fn begin(&mut self, from: u64, to: u64) {
        self.edges.clear();
        self.from = from;
        self.to = to.max(from);
    }

    /// Work of `worker`.
    pub(crate) fn work(&mut self, start: u64, end: u64, worker: u16, kind: Kind) {
        self.span(start, end, worker, kind as u32, DEVICE_TOO);
    }

    /// Time about which nothing is known for `worker`, and for the device if `device_too`.
    pub(crate) fn gap(&mut self, gap: &Gap) {
        let lane = REASON_LANES + gap.reason as u32;
        let device = if gap.scope == Scope::Device { DEVICE_TOO } else { 0 };
        self.span(gap.start, gap.end, gap.worker, lane, device);
    }

    fn span(&mut self, start: u64, end: u64, worker: u16, lane: u32, device: u32) {
        let (start, end) = (start.max(self.from), end.min(self.to));
        if start < end {
            let code = u32::from(worker) << 16 | lane << 8 | device;
            self.edges.push(Edge { at: start, code });
            self.edges.push(Edge { at: end, code: code | END });
        }
    }

    /// Sweeps the stretch and adds it to the device's and every worker's sums.
    pub(crate) fn finish(&mut self, device: &mut Totals, workers: &mut [Split], empty: &mut Empty) {
        empty.clear();
        // Ties need no order: every span is longer than 0, so no count falls below 0.
        self.edges.sort_unstable_by_key(|edge| edge.at);
        let mut running = Running::default();
        let mut lanes = [(0_u32, 0_u64); KINDS];
        let mut each: Vec<(Running, u64)> = vec![(Running::default(), self.from); workers.len()];
        let mut at = self.from;
        for edge in &self.edges {
            if edge.at > at {
                device.add(&running, edge.at - at);
                empty.add(running.taker(), at, edge.at);
                at = edge.at;
            }
            let lane = edge.code >> 8 & 0xff;
            let worker = (edge.code >> 16) as usize;
            if let (Some(split), Some((own, since))) =
                (workers.get_mut(worker), each.get_mut(worker))
            {
                if edge.at > *since {
                    split.add(own, edge.at - *since);
                    *since = edge.at;
                }
                own.step(lane, edge.code);
            }
            if edge.code & DEVICE_TOO != 0 {
                running.step(lane, edge.code);
                device.step(&mut lanes, lane, edge);
            }
        }
        device.add(&running, self.to - at);
        empty.add(running.taker(), at, self.to);
        for (split, (own, since)) in workers.iter_mut().zip(&each) {
            split.add(own, self.to - since);
        }
    }
}

impl Running {
    fn taker(&self) -> Taker {
        if let Some(group) = self.groups.iter().position(|&count| count > 0) {
            Taker::Work(group)
        } else if let Some(reason) = self.reasons.iter().position(|&count| count > 0) {
            Taker::Unobserved(reason)
        } else {
            Taker::Nobody
        }
    }

    fn step(&mut self, lane: u32, code: u32) {
        let count = if lane >= REASON_LANES {
            self.reasons.get_mut((lane - REASON_LANES) as usize)
        } else {
            Kind::ALL.get(lane as usize).map(|&kind| &mut self.groups[Group::of(kind) as usize])
        };
        if let Some(count) = count {
            *count = if code & END != 0 { count.wrapping_sub(1) } else { count.wrapping_add(1) };
        }
    }
}

impl Totals {
    fn add(&mut self, running: &Running, ns: u64) {
        self.split.add(running, ns);
        let [attention, gemm, other, communication, copies] = running.groups.map(|count| count > 0);
        let add = |runs: bool, sum: &mut u64| *sum += if runs { ns } else { 0 };
        add(attention, &mut self.inclusive.attention);
        add(gemm, &mut self.inclusive.gemm);
        add(communication, &mut self.inclusive.communication);
        add(other || copies, &mut self.inclusive.other);
        add(copies, &mut self.copies);
        add((attention || gemm || other) && communication, &mut self.overlap);
    }

    fn step(&mut self, lanes: &mut [(u32, u64); KINDS], lane: u32, edge: &Edge) {
        let Some((count, since)) = lanes.get_mut(lane as usize) else {
            return;
        };
        if edge.code & END == 0 {
            if *count == 0 {
                *since = edge.at;
            }
            *count += 1;
        } else {
            *count = count.wrapping_sub(1);
            if *count == 0 {
                self.kinds[lane as usize] += edge.at - *since;
            }
        }
    }
}

/// Whom a [`Gap`] concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The worker, and its device as far as nothing else runs there.
    Device,
    /// The worker's own split only.
    Worker,
}

/// Time about which nothing is known unless work is seen in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) start: u64,
    /// `u64::MAX`: still open.
    pub(crate) end: u64,
    pub(crate) reason: UnobservedReason,
    pub(crate) worker: u16,
    pub(crate) scope: Scope,
}

const _: () = {
    assert!(KINDS < REASON_LANES as usize);
    assert!(crate::limits::WORKERS <= 1 << 16);
};
