//! Launches of one process and the records they lead to.
//!
//! A launch is outstanding from its entry until it is settled: a kernel or copy by its first
//! record, a graph when it has as many records as the largest count seen of a settled launch of
//! that executed graph, or after three marks without another record. Everything is decided at
//! marks, after all events of the mark were taken, so the order within them does not matter.

use crate::map::HashMap;

use crate::event::{Launch, LaunchKind};
use crate::ids::Correlation;
use crate::limits::{GRAPHS, HOLD_NS, QUIET_MARKS, QUIET_MARKS_INCOMPLETE};

/// Where the 64-bit correlations of a process begin, far from both ends.
const BASE: u64 = 1 << 40;

/// Extends 32-bit correlation ids that wrap.
///
/// Equation: id64 = reference + (id - reference) as a signed 32-bit number. The reference is the
/// greatest id64 of the events before the latest mark, so ids may be out of order by 2^31.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extender {
    reference: Option<u64>,
    greatest: Option<u64>,
}

impl Extender {
    pub(crate) fn extend(&mut self, correlation: Correlation) -> u64 {
        let reference = *self.reference.get_or_insert(BASE + u64::from(correlation.0));
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is compared")]
        let step = correlation.0.wrapping_sub(reference as u32).cast_signed();
        let extended = reference.wrapping_add_signed(i64::from(step));
        self.greatest = self.greatest.max(Some(extended));
        extended
    }

    /// Moves the reference up to what was seen.
    pub(crate) fn advance(&mut self) {
        self.reference = self.reference.max(self.greatest);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outstanding,
    /// Held for long enough; its region stays open until its records come.
    Expired,
    /// A settled graph, kept a while so that late records raise the count of its graph.
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct Launched {
    enter: u64,
    /// Return of the call; its entry where only that is recorded.
    returned: u64,
    is_graph: bool,
    is_copy: bool,
    sampled: bool,
    thread: u32,
    /// Number of what launched it, in [`crate::ranges`].
    range: u32,
    step: u32,
    records: u32,
    graph: u32,
    /// Mark at which the latest record came.
    fresh: u64,
    /// Greatest end of its valid records.
    end: u64,
    state: State,
}

/// What a record learns about its launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) enter: u64,
    /// Return of the call; its entry where only that is recorded.
    pub(crate) returned: u64,
    pub(crate) sampled: bool,
    pub(crate) is_graph: bool,
    pub(crate) thread: u32,
    /// Number of what launched it, in [`crate::ranges`].
    pub(crate) range: u32,
    /// The engine step it was launched in, in [`crate::steps`].
    pub(crate) step: u32,
}

/// What a mark decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    /// Entry of the oldest launch that still holds the watermark.
    pub(crate) oldest: Option<u64>,
    /// Launches that stopped holding without a record: correlation and entry.
    pub(crate) expired: Vec<(u64, u64)>,
    /// Expired launches whose records came: correlation and greatest end.
    pub(crate) resolved: Vec<(u64, u64)>,
    /// Copies that never showed a record.
    pub(crate) copies_unseen: u64,
    /// Sampled launches that no further record can refer to.
    pub(crate) retired: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Launches {
    capacity: usize,
    table: HashMap<u64, Launched>,
    /// Records of the largest settled launch, by executed graph.
    largest: HashMap<u32, u32>,
    /// Launches that found the table full.
    refused: u64,
    /// Graphs that found the table full.
    graphs_refused: u64,
}

impl Launches {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            table: HashMap::default(),
            largest: HashMap::default(),
            refused: 0,
            graphs_refused: 0,
        }
    }

    pub(crate) fn enter(
        &mut self,
        correlation: u64,
        launch: &Launch,
        (range, step): (u32, u32),
        mark: u64,
    ) {
        if self.table.len() >= self.capacity {
            self.refused += 1;
            return;
        }
        self.table.insert(
            correlation,
            Launched {
                enter: launch.enter.0,
                returned: launch.exit.map_or(launch.enter.0, |exit| exit.0),
                is_graph: launch.kind == LaunchKind::Graph,
                is_copy: launch.kind == LaunchKind::Copy,
                sampled: launch.sampled.is_some(),
                thread: launch.thread,
                range,
                step,
                records: 0,
                graph: 0,
                fresh: mark,
                end: 0,
                state: State::Outstanding,
            },
        );
    }

    /// The driver refused it: no record will come.
    pub(crate) fn fail(&mut self, correlation: u64) {
        self.table.remove(&correlation);
    }

    /// A record of the launch came; `end` is 0 for an invalid one.
    pub(crate) fn record(
        &mut self,
        correlation: u64,
        graph: u32,
        end: u64,
        mark: u64,
    ) -> Option<Origin> {
        let launched = self.table.get_mut(&correlation)?;
        launched.records = launched.records.saturating_add(1);
        launched.fresh = mark;
        launched.end = launched.end.max(end);
        if graph != 0 {
            launched.graph = graph;
        }
        Some(Origin {
            enter: launched.enter,
            returned: launched.returned,
            sampled: launched.sampled,
            is_graph: launched.is_graph,
            thread: launched.thread,
            range: launched.range,
            step: launched.step,
        })
    }

    /// Launches that found the table full since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Graphs that found the table full since the last call.
    pub(crate) fn take_graphs_refused(&mut self) -> u64 {
        std::mem::take(&mut self.graphs_refused)
    }

    /// The region of an expired launch is closed otherwise; it need not be remembered.
    pub(crate) fn forget(&mut self, correlation: u64) {
        self.table.remove(&correlation);
    }

    /// Settles, expires and forgets, at the mark with this number and flush time.
    pub(crate) fn decide(&mut self, mark: u64, flush: u64) -> Decided {
        // Two passes, so that a count learned in the first serves every launch in the second,
        // whatever order the table has.
        for launched in self.table.values_mut() {
            let quiet = mark.saturating_sub(launched.fresh) >= QUIET_MARKS;
            let settled = launched.state == State::Settled;
            if launched.is_graph && launched.records > 0 && (quiet || settled) {
                if let Some(largest) = self.largest.get_mut(&launched.graph) {
                    *largest = (*largest).max(launched.records);
                } else if self.largest.len() < GRAPHS {
                    self.largest.insert(launched.graph, launched.records);
                } else {
                    self.graphs_refused += 1;
                }
            }
        }
        let mut decided = Decided::default();
        let largest = &self.largest;
        self.table.retain(|&correlation, launched| {
            let quiet = mark.saturating_sub(launched.fresh) >= QUIET_MARKS;
            let complete = launched.records > 0
                && (!launched.is_graph
                    || match largest.get(&launched.graph) {
                        Some(&all) if launched.records >= all => true,
                        Some(_) => mark.saturating_sub(launched.fresh) >= QUIET_MARKS_INCOMPLETE,
                        None => quiet,
                    });
            match launched.state {
                State::Outstanding | State::Expired if complete => {
                    if launched.state == State::Expired {
                        decided.resolved.push((correlation, launched.end));
                    }
                    launched.state = State::Settled;
                }
                // A copy of nothing, or between host buffers, has no record: nothing ran.
                State::Outstanding
                    if launched.is_copy && flush.saturating_sub(launched.enter) > HOLD_NS =>
                {
                    launched.state = State::Settled;
                    decided.copies_unseen += 1;
                }
                State::Outstanding if flush.saturating_sub(launched.enter) > HOLD_NS => {
                    launched.state = State::Expired;
                    decided.expired.push((correlation, launched.enter));
                }
                State::Outstanding => {
                    let oldest = decided.oldest.unwrap_or(u64::MAX).min(launched.enter);
                    decided.oldest = Some(oldest);
                }
                State::Expired | State::Settled => {}
            }
            let keep = launched.state != State::Settled || (launched.is_graph && !quiet);
            if !keep && launched.sampled {
                decided.retired.push(correlation);
            }
            keep
        });
        decided.expired.sort_unstable();
        decided.resolved.sort_unstable();
        decided
    }

    /// Nothing more will come for any of them: returns those still open, and forgets all.
    pub(crate) fn close(&mut self) -> Decided {
        let mut decided = Decided::default();
        for (correlation, launched) in self.table.drain() {
            match launched.state {
                State::Outstanding => decided.expired.push((correlation, launched.enter)),
                State::Expired | State::Settled => {}
            }
            if launched.sampled {
                decided.retired.push(correlation);
            }
        }
        decided.expired.sort_unstable();
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::{Decided, Extender, Launches, Origin};
    use crate::event::{Launch, LaunchKind};
    use crate::ids::{Correlation, Ns, ProcessKey};
    use crate::limits::{HOLD_NS, QUIET_MARKS_INCOMPLETE};

    fn launch(kind: LaunchKind, enter: u64) -> Launch {
        Launch {
            process: ProcessKey(0),
            correlation: Correlation(0),
            kind,
            enter: Ns(enter),
            exit: None,
            thread: 0,
            function: 0,
            sampled: None,
        }
    }

    #[test]
    fn ids_keep_their_order_over_a_wrap() {
        let mut extender = Extender::default();
        let before: Vec<u64> =
            [u32::MAX - 1, u32::MAX].map(|id| extender.extend(Correlation(id))).to_vec();
        extender.advance();
        let after: Vec<u64> = [0, 1].map(|id| extender.extend(Correlation(id))).to_vec();
        extender.advance();
        let straggler = extender.extend(Correlation(u32::MAX - 1));
        let first = before[0];
        assert_eq!([before, after].concat(), [first, first + 1, first + 2, first + 3]);
        assert_eq!(straggler, first);
    }

    #[test]
    fn many_wraps_stay_in_order() {
        let mut extender = Extender::default();
        let mut last = 0;
        for step in 0..20_u64 {
            #[expect(clippy::cast_possible_truncation, reason = "wrapping is the point")]
            let extended = extender.extend(Correlation((step * 1_500_000_000) as u32));
            extender.advance();
            assert!(extended > last, "step {step}");
            last = extended;
        }
    }

    #[test]
    fn a_launch_holds_until_its_record() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Kernel, 100), (0, 0), 1);
        assert_eq!(launches.decide(1, 200).oldest, Some(100));
        let origin = launches.record(1, 0, 150, 2);
        assert_eq!(
            origin,
            Some(Origin {
                enter: 100,
                returned: 100,
                sampled: false,
                is_graph: false,
                thread: 0,
                range: 0,
                step: 0
            })
        );
        assert_eq!(launches.decide(2, 300), Decided::default());
        assert_eq!(launches.record(1, 0, 160, 3), None);
    }

    #[test]
    fn a_launch_expires_after_the_hold_limit_and_is_resolved_by_its_record() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Kernel, 100), (0, 0), 1);
        assert_eq!(launches.decide(1, 100 + HOLD_NS).oldest, Some(100));
        let decided = launches.decide(2, 101 + HOLD_NS);
        assert_eq!((decided.oldest, decided.expired), (None, vec![(1, 100)]));
        launches.record(1, 0, HOLD_NS + 500, 3);
        assert_eq!(launches.decide(3, HOLD_NS + 600).resolved, [(1, HOLD_NS + 500)]);
    }

    #[test]
    fn the_first_replay_of_a_graph_settles_after_three_quiet_marks_and_the_next_by_count() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Graph, 100), (0, 0), 1);
        for _ in 0..5 {
            launches.record(1, 9, 150, 1);
        }
        for mark in 1..4 {
            assert_eq!(launches.decide(mark, 200).oldest, Some(100), "mark {mark}");
        }
        assert_eq!(launches.decide(4, 200).oldest, None);
        launches.enter(2, &launch(LaunchKind::Graph, 300), (0, 0), 5);
        for _ in 0..4 {
            launches.record(2, 9, 350, 5);
        }
        assert_eq!(launches.decide(5, 400).oldest, Some(300));
        launches.record(2, 9, 360, 6);
        assert_eq!(launches.decide(6, 400).oldest, None);
    }

    #[test]
    fn a_graph_known_to_be_larger_waits_longer() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Graph, 100), (0, 0), 1);
        (0..5).for_each(|_| assert!(launches.record(1, 9, 150, 1).is_some()));
        assert_eq!(launches.decide(4, 200).oldest, None);
        launches.enter(2, &launch(LaunchKind::Graph, 300), (0, 0), 5);
        launches.record(2, 9, 350, 5);
        assert_eq!(launches.decide(9, 400).oldest, Some(300));
        assert_eq!(launches.decide(5 + QUIET_MARKS_INCOMPLETE, 500).oldest, None);
    }

    #[test]
    fn records_after_settling_raise_the_count() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Graph, 100), (0, 0), 1);
        launches.record(1, 9, 150, 1);
        launches.decide(4, 200);
        launches.enter(2, &launch(LaunchKind::Graph, 300), (0, 0), 5);
        launches.record(2, 9, 350, 5);
        assert_eq!(launches.decide(5, 400).oldest, None);
        launches.record(2, 9, 351, 6);
        launches.decide(6, 400);
        launches.enter(3, &launch(LaunchKind::Graph, 500), (0, 0), 7);
        launches.record(3, 9, 550, 7);
        assert_eq!(launches.decide(7, 600).oldest, Some(500));
    }

    #[test]
    fn a_graph_without_any_record_is_held_like_any_launch() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Graph, 100), (0, 0), 1);
        assert_eq!(launches.decide(9, 200).oldest, Some(100));
        assert_eq!(launches.decide(10, 101 + HOLD_NS).expired, [(1, 100)]);
    }

    #[test]
    fn a_copy_without_a_record_holds_for_a_while_and_then_hides_nothing() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Copy, 100), (0, 0), 1);
        assert_eq!(launches.decide(1, 100 + HOLD_NS).oldest, Some(100));
        let decided = launches.decide(2, 101 + HOLD_NS);
        assert_eq!(decided, Decided { copies_unseen: 1, ..Decided::default() });
    }

    #[test]
    fn a_refused_launch_holds_nothing() {
        let mut launches = Launches::new(8);
        launches.enter(1, &launch(LaunchKind::Kernel, 100), (0, 0), 1);
        launches.fail(1);
        assert_eq!(launches.decide(1, 200), Decided::default());
    }
}
