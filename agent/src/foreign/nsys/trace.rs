//! One row at a time, in time order, from Nsight's columns to events.

use std::collections::HashMap;
use std::path::Path;

use analysis::event::{Event, Launch, Mark, Range, Sync, Work, WorkKind};
use analysis::ids::{Correlation, Ns, ProcessKey};
use rusqlite::Connection;

use super::NsysError;
use super::calls::{self, Call};
use super::identity::Identities;
use super::ranges::Shape;
use super::schema::{Column, Fields, Schema, Source};
use super::strings::{NameError, Strings};
use crate::pipeline::Input;

/// What is known while rows stream by.
pub(super) struct Trace<'c> {
    path: &'c Path,
    calls: HashMap<i64, Call>,
    identities: Identities,
    strings: Strings<'c>,
    /// The thread in a call, for the synchronisation records the call makes: one entry a thread.
    in_call: HashMap<(ProcessKey, u32), InCall>,
    left_out: LeftOut,
}

/// A thread's latest call.
#[derive(Clone, Copy)]
struct InCall {
    thread: u32,
    call: Call,
}

/// Rows that could not be told, by reason.
#[derive(Default)]
struct LeftOut {
    open_ranges: u64,
    free_ranges: u64,
    unlabelled_ranges: u64,
    untimed_rows: u64,
    waits_without_call: u64,
}

/// An error of `SQLite` while it read `source`.
pub(super) fn query(path: &Path, source: Source, error: rusqlite::Error) -> NsysError {
    NsysError::Query { path: path.to_owned(), table: source.table(), source: error }
}

impl<'c> Trace<'c> {
    pub(super) fn new(
        path: &'c Path,
        connection: &'c Connection,
        schema: &Schema,
    ) -> Result<Self, NsysError> {
        let identities = Identities::read(connection, schema)
            .map_err(|(table, source)| NsysError::Query { path: path.to_owned(), table, source })?;
        let strings = Strings::new(connection, schema);
        let calls = strings.calls().map_err(|error| strings_error(path, error))?;
        Ok(Self {
            path,
            calls,
            identities,
            strings,
            in_call: HashMap::new(),
            left_out: LeftOut::default(),
        })
    }

    /// String ids of the calls to read.
    pub(super) fn calls(&self) -> impl Iterator<Item = i64> + '_ {
        self.calls.keys().copied()
    }

    /// Says that everything before `row` was told.
    pub(super) fn mark(&self, row: &Fields, sink: &mut impl FnMut(Input)) {
        let Some(start) = row.time(Column::Start) else { return };
        for process in self.identities.processes() {
            let flush = Ns(start);
            let mark = Mark { process, flush, armed: Ns(0), lost: 0, last: false };
            sink(Input::Foreign(Event::Mark(mark)));
        }
    }

    pub(super) fn row(
        &mut self,
        source: Source,
        row: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<(), NsysError> {
        match source {
            Source::Kernel | Source::Memcpy | Source::Memset => self.work(source, row, sink),
            Source::Call => {
                self.call(row, sink);
                Ok(())
            }
            Source::Wait => {
                self.wait(row, sink);
                Ok(())
            }
            Source::Range => self.range(row, sink),
        }
    }

    /// Says what was left out.
    pub(super) fn finish(self, sink: &mut impl FnMut(Input)) {
        let LeftOut {
            open_ranges,
            free_ranges,
            unlabelled_ranges,
            untimed_rows,
            waits_without_call,
        } = self.left_out;
        for (count, what) in [
            (open_ranges, "NVTX ranges were still open when the trace ended: left out"),
            (free_ranges, "NVTX start/end ranges do not nest on a thread: left out"),
            (unlabelled_ranges, "NVTX ranges found the table of labels full: left out"),
            (untimed_rows, "calls and ranges have no usable times: left out"),
            (
                waits_without_call,
                "synchronisation records belong to no call in the trace: left out",
            ),
            (self.identities.callers_refused, "rows found the table of threads full: left out"),
        ] {
            if count > 0 {
                sink(Input::Note(format!("{count} {what}")));
            }
        }
    }

    fn work(
        &mut self,
        source: Source,
        row: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<(), NsysError> {
        let global_pid = row.get(Column::GlobalPid).unwrap_or(0);
        let process = self.identities.process(global_pid, sink);
        let ordinal = row.number(Column::DeviceId);
        self.identities.device(process, global_pid, ordinal, sink);
        let bytes = row.wide(Column::Bytes);
        let kind = match source {
            Source::Memcpy => {
                let copy_kind = u8::try_from(row.number(Column::CopyKind)).unwrap_or(0);
                WorkKind::Memcpy { bytes, copy_kind }
            }
            Source::Memset => WorkKind::Memset { bytes },
            _ => WorkKind::Kernel { name: self.kernel_name(process, row, sink)? },
        };
        // A time that is missing or negative makes the record one without timestamps.
        let (start, end) = match (row.time(Column::Start), row.time(Column::End)) {
            (Some(start), Some(end)) => (start, end),
            _ => (0, 0),
        };
        sink(Input::Foreign(Event::Work(Work {
            process,
            ordinal,
            context: row.number(Column::ContextId),
            stream: row.number(Column::StreamId),
            correlation: Correlation(row.number(Column::CorrelationId)),
            graph: row.number(Column::GraphId),
            graph_node: row.wide(Column::GraphNodeId),
            source_node: 0,
            grid_x: u16::try_from(row.number(Column::GridX)).unwrap_or(u16::MAX),
            start: Ns(start),
            end: Ns(end),
            kind,
        })));
        Ok(())
    }

    fn kernel_name(
        &mut self,
        process: ProcessKey,
        row: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<u32, NsysError> {
        self.strings.kernel(process, row, sink).map_err(|error| match error {
            NameError::Query(error) => strings_error(self.path, error),
            NameError::TooMany => NsysError::Names { path: self.path.to_owned() },
        })
    }

    fn call(&mut self, row: &Fields, sink: &mut impl FnMut(Input)) {
        let known = row.get(Column::NameId).and_then(|name| self.calls.get(&name)).copied();
        let (Some(call), Some(tid)) = (known, row.get(Column::GlobalTid)) else { return };
        let Some((enter, exit)) = times(row) else {
            self.left_out.untimed_rows += 1;
            return;
        };
        let Some(caller) = self.identities.caller(tid, sink) else { return };
        let (process, thread) = (caller.process, caller.number);
        let correlation = row.number(Column::CorrelationId);
        // A runtime call and the driver call inside it have one correlation id: one launch.
        if caller.last == Some(correlation) {
            return;
        }
        if let Some(last) = caller.last.replace(correlation) {
            self.in_call.remove(&(process, last));
        }
        self.in_call.insert((process, correlation), InCall { thread, call });
        let succeeded = row.get(Column::ReturnValue).unwrap_or(0) == 0;
        match call {
            Call::Launch(kind) => {
                let correlation = Correlation(correlation);
                sink(Input::Foreign(Event::Launch(Launch {
                    process,
                    correlation,
                    kind,
                    enter,
                    exit: Some(exit),
                    thread,
                    function: 0,
                    sampled: None,
                })));
                if !succeeded {
                    sink(Input::Foreign(Event::LaunchFailed {
                        process,
                        correlation,
                        captured: false,
                    }));
                }
            }
            Call::Sync(scope) => sink(Input::Foreign(Event::Sync(Sync {
                process,
                context: 0,
                scope,
                enter,
                exit,
                thread,
                succeeded,
            }))),
        }
    }

    /// A synchronisation record adds the waits that a call's name does not tell, as of a copy from
    /// pageable memory. It begins within its call, so that call is its thread's latest.
    fn wait(&mut self, row: &Fields, sink: &mut impl FnMut(Input)) {
        let Some(scope) = row.get(Column::SyncType).and_then(calls::waited_for) else { return };
        let Some((enter, exit)) = times(row) else {
            self.left_out.untimed_rows += 1;
            return;
        };
        let process = self.identities.process(row.get(Column::GlobalPid).unwrap_or(0), sink);
        match self.in_call.get(&(process, row.number(Column::CorrelationId))) {
            None => self.left_out.waits_without_call += 1,
            Some(InCall { call: Call::Sync(_), .. }) => {}
            Some(InCall { call: Call::Launch(_), thread }) => {
                sink(Input::Foreign(Event::Sync(Sync {
                    process,
                    context: 0,
                    scope,
                    enter,
                    exit,
                    thread: *thread,
                    succeeded: true,
                })));
            }
        }
    }

    fn range(&mut self, row: &Fields, sink: &mut impl FnMut(Input)) -> Result<(), NsysError> {
        match Shape::of(row.get(Column::EventType)) {
            Shape::Nested => {}
            Shape::Free => {
                self.left_out.free_ranges += 1;
                return Ok(());
            }
            Shape::Other => return Ok(()),
        }
        let Some(tid) = row.get(Column::GlobalTid) else { return Ok(()) };
        if row.get(Column::End).is_none() {
            self.left_out.open_ranges += 1;
            return Ok(());
        }
        let Some((start, end)) = times(row) else {
            self.left_out.untimed_rows += 1;
            return Ok(());
        };
        let Some(caller) = self.identities.caller(tid, sink) else { return Ok(()) };
        let (process, thread) = (caller.process, caller.number);
        let labelled = self
            .strings
            .range(process, row, sink)
            .map_err(|error| strings_error(self.path, error))?;
        let Some((kind, label, shapes)) = labelled else {
            self.left_out.unlabelled_ranges += 1;
            return Ok(());
        };
        sink(Input::Foreign(Event::Range(Range {
            process,
            thread,
            kind,
            start,
            end,
            label,
            shapes,
        })));
        Ok(())
    }
}

/// Start and end, where both are told and in order.
fn times(row: &Fields) -> Option<(Ns, Ns)> {
    let (start, end) = (row.time(Column::Start)?, row.time(Column::End)?);
    (start <= end).then_some((Ns(start), Ns(end)))
}

fn strings_error(path: &Path, error: rusqlite::Error) -> NsysError {
    NsysError::Query { path: path.to_owned(), table: "StringIds", source: error }
}
