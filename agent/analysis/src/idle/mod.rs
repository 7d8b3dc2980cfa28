//! Why a device was idle, instant by instant.
//!
//! Of an idle gap `[g0, g1)` of a device and an instant t in it:
//! 1. Work that was launched at or before t and starts after t is queued at t. If there is any, the
//!    one of it that starts first decides: it waits from `max(return of its launch, g0)` to its
//!    start, from the launch's entry where only that is recorded. Up to [`LAUNCH_LATENCY_NS`] ([`GRAPH_LATENCY_NS`] for a graph launched within the gap)
//!    that is [`IdleCause::LaunchLatency`], longer waits are [`IdleCause::Dependency`] as a whole.
//! 2. Nothing is queued: the host is late with the launch that comes next. While its thread is in a
//!    synchronisation call that is [`IdleCause::Sync`]; while the thread and the main threads of
//!    the server's engine cores all sleep, [`IdleCause::NoRequests`], unless a core sleeps on until
//!    the launch: then it waited for its worker; else
//!    [`IdleCause::HostBound`], or [`IdleCause::Unknown`] in a stretch longer than
//!    [`IDLE_COMMIT_NS`] of a server whose threads' states nobody told.
//! 3. The work that ends the gap has no known launch: [`IdleCause::Unknown`].
//!
//! Everything launched before the watermark has its record, so what is queued is known when time
//! becomes final. Who launches next may not be: such time is decided [`IDLE_COMMIT_NS`] later, as if
//! the thread that launched last were the next. Where none has launched yet, it is
//! [`IdleCause::NoRequests`] while the main threads of all the device's workers and of their engine
//! cores sleep, else [`IdleCause::Unknown`].
//!
//! [`gap`] keeps the evidence, [`host`] splits the time in which the host was late, [`code`] says in which
//! code it was then.

mod code;
mod gap;
mod host;

use crate::classify::Kind;
use crate::ids::NameId;
use crate::limits::{GRAPH_LATENCY_NS, IDLE_COMMIT_NS, LAUNCH_LATENCY_NS};
use crate::report::{GapLaunch, IdleCause, IdleGap, IdlePart, IdleStack};
use crate::samples::Place;
use crate::session::Session;
use crate::spans::Span;
use crate::timeline::cells::{Cells, Source};
use crate::timeline::device::Pending;
use code::Code;
use gap::{Longest, OpenGap};

/// Stands for "no worker" in an idle cell.
const NOBODY: u16 = u16::MAX;

/// The launch that some idle time is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    pub(crate) worker: u16,
    pub(crate) thread: u32,
    pub(crate) enter: u64,
    pub(crate) correlation: u64,
    pub(crate) is_graph: bool,
    pub(crate) sampled: bool,
}

impl Waited {
    fn of(work: &Pending) -> Self {
        Self {
            worker: work.worker,
            thread: work.thread,
            enter: work.enter,
            correlation: work.correlation,
            is_graph: work.is_graph,
            sampled: work.sampled,
        }
    }
}

/// What a device remembers of its idle time.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// By position in [`IdleCause::ALL`], ns.
    pub(crate) totals: [u64; IdleCause::ALL.len()],
    /// Idle time by worker and cause, shared over the stacks of the launches that were late.
    cells: Cells,
    /// Position in `cells` by worker and cause: a gap has several parts, and gaps are many.
    places: Vec<[Option<u32>; IdleCause::ALL.len()]>,
    longest: Longest,
    /// Host-bound time by what the launching threads did.
    pub(crate) code: Code,
    /// A gap that reached the watermark.
    open: Option<OpenGap>,
    /// What ended last, and when.
    before: Option<(u64, NameId)>,
    /// The launch of the latest work.
    last: Option<Waited>,
    /// Room for the queued parts of a stretch.
    queued: Vec<(Span, IdleCause, Waited)>,
    /// Room for the parts of the next gap.
    spare: Vec<IdlePart>,
    /// Parts decided since they were last taken.
    pub(crate) told: Vec<(Span, IdleCause)>,
}

impl Idle {
    /// Gaps that are over.
    pub(crate) fn count(&self) -> u64 {
        self.longest.count
    }

    /// The longest gaps, longest first.
    pub(crate) fn longest(&self) -> Vec<IdleGap> {
        self.longest.list()
    }

    /// Idle time by cause and stack of the device at `position`; `process` tells a worker's.
    pub(crate) fn stacks(
        &self,
        position: usize,
        process: impl Fn(u16) -> Option<crate::ids::ProcessKey>,
    ) -> Vec<IdleStack> {
        let mut stacks = Vec::new();
        for cell in self.cells.iter().filter(|cell| cell.total > 0) {
            let Some(&cause) = IdleCause::ALL.get(cell.name.0 as usize) else {
                continue;
            };
            let process = process(cell.worker);
            let shares = cell.shares();
            stacks.extend(shares.into_iter().map(|(stack, total)| IdleStack {
                device: position,
                cause,
                process,
                stack,
                total,
            }));
        }
        stacks.sort_unstable_by_key(|idle| (idle.cause, idle.process, idle.stack));
        stacks
    }

    /// The cell of a worker's idle time of one cause.
    fn cell(&mut self, worker: u16, cause: IdleCause) -> u32 {
        // Nobody comes first.
        let row = usize::from(worker.wrapping_add(1));
        if row >= self.places.len() {
            self.places.resize(row + 1, [None; IdleCause::ALL.len()]);
        }
        let cells = &mut self.cells;
        let of = || cells.of(worker, NameId(cause as u32), Kind::Other, Source::default());
        *self.places[row][cause as usize].get_or_insert_with(of)
    }

    /// Samples credit their idle time here.
    pub(crate) fn cells(&mut self) -> &mut Cells {
        &mut self.cells
    }

    /// Idle time up to `done` that has no cause yet, ns.
    pub(crate) fn undecided_ns(&self, done: u64) -> u64 {
        self.open.as_ref().map_or(0, |open| done.saturating_sub(open.decided))
    }

    /// The first instant whose cause is not decided; `done` when all is.
    pub(crate) fn undecided(&self, done: u64) -> u64 {
        self.open.as_ref().map_or(done, |open| open.start)
    }
}

/// Gives the idle time of `[from, done)` of a device its causes. With `last`, nothing is left open.
pub(crate) fn explain(session: &mut Session, index: usize, from: u64, last: bool) {
    let device = &mut session.devices[index];
    let to = device.done;
    let mut spans = std::mem::take(&mut device.empty.idle);
    let continues = spans.first().is_some_and(|span| span.from == from);
    if !continues && device.idle.open.is_some() {
        // The gap ended at the watermark.
        spans.insert(0, Span { from, to: from });
    }
    if !spans.is_empty() {
        let queue = Queue::new(&session.devices[index].pending, spans[0].to);
        let mut ran = Ran::new(session.devices[index].idle.before);
        for &span in &spans {
            one(session, index, &queue, &mut ran, span, to, last);
        }
    }
    let device = &mut session.devices[index];
    device.empty.idle = spans;
    let passed = device.pending.partition_point(|work| work.start < to);
    let mut ran = Ran::new(device.idle.before);
    for work in &device.pending[..passed] {
        ran.take(work.end, device.cells.name(work.cell));
        if work.enter > 0 {
            device.idle.last = Some(Waited::of(work));
        }
    }
    device.idle.before = ran.latest;
}

/// Nothing more will come: what is undecided is explained as if the latest thread were the next.
pub(crate) fn finish(session: &mut Session, index: usize) {
    let done = session.devices[index].done;
    if let Some(open) = session.devices[index].idle.open.take() {
        leave(session, index, open, done);
    }
}

/// The gap is over at `end`, and no launch is known that it waited for.
fn leave(session: &mut Session, index: usize, mut open: OpenGap, end: u64) {
    let late = Span { from: open.decided, to: end };
    if late.from < late.to {
        let who = session.devices[index].idle.last;
        let split = match who {
            Some(_) => host::split(session, index, who, late, None, late.to - open.start),
            None => host::split_before_launches(session, index, late),
        };
        for (span, cause) in split {
            decide(session, index, &mut open, span, cause, who);
        }
    }
    close(session, index, open, late.to);
}

/// Explains one idle stretch.
fn one(
    session: &mut Session,
    index: usize,
    queue: &Queue,
    ran: &mut Ran,
    span: Span,
    to: u64,
    last: bool,
) {
    let device = &mut session.devices[index];
    let mut open = device.idle.open.take().unwrap_or_else(|| {
        while let Some(work) = device.pending.get(ran.next).filter(|w| w.start < span.from) {
            ran.take(work.end, device.cells.name(work.cell));
            ran.next += 1;
        }
        let before = ran.latest.filter(|&(end, _)| end == span.from).map(|(_, name)| name);
        OpenGap::new(span.from, before, std::mem::take(&mut device.idle.spare))
    });
    let next = device.pending.partition_point(|work| work.start < span.to);
    let ended_by = device.pending.get(next).copied();
    let launch_unknown = ended_by.is_some_and(|work| work.enter == 0);
    let mut parts = std::mem::take(&mut device.idle.queued);
    let mut late = Span { from: open.decided, to: span.to };
    let mut waited = None;
    for work in queue.decreasing(&device.pending, span.to) {
        let queued = late.from.max(work.enter);
        if queued < late.to {
            let span = Span { from: queued, to: late.to };
            parts.push((span, queued_cause(work, open.start), Waited::of(work)));
            late.to = queued;
        }
        waited = Some(Waited::of(work));
        if late.from >= late.to {
            break;
        }
    }
    parts.reverse();
    let over = span.to < to || ended_by.is_some_and(|work| work.start == span.to) || last;
    // At the watermark a launch may be on its way whose record has not come.
    let known = over || !parts.is_empty();
    if late.from < late.to {
        let (until, who) = if launch_unknown && known {
            (late.to, None)
        } else if known {
            (late.to, waited.or(device.idle.last))
        } else {
            (late.to.saturating_sub(IDLE_COMMIT_NS), device.idle.last)
        };
        let late = Span { from: late.from, to: until.max(late.from) };
        if late.from < late.to {
            // How long the host takes, as far as that is known.
            let reach = waited.map_or(if known { late.to } else { span.to }, |w| w.enter);
            let age = reach.max(late.to).saturating_sub(open.start);
            let split = if who.is_none() && !(launch_unknown && known) {
                host::split_before_launches(session, index, late)
            } else {
                let launched = waited.filter(|_| known).map(|waited| waited.enter);
                host::split(session, index, who, late, launched, age)
            };
            for (span, cause) in split {
                decide(session, index, &mut open, span, cause, who);
            }
            open.waited = who.or(open.waited);
        }
    }
    for (span, cause, who) in parts.drain(..) {
        decide(session, index, &mut open, span, cause, Some(who));
    }
    session.devices[index].idle.queued = parts;
    if over {
        close(session, index, open, span.to);
    } else {
        session.devices[index].idle.open = Some(open);
    }
}

fn queued_cause(work: &Pending, gap_start: u64) -> IdleCause {
    let bound =
        if work.is_graph && work.enter >= gap_start { GRAPH_LATENCY_NS } else { LAUNCH_LATENCY_NS };
    if work.start.saturating_sub(work.returned.max(gap_start)) <= bound {
        IdleCause::LaunchLatency
    } else {
        IdleCause::Dependency
    }
}

fn decide(
    session: &mut Session,
    index: usize,
    open: &mut OpenGap,
    span: Span,
    cause: IdleCause,
    who: Option<Waited>,
) {
    let ns = span.to.saturating_sub(span.from);
    let telling = session.slices.is_some();
    let device = &mut session.devices[index];
    open.part(span.to, cause);
    device.idle.totals[cause as usize] += ns;
    if telling {
        device.idle.told.push((span, cause));
    }
    let worker = who.map_or(NOBODY, |who| who.worker);
    let cell = device.idle.cell(worker, cause);
    device.idle.cells.add(cell, ns, true);
    let process = device.workers.get(usize::from(worker)).map(|worker| worker.process);
    if let (IdleCause::HostBound, Some(who), Some(process)) = (cause, who, process) {
        let process = &session.processes[process];
        let tid = process.threads.tid(who.thread, process.info.pid);
        let spent = process.whereabouts.spent(tid, span);
        open.code.add(ns, &spent);
        device.idle.code.add(worker, ns, &spent);
    }
    if let (Some(who), Some(process)) = (who.filter(|who| who.sampled), process) {
        let place = Place { device: index, cell, idle: true };
        let samples = &mut session.processes[process].samples;
        let attributed = samples.spent(who.correlation, place, ns);
        crate::intake::credit(&mut session.devices, attributed.as_slice());
    }
}

/// The gap is over at `end`.
fn close(session: &mut Session, index: usize, open: OpenGap, end: u64) {
    let device = &mut session.devices[index];
    if !device.idle.longest.wants(end.saturating_sub(open.start)) {
        device.idle.spare = open.into_parts();
        return;
    }
    let device = &session.devices[index];
    let next = device.pending.partition_point(|work| work.start < end);
    let ended_by = device.pending.get(next).filter(|work| work.start == end);
    let after = ended_by.map(|work| device.cells.name(work.cell));
    let waited = open.waited.or(ended_by.filter(|work| work.enter > 0).map(Waited::of));
    let process = waited
        .and_then(|waited| device.workers.get(usize::from(waited.worker)))
        .and_then(|worker| session.processes.get(worker.process));
    let (mut launch, mut sync, mut stack) = (None, None, None);
    if let (Some(waited), Some(process)) = (waited, process) {
        let Waited { thread, enter, is_graph, .. } = waited;
        let enter = crate::ids::Ns(enter);
        launch = Some(GapLaunch { process: process.key, thread, enter, graph: is_graph });
        sync = process.threads.sync_at(thread, open.start);
        stack = process.samples.stack_of(waited.correlation).filter(|_| waited.sampled);
    }
    let gap = open.finish(end, after, launch, sync, stack);
    session.devices[index].idle.longest.add(gap);
}

/// The latest end so far.
struct Ran {
    latest: Option<(u64, NameId)>,
    next: usize,
}

impl Ran {
    const fn new(latest: Option<(u64, NameId)>) -> Self {
        Self { latest, next: 0 }
    }

    fn take(&mut self, end: u64, name: NameId) {
        if self.latest.is_none_or(|(latest, _)| end >= latest) {
            self.latest = Some((end, name));
        }
    }
}

/// Pending work with a known launch by start, each with the next one that was launched earlier.
struct Queue {
    /// Position in pending, and in this list of the next one with an earlier launch.
    list: Vec<(usize, usize)>,
}

impl Queue {
    /// Of the work that starts at or after `from`.
    fn new(pending: &[Pending], from: u64) -> Self {
        let first = pending.partition_point(|work| work.start < from);
        let known = (first..pending.len()).filter(|&at| pending[at].enter > 0);
        let mut list: Vec<(usize, usize)> = known.map(|at| (at, usize::MAX)).collect();
        for here in (0..list.len()).rev() {
            let enter = pending[list[here].0].enter;
            let mut next = here + 1;
            while let Some(&(at, after)) = list.get(next) {
                if pending[at].enter < enter {
                    break;
                }
                next = after;
            }
            list[here].1 = next;
        }
        Self { list }
    }

    /// Work that starts at or after `from`, by start, each launched before all of those in front.
    fn decreasing<'a>(
        &'a self,
        pending: &'a [Pending],
        from: u64,
    ) -> impl Iterator<Item = &'a Pending> {
        let mut here = self.list.partition_point(move |&(at, _)| pending[at].start < from);
        std::iter::from_fn(move || {
            let &(at, next) = self.list.get(here)?;
            here = next;
            Some(&pending[at])
        })
    }
}
