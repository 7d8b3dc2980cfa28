//! One device: work waits here until the watermark passes it, then it is split and summed.
//!
//! Time before `done` is final. Work that arrives with an earlier start is late: only what lies
//! behind `done` is used, and the rest is counted, so no sum ever runs backwards.

use crate::map::HashMap;

use crate::classify::Kind;
use crate::event::DeviceInfo;
use crate::idle::Idle;
use crate::limits::{INVALID, STREAMS};
use crate::ranges::RangeSums;
use crate::report::{RecordCounts, UnobservedReason};
use crate::steps::{Stepped, Stepper};
use crate::timeline::cells::Cells;
use crate::timeline::invalid::{self, Bounds, Invalid, Valid};
use crate::timeline::sweep::{Empty, Gap, REASONS, Scope, Split, Sweep, Totals};

/// A stream of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) worker: u16,
    pub(crate) context: u32,
    /// As CUPTI numbers it.
    pub(crate) id: u32,
    pub(crate) kernels: u64,
    pub(crate) copies: u64,
    /// Union of its work, clipped to the window, ns.
    pub(crate) busy: u64,
    /// End of what is in `busy`.
    covered: u64,
    /// Smallest start of a valid record since arming.
    pub(crate) first: Option<u64>,
    /// Smallest start of a valid record of a launch entered after arming.
    pub(crate) first_launched: Option<u64>,
    /// Greatest correlation of a valid record that is final.
    passed: Option<u64>,
}

/// Valid work that is not final yet.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one record")]
pub(crate) struct Pending {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) correlation: u64,
    /// Entry of its launch, 0 where it is unknown.
    pub(crate) enter: u64,
    /// Return of its launch; its entry where only that is recorded.
    pub(crate) returned: u64,
    pub(crate) cell: u32,
    pub(crate) stream: u32,
    pub(crate) worker: u16,
    pub(crate) kind: Kind,
    pub(crate) is_kernel: bool,
    /// A rule matched its name, or it is a copy.
    pub(crate) classified: bool,
    /// It was launched with a graph.
    pub(crate) is_graph: bool,
    /// Launching thread, where the launch is known.
    pub(crate) thread: u32,
    /// What launched it, in [`crate::ranges`].
    pub(crate) range: u32,
    /// The engine step it was launched in, in [`crate::steps`].
    pub(crate) step: u32,
    pub(crate) grid_x: u16,
    /// It copied from the device to the host.
    pub(crate) to_host: bool,
    pub(crate) sampled: bool,
    /// Part of it was final before.
    pub(crate) counted: bool,
}

/// Time of a sampled record that became final.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) worker: u16,
    pub(crate) correlation: u64,
    pub(crate) cell: u32,
    pub(crate) ns: u64,
    /// Nothing of the record is left.
    pub(crate) last: bool,
}

/// One process on this device.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Position of the process in the session.
    pub(crate) process: usize,
    /// It showed a work record here.
    pub(crate) used: bool,
    pub(crate) kernels: u64,
}

/// How much of a late record was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) ns: u64,
}

/// Whether the end of a stretch belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Exclusive,
    Inclusive,
}

#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) info: DeviceInfo,
    /// Start of the window, once it is decided.
    pub(crate) start: Option<u64>,
    /// Everything in `[start, done)` is final.
    pub(crate) done: u64,
    /// Greatest start of valid work.
    pub(crate) latest: u64,
    pub(crate) workers: Vec<Worker>,
    pub(crate) splits: Vec<Split>,
    pub(crate) steppers: Vec<Stepper>,
    pub(crate) totals: Totals,
    pub(crate) empty: Empty,
    pub(crate) idle: Idle,
    pub(crate) ranges: RangeSums,
    pub(crate) cells: Cells,
    pub(crate) records: RecordCounts,
    pub(crate) kernels: u64,
    pub(crate) copies: u64,
    pub(crate) streams: Vec<Stream>,
    stream_index: HashMap<(u16, u32, u32), u32>,
    /// Streams that found the table full.
    pub(crate) streams_refused: u64,
    pub(crate) pending: Vec<Pending>,
    invalid: Vec<Invalid>,
    sweep: Sweep,
}

impl Device {
    /// A worker for `process`. What is final already was not observed for it.
    pub(crate) fn attach(&mut self, process: usize) -> u16 {
        let worker = u16::try_from(self.workers.len()).unwrap_or(u16::MAX);
        self.workers.push(Worker { process, used: false, kernels: 0 });
        let mut split = Split::default();
        if let Some(start) = self.start {
            split.unobserved[UnobservedReason::NotArmed as usize] = self.done - start;
        }
        self.splits.push(split);
        self.steppers.push(Stepper::default());
        worker
    }

    /// The stream's number here. Beyond the capacity all streams of a worker share its first.
    pub(crate) fn stream(&mut self, worker: u16, context: u32, stream: u32) -> u32 {
        if let Some(&known) = self.stream_index.get(&(worker, context, stream)) {
            return known;
        }
        if self.streams.len() >= STREAMS {
            self.streams_refused += 1;
            let shared = self.streams.iter().position(|known| known.worker == worker);
            return u32::try_from(shared.unwrap_or(0)).unwrap_or(0);
        }
        let number = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        self.streams.push(Stream {
            worker,
            context,
            id: stream,
            kernels: 0,
            copies: 0,
            busy: 0,
            covered: 0,
            first: None,
            first_launched: None,
            passed: None,
        });
        self.stream_index.insert((worker, context, stream), number);
        number
    }

    /// Forgets what the streams of `worker` showed since an earlier arming.
    pub(crate) fn rearm(&mut self, worker: u16) {
        for stream in self.streams.iter_mut().filter(|stream| stream.worker == worker) {
            stream.first = None;
            stream.first_launched = None;
        }
    }

    /// Takes a valid record; says how much of it came too late, if any did.
    pub(crate) fn add(&mut self, work: Pending) -> Option<Late> {
        self.latest = self.latest.max(work.start);
        self.pending.push(work);
        let start = self.start?;
        let from = work.start.max(start);
        let missed = work.end.min(self.done).checked_sub(from);
        let zero_length = work.start == work.end && from == work.start && work.start < self.done;
        match missed {
            Some(ns) if ns > 0 || zero_length => Some(Late { ns }),
            _ => None,
        }
    }

    /// Takes an invalid record; it is late when it was launched before what is final.
    pub(crate) fn add_invalid(&mut self, record: Invalid) -> Option<Late> {
        if self.invalid.len() >= INVALID {
            invalid::merge(&mut self.invalid);
        }
        self.invalid.push(record);
        let late = self.start.is_some_and(|start| record.enter > start) && record.enter < self.done;
        late.then_some(Late { ns: 0 })
    }

    /// Drops pending work that starts at or after `limit`: it will never be final.
    pub(crate) fn forget_from(&mut self, limit: u64) {
        self.pending.retain(|work| work.start < limit);
    }

    /// Makes `[done, to)` final. `gaps` is what the workers do not know about it. Work without
    /// length at `to` belongs to the next stretch, or to this one if there is none.
    ///
    /// What ends in it stays in `pending` until [`Device::retire`].
    pub(crate) fn advance(&mut self, to: u64, edge: Edge, gaps: &[Gap], spent: &mut Vec<Spent>) {
        let from = self.done;
        // Nearly in order already, which this sort is quick with. What starts together is ordered so
        // that the order of arrival decides nothing.
        let cells = &self.cells;
        self.pending.sort_by(|a, b| {
            let order = a.start.cmp(&b.start);
            order.then_with(|| {
                let rest = |work: &Pending| {
                    let launch = (work.enter, work.worker, work.correlation);
                    (launch, work.end, work.stream, cells.name(work.cell))
                };
                rest(a).cmp(&rest(b))
            })
        });
        let beyond = |start: u64| start > to || (start == to && edge == Edge::Exclusive);
        self.sweep.begin(from, to);
        for gap in gaps {
            self.sweep.gap(gap);
        }
        self.invalid_gaps();
        for work in &mut self.pending {
            if beyond(work.start) {
                continue;
            }
            let (start, end) = (work.start.max(from), work.end.min(to));
            let inside = start < end || (work.start == work.end && work.start >= from);
            if !inside {
                continue;
            }
            let ns = end.saturating_sub(start);
            let first = !work.counted;
            work.counted = true;
            self.cells.add(work.cell, ns, first);
            self.ranges.add(work.range, work.kind.class(), ns, first && work.is_kernel);
            if !work.classified {
                let sum = &mut self.records.unclassified_ns;
                *sum = sum.saturating_add(ns);
            }
            if let Some(stream) = self.streams.get_mut(work.stream as usize) {
                stream.busy += end.saturating_sub(start.max(stream.covered));
                stream.covered = stream.covered.max(end);
                stream.kernels += u64::from(first && work.is_kernel);
                stream.copies += u64::from(first && !work.is_kernel);
            }
            if first {
                self.kernels += u64::from(work.is_kernel);
                self.copies += u64::from(!work.is_kernel);
                let worker = usize::from(work.worker);
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.kernels += u64::from(work.is_kernel);
                }
                if let Some(stepper) = self.steppers.get_mut(worker) {
                    stepper.work(&Stepped::of(work));
                }
            }
            if work.sampled {
                spent.push(Spent {
                    worker: work.worker,
                    correlation: work.correlation,
                    cell: work.cell,
                    ns,
                    last: false,
                });
            }
            self.sweep.work(start, end, work.worker, work.kind);
        }
        self.sweep.finish(&mut self.totals, &mut self.splits, &mut self.empty);
        self.done = to;
    }

    /// Adds the regions of invalid records to the sweep and drops those that are passed.
    fn invalid_gaps(&mut self) {
        if self.invalid.is_empty() {
            return;
        }
        let mut streams: Vec<u32> = self.invalid.iter().map(|record| record.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let valid = self.pending.iter().filter(|work| streams.binary_search(&work.stream).is_ok());
        let bounds = Bounds::new(
            valid
                .map(|work| Valid {
                    stream: work.stream,
                    correlation: work.correlation,
                    start: work.start,
                    end: work.end,
                })
                .collect(),
        );
        let (streams, sweep) = (&self.streams, &mut self.sweep);
        self.invalid.retain(|record| {
            let passed = streams.get(record.stream as usize).and_then(|stream| stream.passed);
            if passed.is_some_and(|passed| passed > record.last) {
                return false;
            }
            let (start, end) = bounds.of(record);
            sweep.gap(&Gap {
                start,
                end,
                reason: UnobservedReason::InvalidRecord,
                worker: record.worker,
                scope: Scope::Device,
            });
            true
        });
    }

    /// Drops work that is wholly final.
    pub(crate) fn retire(&mut self, spent: &mut Vec<Spent>) {
        let (done, streams) = (self.done, &mut self.streams);
        self.pending.retain(|work| {
            let final_now = work.end <= done && work.start < done;
            if final_now {
                if let Some(stream) = streams.get_mut(work.stream as usize) {
                    stream.passed = stream.passed.max(Some(work.correlation));
                }
                if work.sampled {
                    spent.push(Spent {
                        worker: work.worker,
                        correlation: work.correlation,
                        cell: work.cell,
                        ns: 0,
                        last: true,
                    });
                }
            }
            !final_now
        });
    }

    /// Unobserved time with its reasons, ns.
    pub(crate) fn unobserved(&self) -> impl Iterator<Item = (UnobservedReason, u64)> {
        REASONS.into_iter().zip(self.totals.split.unobserved).filter(|&(_, ns)| ns > 0)
    }
}
