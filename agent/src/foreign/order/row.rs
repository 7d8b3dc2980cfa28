//! An event as 64 bytes, and back. Both directions stand beside each other so that a field added to
//! an event breaks the build here.

use analysis::event::{
    Blocked, Event, GraphChange, GraphEvent, Launch, LaunchKind, Range, RangeKind, Sampled, Sync,
    SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, Ns, ProcessKey, StackId, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a row is. The order is the order at one instant.
mod tag {
    pub(super) const GRAPH: u8 = 0;
    pub(super) const CAPTURE_STACK: u8 = 1;
    pub(super) const RANGE: u8 = 2;
    pub(super) const LAUNCH: u8 = 3;
    pub(super) const LAUNCH_FAILED: u8 = 4;
    pub(super) const LAUNCH_STACK: u8 = 5;
    pub(super) const SYNC: u8 = 6;
    pub(super) const BLOCKED: u8 = 7;
    pub(super) const KERNEL: u8 = 8;
    pub(super) const MEMCPY: u8 = 9;
    pub(super) const MEMSET: u8 = 10;
    pub(super) const SAMPLED: u8 = 11;
}

/// Set in `extra`: the call returned (launch), or returned success (synchronisation).
const YES: u8 = 0x80;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Row {
    time: u64,
    end: u64,
    /// Kernel name, bytes, function, stack, signature, or label and shapes.
    payload: u64,
    /// Graph node; of a launch: weight of its sample and one.
    node: u64,
    source: u64,
    context: u32,
    /// Stream or thread.
    stream: u32,
    correlation: u32,
    graph: u32,
    process: u16,
    ordinal: u16,
    grid: u16,
    tag: u8,
    extra: u8,
}

const _: () = assert!(size_of::<Row>() == 64, "one cache line");

/// The time an event carries itself.
pub(super) fn time(event: &Event) -> Option<Ns> {
    match event {
        Event::Work(work) => Some(work.start),
        Event::Launch(launch) => Some(launch.enter),
        Event::Sync(sync) => Some(sync.enter),
        Event::Blocked(blocked) => Some(blocked.from),
        Event::Sampled(sampled) => Some(sampled.at),
        Event::Range(range) => Some(range.start),
        Event::Graph(graph) => Some(graph.at),
        Event::Device { .. }
        | Event::Process { .. }
        | Event::Ordinal { .. }
        | Event::Unopened { .. }
        | Event::Attached { .. }
        | Event::Name { .. }
        | Event::Label { .. }
        | Event::Thread { .. }
        | Event::LaunchFailed { .. }
        | Event::CaptureStack { .. }
        | Event::SleepStack { .. }
        | Event::LaunchStack { .. }
        | Event::Memory(_)
        | Event::Mark(_)
        | Event::Ended { .. } => None,
    }
}

impl Row {
    /// `None`: an introduction, which has no place in time, or a process beyond the 65 536 that a
    /// pipeline knows.
    pub(super) fn of(time: Ns, event: &Event) -> Option<Self> {
        let base = |process: ProcessKey, tag: u8| {
            let process = u16::try_from(process.0).ok()?;
            Some(Self { time: time.0, process, tag, ..Self::default() })
        };
        Some(match *event {
            Event::Work(work) => {
                let Work { process, ordinal, context, stream, correlation, .. } = work;
                let (tag, payload, extra) = match work.kind {
                    WorkKind::Kernel { name } => (tag::KERNEL, u64::from(name), 0),
                    WorkKind::Memcpy { bytes, copy_kind } => (tag::MEMCPY, bytes, copy_kind),
                    WorkKind::Memset { bytes } => (tag::MEMSET, bytes, 0),
                };
                Self {
                    time: work.start.0,
                    end: work.end.0,
                    payload,
                    node: work.graph_node,
                    source: work.source_node,
                    context,
                    stream,
                    correlation: correlation.0,
                    graph: work.graph,
                    // A session knows 64; a larger one is refused there and counted.
                    ordinal: u16::try_from(ordinal).unwrap_or(u16::MAX),
                    grid: work.grid_x,
                    extra,
                    ..base(process, tag)?
                }
            }
            Event::Launch(launch) => {
                let Launch { process, correlation, kind, enter, exit, thread, function, sampled } =
                    launch;
                let kind = match kind {
                    LaunchKind::Kernel => 0,
                    LaunchKind::Graph => 1,
                    LaunchKind::Copy => 2,
                };
                Self {
                    time: enter.0,
                    end: exit.map_or(0, |exit| exit.0),
                    payload: function,
                    node: sampled.map_or(0, |weight| u64::from(weight) + 1),
                    stream: thread,
                    correlation: correlation.0,
                    extra: kind | if exit.is_some() { YES } else { 0 },
                    ..base(process, tag::LAUNCH)?
                }
            }
            Event::LaunchFailed { process, correlation, captured } => Self {
                correlation: correlation.0,
                extra: u8::from(captured),
                ..base(process, tag::LAUNCH_FAILED)?
            },
            Event::LaunchStack { process, correlation, stack } => Self {
                correlation: correlation.0,
                payload: u64::from(stack.0),
                ..base(process, tag::LAUNCH_STACK)?
            },
            Event::CaptureStack { process, entry, stack } => Self {
                correlation: entry,
                payload: u64::from(stack.0),
                ..base(process, tag::CAPTURE_STACK)?
            },
            Event::Sync(sync) => {
                let Sync { process, context, scope, enter, exit, thread, succeeded } = sync;
                let scope = match scope {
                    SyncScope::Context => 0,
                    SyncScope::Stream => 1,
                    SyncScope::Event => 2,
                };
                Self {
                    time: enter.0,
                    end: exit.0,
                    context,
                    stream: thread,
                    extra: scope | if succeeded { YES } else { 0 },
                    ..base(process, tag::SYNC)?
                }
            }
            Event::Blocked(Blocked { process, tid, from, to, signature }) => Self {
                time: from.0,
                end: to.0,
                payload: signature,
                stream: tid.0,
                ..base(process, tag::BLOCKED)?
            },
            Event::Sampled(Sampled { process, tid, at, stack }) => Self {
                time: at.0,
                payload: u64::from(stack.0),
                stream: tid.0,
                ..base(process, tag::SAMPLED)?
            },
            Event::Range(range) => {
                let Range { process, thread, kind, start, end, label, shapes } = range;
                let kind = RangeKind::ALL.iter().position(|&known| known == kind)?;
                Self {
                    time: start.0,
                    end: end.0,
                    payload: u64::from(label) << 32 | u64::from(shapes),
                    stream: thread,
                    extra: u8::try_from(kind).ok()?,
                    ..base(process, tag::RANGE)?
                }
            }
            Event::Graph(GraphEvent { process, entry, at, change }) => {
                let (extra, node, graph, source, payload) = match change {
                    GraphChange::NodeCreated { node, graph } => (0, node, graph, 0, 0),
                    GraphChange::NodeCloned { node, graph, original_node, original_graph } => {
                        (1, node, graph, original_node, original_graph)
                    }
                    GraphChange::NodeDestroyed { node, graph } => (2, node, graph, 0, 0),
                    GraphChange::GraphDestroyed { graph } => (3, 0, graph, 0, 0),
                    GraphChange::ExecCreated { exec, graph } => (4, 0, graph, 0, exec),
                    GraphChange::ExecDestroyed { exec } => (5, 0, 0, 0, exec),
                    GraphChange::ExecUpdated { exec, graph } => (6, 0, graph, 0, exec),
                };
                Self {
                    time: at.0,
                    payload: u64::from(payload),
                    node,
                    source,
                    correlation: entry,
                    graph,
                    extra,
                    ..base(process, tag::GRAPH)?
                }
            }
            Event::Device { .. }
            | Event::Process { .. }
            | Event::Ordinal { .. }
            | Event::Unopened { .. }
            | Event::Attached { .. }
            | Event::Name { .. }
            | Event::Label { .. }
            | Event::Thread { .. }
            | Event::SleepStack { .. }
            | Event::Memory(_)
            | Event::Mark(_)
            | Event::Ended { .. } => return None,
        })
    }

    /// What rows are sorted by; equal ones stay as they came.
    pub(super) fn key(&self) -> (u64, u8, u64) {
        // Ranges of a thread nest: of those that start together the longest is the outermost.
        let inner = if self.tag == tag::RANGE { u64::MAX - self.end } else { 0 };
        (self.time, self.tag.min(tag::KERNEL), inner)
    }

    pub(super) fn time(&self) -> Ns {
        Ns(self.time)
    }

    pub(super) fn process(&self) -> ProcessKey {
        ProcessKey(u32::from(self.process))
    }

    /// The kernel name id the event uses.
    pub(super) fn name(&self) -> Option<u32> {
        (self.tag == tag::KERNEL).then(|| low(self.payload)).filter(|&id| id != 0)
    }

    /// The label ids the event uses.
    pub(super) fn labels(&self) -> [Option<u32>; 2] {
        if self.tag != tag::RANGE {
            return [None; 2];
        }
        [low(self.payload >> 32), low(self.payload)].map(|id| Some(id).filter(|&id| id != 0))
    }

    /// The event again; `None` for bytes that [`Row::of`] never makes.
    pub(super) fn event(&self) -> Option<Event> {
        let process = self.process();
        let correlation = Correlation(self.correlation);
        let (start, end) = (Ns(self.time), Ns(self.end));
        Some(match self.tag {
            tag::KERNEL | tag::MEMCPY | tag::MEMSET => Event::Work(Work {
                process,
                ordinal: u32::from(self.ordinal),
                context: self.context,
                stream: self.stream,
                correlation,
                graph: self.graph,
                graph_node: self.node,
                source_node: self.source,
                grid_x: self.grid,
                start,
                end,
                kind: match self.tag {
                    tag::KERNEL => WorkKind::Kernel { name: low(self.payload) },
                    tag::MEMCPY => WorkKind::Memcpy { bytes: self.payload, copy_kind: self.extra },
                    _ => WorkKind::Memset { bytes: self.payload },
                },
            }),
            tag::LAUNCH => Event::Launch(Launch {
                process,
                correlation,
                kind: match self.extra & !YES {
                    0 => LaunchKind::Kernel,
                    1 => LaunchKind::Graph,
                    2 => LaunchKind::Copy,
                    _ => return None,
                },
                enter: start,
                exit: (self.extra & YES != 0).then_some(end),
                thread: self.stream,
                function: self.payload,
                sampled: self.node.checked_sub(1).map(low),
            }),
            tag::LAUNCH_FAILED => {
                Event::LaunchFailed { process, correlation, captured: self.extra != 0 }
            }
            tag::LAUNCH_STACK => {
                Event::LaunchStack { process, correlation, stack: StackId(low(self.payload)) }
            }
            tag::CAPTURE_STACK => {
                let stack = StackId(low(self.payload));
                Event::CaptureStack { process, entry: self.correlation, stack }
            }
            tag::SYNC => Event::Sync(Sync {
                process,
                context: self.context,
                scope: match self.extra & !YES {
                    0 => SyncScope::Context,
                    1 => SyncScope::Stream,
                    2 => SyncScope::Event,
                    _ => return None,
                },
                enter: start,
                exit: end,
                thread: self.stream,
                succeeded: self.extra & YES != 0,
            }),
            tag::BLOCKED => Event::Blocked(Blocked {
                process,
                tid: Thread(self.stream),
                from: start,
                to: end,
                signature: self.payload,
            }),
            tag::SAMPLED => Event::Sampled(Sampled {
                process,
                tid: Thread(self.stream),
                at: start,
                stack: StackId(low(self.payload)),
            }),
            tag::RANGE => Event::Range(Range {
                process,
                thread: self.stream,
                kind: *RangeKind::ALL.get(usize::from(self.extra))?,
                start,
                end,
                label: low(self.payload >> 32),
                shapes: low(self.payload),
            }),
            tag::GRAPH => {
                let (node, graph) = (self.node, self.graph);
                let change = match self.extra {
                    0 => GraphChange::NodeCreated { node, graph },
                    1 => GraphChange::NodeCloned {
                        node,
                        graph,
                        original_node: self.source,
                        original_graph: low(self.payload),
                    },
                    2 => GraphChange::NodeDestroyed { node, graph },
                    3 => GraphChange::GraphDestroyed { graph },
                    4 => GraphChange::ExecCreated { exec: low(self.payload), graph },
                    5 => GraphChange::ExecDestroyed { exec: low(self.payload) },
                    6 => GraphChange::ExecUpdated { exec: low(self.payload), graph },
                    _ => return None,
                };
                Event::Graph(GraphEvent { process, entry: self.correlation, at: start, change })
            }
            _ => return None,
        })
    }
}

/// The low half, which is where 32-bit values were put.
fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
