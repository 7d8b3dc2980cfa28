//! Puts the events of one trace in order of time, in bounded memory, and feeds them on.
//!
//! Traces list events by kind or by thread, and a session takes them by time. Events are kept as
//! fixed-size rows; what does not fit into the budget is sorted and spilled to an unnamed temporary
//! file, and the runs are merged at the end. A small trace takes the same way and never spills.
//!
//! Rows are sorted stably by time; at one instant, what explains comes before what is explained:
//! graphs, ranges (the outer first), launches, synchronisations, then work. Texts are told at their
//! first use. Every [`MARK_EVENTS`] rows, and every [`MARK_NS`] of the trace, each process gets
//! a mark, so that the session can let go and windows can be cut.

mod row;
mod spill;
mod texts;

use std::collections::BTreeSet;

use analysis::event::{Event, Mark};
use analysis::ids::{Ns, ProcessKey};

use crate::pipeline::Input;
use row::Row;
use spill::Spill;
pub use spill::SpillError;
pub use texts::Texts;

/// Rows in memory, bytes: half a million, more than a profile of some steps has. Sorting takes half
/// as much again; with texts and what a session holds between two marks that stays far below the
/// 300 MB that reading a trace of any size may take.
const BUDGET_BYTES: usize = 32 << 20;

/// Rows between two marks: some ms of work for the session, a few MB of events.
pub const MARK_EVENTS: u64 = 50_000;

/// Trace time between two marks at most, ns: windows that `diff` cuts a trace into end at marks.
pub const MARK_NS: u64 = 20_000_000;

/// The events of one trace, on their way into order.
#[derive(Debug)]
pub struct Order {
    rows: Vec<Row>,
    capacity: usize,
    spill: Option<Spill>,
    /// Kernel names. Their ids are what [`Event::Name`] tells.
    pub names: Texts,
    /// Names and shapes of ranges. Their ids are what [`Event::Label`] tells.
    pub labels: Texts,
    untimed: Vec<Event>,
    processes: BTreeSet<ProcessKey>,
    pushed: u64,
    refused: u64,
}

/// What went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// Events fed, without texts and marks.
    pub events: u64,
    pub spilled_bytes: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self::within(BUDGET_BYTES)
    }
}

impl Order {
    /// Keeps at most `bytes` of rows in memory.
    pub fn within(bytes: usize) -> Self {
        Self {
            rows: Vec::new(),
            capacity: (bytes / size_of::<Row>()).max(1),
            spill: None,
            names: Texts::default(),
            labels: Texts::default(),
            untimed: Vec::new(),
            processes: BTreeSet::new(),
            pushed: 0,
            refused: 0,
        }
    }

    /// Events taken so far.
    pub fn len(&self) -> u64 {
        self.pushed
    }

    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// Takes an event at its own time: a start or an entry. What has no time (an introduction, a
    /// stack) is fed first, in the order given; it is for the caller to bound how many there are.
    pub fn push(&mut self, event: &Event) -> Result<(), SpillError> {
        let Some(time) = row::time(event) else {
            self.untimed.push(event.clone());
            return Ok(());
        };
        self.push_at(time, event)
    }

    /// Takes an event at a time the caller knows, such as a stack at its launch's entry.
    pub fn push_at(&mut self, time: Ns, event: &Event) -> Result<(), SpillError> {
        let Some(row) = Row::of(time, event) else {
            self.refused += 1;
            return Ok(());
        };
        if self.rows.len() >= self.capacity {
            self.spill()?;
        }
        self.processes.insert(row.process());
        self.rows.push(row);
        self.pushed += 1;
        Ok(())
    }

    /// Feeds everything in order of time. Processes, devices and ordinals are to be fed before.
    pub fn feed(mut self, sink: &mut impl FnMut(Input)) -> Result<Ordered, SpillError> {
        let mut ordered = Ordered { events: self.pushed, spilled_bytes: 0 };
        for event in std::mem::take(&mut self.untimed) {
            sink(Input::Foreign(event));
        }
        let processes: Vec<ProcessKey> = self.processes.iter().copied().collect();
        let mut feeder = Feeder {
            names: std::mem::take(&mut self.names).into_teller(),
            labels: std::mem::take(&mut self.labels).into_teller(),
            processes,
            since_mark: 0,
            marked: None,
            sink,
        };
        if self.spill.is_some() {
            self.spill()?;
        }
        if let Some(spill) = self.spill.take() {
            // The session needs the room.
            drop(std::mem::take(&mut self.rows));
            ordered.spilled_bytes = spill.bytes();
            spill.merge(|row| feeder.row(row))?;
        } else {
            self.rows.sort_by_key(Row::key);
            for row in &self.rows {
                feeder.row(row);
            }
        }
        let (names, labels) = (feeder.names.refused(), feeder.labels.refused());
        for (count, text) in [
            (self.refused, "events had no place in the order of events: left out"),
            (names, "kernels found the table of names full: they stand under one name"),
            (labels, "ranges found the table of range names full: they stand under one name"),
        ] {
            if count > 0 {
                sink(Input::Note(format!("{count} {text}")));
            }
        }
        Ok(ordered)
    }

    fn spill(&mut self) -> Result<(), SpillError> {
        self.rows.sort_by_key(Row::key);
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => self.spill.insert(Spill::create()?),
        };
        spill.run(&self.rows)?;
        self.rows.clear();
        Ok(())
    }
}

/// The last step: texts before their first use, marks between.
struct Feeder<'s, S> {
    names: texts::Teller,
    labels: texts::Teller,
    processes: Vec<ProcessKey>,
    since_mark: u64,
    /// Time of the latest mark.
    marked: Option<Ns>,
    sink: &'s mut S,
}

impl<S: FnMut(Input)> Feeder<'_, S> {
    fn row(&mut self, row: &Row) {
        let marked = *self.marked.get_or_insert(row.time());
        let far = row.time().since(marked).is_some_and(|passed| passed >= MARK_NS);
        if self.since_mark >= MARK_EVENTS || far {
            self.since_mark = 0;
            self.marked = Some(row.time());
            for &process in &self.processes {
                let flush = row.time();
                let mark = Mark { process, flush, armed: Ns(0), lost: 0, last: false };
                (self.sink)(Input::Foreign(Event::Mark(mark)));
            }
        }
        self.since_mark += 1;
        let process = row.process();
        if let Some(id) = row.name()
            && let Some(name) = self.names.tell(process, id)
        {
            (self.sink)(Input::Name { process, id, name });
        }
        for id in row.labels().into_iter().flatten() {
            if let Some(text) = self.labels.tell(process, id) {
                (self.sink)(Input::Foreign(Event::Label { process, id, text }));
            }
        }
        if let Some(event) = row.event() {
            (self.sink)(Input::Foreign(event));
        }
    }
}

#[cfg(test)]
mod tests;
