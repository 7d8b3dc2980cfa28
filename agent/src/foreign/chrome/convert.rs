//! Events of a trace as events of a session.
//!
//! A trace is of one process; whichever thread or process id a call carries, correlation ids are
//! of one counter. Its GPUs are the numbers in `args.device`. Times are the trace's own `ts`, in
//! ns. What has no usable time is an invalid record where it is work, and left out elsewhere; both
//! are counted.

use std::borrow::Cow;
use std::collections::BTreeSet;

use analysis::event::{
    Event, Launch, LaunchKind, Range, RangeKind, Sync, SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, Ns, ProcessKey};

use super::category::{self, Call, Category};
use super::document::Taker;
use super::meta::Meta;
use super::number::{self, Picoseconds};
use super::record::{Arguments, Record};
use super::scan::unquoted;
use crate::foreign::order::{Order, SpillError};

/// The one process of a trace.
pub(super) const PROCESS: ProcessKey = ProcessKey(0);

/// Thread of a synchronisation record, which does not tell it.
pub(super) const UNKNOWN_THREAD: u32 = u32::MAX;

/// Devices remembered. A session knows 64 of a process and counts what is on others.
const DEVICES_MAX: usize = 1024;

/// Shapes are shown up to this length.
const SHAPES_MAX: usize = 120;

/// How Python names the calls of a module.
const MODULE: &str = "nn.Module: ";

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Elements of the array.
    pub(super) events: u64,
    pub(super) works: u64,
    /// Calls and ranges without usable times.
    pub(super) untimed: u64,
    /// Elements that are no event, or one of more than 8 MiB.
    pub(super) strange: u64,
    /// Work that names no device.
    pub(super) homeless: u64,
}

/// Takes the events of a trace into an [`Order`].
pub(super) struct Converter {
    pub(super) order: Order,
    pub(super) meta: Meta,
    pub(super) counts: Counts,
    pub(super) devices: BTreeSet<u32>,
    /// When the first work began, ns.
    pub(super) first: Option<u64>,
    /// Room for a text without its white space.
    scratch: String,
}

impl Taker for Converter {
    type Error = SpillError;

    fn event(&mut self, record: &Record<'_>) -> Result<(), SpillError> {
        self.counts.events += 1;
        if record.phase == b"\"M\"" {
            self.meta.metadata(record);
            return Ok(());
        }
        if record.phase != b"\"X\"" {
            return Ok(());
        }
        match record.category {
            Category::Kernel | Category::Memcpy | Category::Memset => self.work(record),
            Category::Call => self.call(record),
            Category::Sync => self.sync(record),
            Category::Operator => self.range(RangeKind::Operator, record),
            Category::Annotation => self.range(RangeKind::Annotation, record),
            Category::Python => self.range(RangeKind::Module, record),
            Category::Untold | Category::Other => Ok(()),
        }
    }

    fn member(&mut self, key: &[u8], value: &[u8]) {
        self.meta.member(key, value);
    }

    fn strange(&mut self) {
        self.counts.strange += 1;
    }
}

impl Converter {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            meta: Meta::default(),
            counts: Counts::default(),
            devices: BTreeSet::new(),
            first: None,
            scratch: String::new(),
        }
    }

    fn work(&mut self, record: &Record<'_>) -> Result<(), SpillError> {
        let Record { category, phase: _, name, pid, tid, ts: _, dur: _, arguments } = *record;
        let Arguments { device, context, stream, correlation, graph, graph_node, .. } = arguments;
        // Before there were arguments, a trace told the device as process and the stream as thread.
        let Some(ordinal) = number::small(device).or_else(|| number::small(pid)) else {
            self.counts.homeless += 1;
            return Ok(());
        };
        if self.devices.len() < DEVICES_MAX {
            self.devices.insert(ordinal);
        }
        self.counts.works += 1;
        let bytes = number::id(arguments.bytes).unwrap_or(0);
        let name = text(name);
        let kind = match category {
            Category::Memcpy => WorkKind::Memcpy { bytes, copy_kind: category::copy_kind(&name) },
            Category::Memset => WorkKind::Memset { bytes },
            _ => WorkKind::Kernel { name: self.order.names.number(&name) },
        };
        let (start, end) = instants(record);
        self.first = self.first.into_iter().chain(start).min();
        self.order.push(&Event::Work(Work {
            process: PROCESS,
            ordinal,
            context: number::id32(context).unwrap_or(0),
            stream: number::id32(stream).or_else(|| number::id32(tid)).unwrap_or(0),
            correlation: Correlation(number::id32(correlation).unwrap_or(0)),
            graph: number::id32(graph).unwrap_or(0),
            graph_node: number::id(graph_node).unwrap_or(0),
            source_node: 0,
            grid_x: grid_x(arguments.grid),
            start: Ns(start.unwrap_or(0)),
            // An end of 0 says that it is not known.
            end: Ns(end.unwrap_or(0)),
            kind,
        }))
    }

    fn call(&mut self, record: &Record<'_>) -> Result<(), SpillError> {
        self.meta.caller(record.pid);
        let call = Call::of(&text(record.name));
        if call == Call::Other {
            return Ok(());
        }
        let Some((enter, exit)) = self.span(record) else {
            return Ok(());
        };
        let thread = number::id32(record.tid).unwrap_or(UNKNOWN_THREAD);
        let (launch, sync) = match call {
            Call::Launch(kind) => (Some(kind), None),
            // It waits for the stream it copies on.
            Call::BlockingCopy => (Some(LaunchKind::Copy), Some(SyncScope::Stream)),
            Call::Sync(scope) => (None, Some(scope)),
            Call::Other => (None, None),
        };
        // Without a correlation id no record can be found to belong to it.
        let correlation = number::id32(record.arguments.correlation).filter(|&id| id != 0);
        if let (Some(kind), Some(correlation)) = (launch, correlation) {
            self.order.push(&Event::Launch(Launch {
                process: PROCESS,
                correlation: Correlation(correlation),
                kind,
                enter,
                exit: Some(exit),
                thread,
                function: 0,
                sampled: None,
            }))?;
        }
        match sync {
            Some(scope) => self.waited(scope, 0, thread, (enter, exit)),
            None => Ok(()),
        }
    }

    fn sync(&mut self, record: &Record<'_>) -> Result<(), SpillError> {
        let kind = match record.arguments.sync_kind {
            [] => record.name,
            kind => kind,
        };
        let Some(scope) = category::sync_scope(&text(kind)) else {
            return Ok(());
        };
        let Some(span) = self.span(record) else {
            return Ok(());
        };
        let context = number::id32(record.arguments.context).unwrap_or(0);
        self.waited(scope, context, UNKNOWN_THREAD, span)
    }

    fn waited(
        &mut self,
        scope: SyncScope,
        context: u32,
        thread: u32,
        (enter, exit): (Ns, Ns),
    ) -> Result<(), SpillError> {
        let process = PROCESS;
        let sync = Sync { process, context, scope, enter, exit, thread, succeeded: true };
        self.order.push(&Event::Sync(sync))
    }

    fn range(&mut self, kind: RangeKind, record: &Record<'_>) -> Result<(), SpillError> {
        let name = text(record.name);
        let shown = match kind {
            RangeKind::Module => match name.strip_prefix(MODULE) {
                Some(module) => module,
                None => return Ok(()),
            },
            RangeKind::Operator | RangeKind::Annotation => &name,
        };
        self.meta.host(record.pid);
        let Some((start, end)) = self.span(record) else {
            return Ok(());
        };
        let label = self.order.labels.number(shown);
        let shapes = if kind == RangeKind::Operator { self.shapes(record) } else { 0 };
        self.order.push(&Event::Range(Range {
            process: PROCESS,
            thread: number::id32(record.tid).unwrap_or(UNKNOWN_THREAD),
            kind,
            start,
            end,
            label,
            shapes,
        }))
    }

    /// Label of the shapes of an operator's inputs; 0 when none has any.
    fn shapes(&mut self, record: &Record<'_>) -> u32 {
        let dims = record.arguments.dims;
        if !dims.iter().any(u8::is_ascii_digit) {
            return 0;
        }
        self.scratch.clear();
        let shown = dims.iter().filter(|byte| byte.is_ascii_graphic());
        self.scratch.extend(shown.take(SHAPES_MAX).map(|&byte| char::from(byte)));
        if self.scratch.len() == SHAPES_MAX {
            self.scratch.push_str("...");
        }
        self.order.labels.number(&self.scratch)
    }

    /// Begin and end of what has both; what has not is counted.
    fn span(&mut self, record: &Record<'_>) -> Option<(Ns, Ns)> {
        match instants(record) {
            (Some(start), Some(end)) if start <= end => Some((Ns(start), Ns(end))),
            _ => {
                self.counts.untimed += 1;
                None
            }
        }
    }
}

fn instants(record: &Record<'_>) -> (Option<u64>, Option<u64>) {
    let start = Picoseconds::from_micros(record.ts);
    let length = Picoseconds::from_micros(record.dur);
    let end = start.zip(length).and_then(|(start, length)| start.plus(length));
    (start.and_then(Picoseconds::nanoseconds), end.and_then(Picoseconds::nanoseconds))
}

/// The text of a string; empty where it is none.
fn text(value: &[u8]) -> Cow<'_, str> {
    unquoted(value).unwrap_or_default()
}

/// The first of `[128, 1, 1]`, at most 65 535; 0 where it is not told.
fn grid_x(grid: &[u8]) -> u16 {
    let first = grid.strip_prefix(b"[").unwrap_or_default();
    let end = first.iter().position(|&byte| matches!(byte, b',' | b']')).unwrap_or(0);
    let x = first.get(..end).map(<[u8]>::trim_ascii).and_then(number::integer);
    u16::try_from(x.unwrap_or(0).clamp(0, i128::from(u16::MAX))).unwrap_or(u16::MAX)
}
