//! From pieces of a timeline to events on tracks.
//!
//! Pieces should come in batches of a second or more: those of one track must come by start, and
//! the names of a stack come a little later than the stack.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use analysis::ids::{DeviceKey, Ns, ProcessKey};
use analysis::report::{CaptureSite, IdleCause, StepPhase, UnobservedReason};
use analysis::slice::{LaunchSlice, Slice, WorkSlice};

use super::callstacks::Callstacks;
use super::directory::Directory;
use super::interned::{Interned, Key};
use super::packets::Packets;
use super::proto::{self, DebugAnnotation, PerfSample, TracePacket, TrackEvent};
use super::tracks::{Place, Tracks};
use crate::output::{rows, words};
use crate::pipeline::{CpuSample, Pieces};

/// Pieces drawn in one file: 80 s of launches and kernels at 25 000 a second each, about as much
/// as a browser's 4 GB of memory take. The figure is in docs/report.md.
const PIECES_MAX: u64 = 4_000_000;

/// CPU samples kept until the end: 99 a second on 100 processors for 100 s; 32 MB.
const SAMPLES_MAX: usize = 1 << 20;

/// A piece becomes final at most this long after others of its time, ns: launches hold the
/// watermark of their device for 5 s.
const LATEST_NS: u64 = 6_000_000_000;

/// Launches remembered for their work's arrow to begin at, twice over: 5 s at 25 000 a second, as
/// long as a launch holds the watermark; 6 MB.
const LAUNCHES: usize = 1 << 17;

/// Which part of the timeline is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, ns after the timeline's first piece.
    pub from: u64,
    /// ns; `None`: to the end.
    pub length: Option<u64>,
    /// How much at most.
    pub pieces: u64,
}

impl Default for Extent {
    fn default() -> Self {
        Self { from: 0, length: None, pieces: PIECES_MAX }
    }
}

/// Idle or unobserved time that may go on in the next piece.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: u64,
    end: u64,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Idle(IdleCause),
    Unobserved(UnobservedReason),
}

/// Launches that were drawn, the latest of them.
#[derive(Debug, Default)]
struct Launched {
    latest: HashSet<u64>,
    before: HashSet<u64>,
}

impl Launched {
    fn add(&mut self, flow: u64) {
        if self.latest.len() >= LAUNCHES {
            self.before = std::mem::take(&mut self.latest);
        }
        self.latest.insert(flow);
    }

    fn has(&self, flow: u64) -> bool {
        self.latest.contains(&flow) || self.before.contains(&flow)
    }
}

/// A trace in the making.
#[derive(Debug)]
pub struct Trace<W: Write> {
    /// The file's, for notes.
    name: String,
    packets: Packets<W>,
    interned: Interned,
    callstacks: Callstacks,
    tracks: Tracks,
    extent: Extent,
    /// Where the timeline begins.
    origin: Option<u64>,
    /// Nothing that starts here or later is drawn.
    cut: Option<u64>,
    /// Where the last piece seen, drawn or not, ends.
    seen: u64,
    drawn: u64,
    /// More was there than fits.
    overflowed: bool,
    /// By device: idle first, unobserved second.
    open: HashMap<(DeviceKey, bool), Open>,
    launched: Launched,
    samples: Vec<CpuSample>,
    samples_refused: u64,
}

impl<W: Write> Trace<W> {
    /// `name`: the file's.
    pub fn new(out: W, name: &str, extent: Extent) -> Self {
        Self {
            name: name.to_owned(),
            packets: Packets::new(out),
            interned: Interned::default(),
            callstacks: Callstacks::default(),
            tracks: Tracks::default(),
            extent,
            origin: None,
            cut: None,
            seen: 0,
            drawn: 0,
            overflowed: false,
            open: HashMap::new(),
            launched: Launched::default(),
            samples: Vec::new(),
            samples_refused: 0,
        }
    }

    /// Draws what became known.
    pub fn add(&mut self, pieces: Pieces, who: &impl Directory) {
        let Pieces { slices, samples } = pieces;
        for sample in samples {
            if self.samples.len() < SAMPLES_MAX {
                self.samples.push(sample);
            } else {
                self.samples_refused += 1;
            }
        }
        // Slices of a track must come by start, those without length first.
        let mut order: Vec<((u64, u64), usize)> =
            slices.iter().enumerate().map(|(place, slice)| (span(slice), place)).collect();
        order.sort_unstable();
        for slice in order.iter().filter_map(|&(_, place)| slices.get(place)) {
            self.slice(slice, who);
        }
    }

    /// Nothing that comes can be drawn: it lies behind the part asked for, or behind what fits.
    pub fn is_full(&self) -> bool {
        self.cut.is_some_and(|cut| self.seen > cut.saturating_add(LATEST_NS))
    }

    /// Draws the rest. Comes with what the reader has to know: what the file leaves out.
    pub fn finish(mut self, who: &impl Directory) -> io::Result<(W, Vec<String>)> {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by_key(|(key, open)| (open.start, *key));
        for ((device, _), open) in open {
            self.gap(device, open, who);
        }
        self.begin(0, who);
        let mut samples = std::mem::take(&mut self.samples);
        samples.sort_by_key(|sample| sample.at);
        let (from, cut) = (self.from(), self.cut.unwrap_or(u64::MAX));
        for sample in samples.iter().filter(|sample| (from..cut).contains(&sample.at.0)) {
            self.sample(sample, who);
        }
        let notes = self.notes();
        Ok((self.packets.finish()?, notes))
    }

    /// Slices drawn so far.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let name = &self.name;
        let origin = self.origin.unwrap_or(0);
        if let Some(cut) = self.cut.filter(|_| self.overflowed) {
            notes.push(format!(
                "{name} ends {} into the timeline, with {} pieces: a viewer does not take more; \
                 `warplens analyze RECORDING -o DIR --trace-from TIME` draws a later part",
                words::duration(cut.saturating_sub(origin)),
                words::grouped(self.drawn),
            ));
        }
        if self.extent.from > 0 || self.extent.length.is_some() {
            let until = self.cut.map_or(self.seen, |cut| cut.min(self.seen));
            notes.push(format!(
                "{name} shows the part from {} to {} of the timeline, as asked for",
                words::duration(self.extent.from),
                words::duration(until.saturating_sub(origin)),
            ));
        }
        for (count, text) in [
            (self.tracks.refused(), "pieces are not in it: the table of tracks was full"),
            (
                self.samples_refused,
                "CPU samples are not in it: the table of those that wait for names was full",
            ),
        ] {
            if count > 0 {
                notes.push(format!("{name}: {} {text}", words::grouped(count)));
            }
        }
        notes
    }

    /// Nothing that ends before is drawn. A piece may lie before the first one that was told.
    fn from(&self) -> u64 {
        if self.extent.from == 0 {
            return 0;
        }
        self.origin.unwrap_or(0).saturating_add(self.extent.from)
    }

    fn slice(&mut self, slice: &Slice, who: &impl Directory) {
        let (start, end) = span(slice);
        if self.origin.is_none() {
            self.begin(start, who);
        }
        self.seen = self.seen.max(end);
        if end < self.from() || end == self.from() && start < end {
            return;
        }
        if self.drawn >= self.extent.pieces && !self.overflowed {
            self.overflowed = true;
            self.cut = Some(self.cut.map_or(start, |cut| cut.min(start)));
        }
        if self.cut.is_some_and(|cut| start >= cut) {
            return;
        }
        match *slice {
            Slice::Work(ref work) => self.work(work, who),
            Slice::Launch(ref launch) => self.launch(launch, who),
            Slice::Idle { device, cause, .. } => {
                self.extend(device, Open { start, end, why: Why::Idle(cause) }, who);
            }
            Slice::Unobserved { device, reason, .. } => {
                self.extend(device, Open { start, end, why: Why::Unobserved(reason) }, who);
            }
            Slice::Step { process, phase, batch, .. } => {
                self.step(process, (start, end), phase, batch, who);
            }
        }
    }

    /// The first packet: the clock, what holds for all packets, and whether this is simulated.
    fn begin(&mut self, origin: u64, who: &impl Directory) {
        if self.origin.is_some() {
            return;
        }
        self.origin = Some(origin);
        let from = origin.saturating_add(self.extent.from);
        self.cut = self.extent.length.map(|length| from.saturating_add(length));
        let info = who.info();
        let hz = u64::from(info.cpu_hz);
        let timebase = proto::Timebase {
            frequency: (hz > 0).then_some(hz),
            name: Some("cpu-clock".to_owned()),
        };
        let clock =
            proto::Clock { clock_id: Some(proto::CLOCK_MONOTONIC), timestamp: Some(origin) };
        self.packets.push(TracePacket {
            sequence_flags: Some(proto::INCREMENTAL_STATE_CLEARED),
            first_packet_on_sequence: Some(true),
            trace_packet_defaults: Some(proto::TracePacketDefaults {
                timestamp_clock_id: Some(proto::CLOCK_MONOTONIC),
                perf_sample_defaults: Some(proto::PerfSampleDefaults { timebase: Some(timebase) }),
            }),
            clock_snapshot: Some(proto::ClockSnapshot {
                clocks: vec![clock],
                primary_trace_clock: Some(proto::CLOCK_MONOTONIC),
            }),
            ..TracePacket::default()
        });
        let attribute = |key: &str, value: String| proto::TraceAttribute {
            key: Some(key.to_owned()),
            string_value: Some(value),
        };
        let attribute = vec![
            attribute("warplens", env!("CARGO_PKG_VERSION").to_owned()),
            attribute("simulated", info.simulated.to_string()),
            attribute("source", info.source.clone()),
        ];
        let trace_attributes = Some(proto::TraceAttributes { attribute });
        self.packets.push(TracePacket { trace_attributes, ..TracePacket::default() });
    }

    fn work(&mut self, work: &WorkSlice, who: &impl Directory) {
        let &WorkSlice {
            device,
            process,
            context,
            stream,
            name,
            kind,
            graph,
            capture,
            correlation,
            start,
            end,
        } = work;
        let place = Place::Stream { device, process, context, stream };
        let (start, end) = (start.0, end.0.max(start.0));
        let track = self.tracks.slice(place, (start, end), &mut self.packets, who);
        let Some(track) = track else {
            return;
        };
        let iids = self.interned.kind(kind);
        let mut debug_annotations = Vec::with_capacity(4);
        debug_annotations.push(text(Key::Kind, iids.text));
        if correlation != 0 {
            debug_annotations.push(number(Key::Correlation, correlation));
        }
        if graph != 0 {
            debug_annotations.push(number(Key::Graph, u64::from(graph)));
        }
        let mut callstack_iid = None;
        if let CaptureSite::Stack(stack) = capture
            && let Some(site) = self.callstacks.site(stack, &mut self.interned, who)
        {
            callstack_iid = Some(site.callstack);
            debug_annotations.push(text(Key::Captured, site.line));
        }
        if let Some(why) = rows::without_capture(capture) {
            debug_annotations.push(text(Key::Captured, self.interned.text(why)));
        }
        let event = TrackEvent {
            category_iids: Some(iids.category),
            name_iid: Some(self.interned.kernel(name, who)),
            correlation_id_str_iid: Some(iids.colour),
            // Without its launch in the file an arrow would begin nowhere.
            flow_ids: flow(process, correlation).filter(|&flow| self.launched.has(flow)),
            debug_annotations,
            callstack_iid,
            ..TrackEvent::default()
        };
        self.span(track, (start, end), event);
    }

    fn launch(&mut self, launch: &LaunchSlice, who: &impl Directory) {
        let &LaunchSlice { process, thread, correlation, enter, exit, graph, stack } = launch;
        let place = match who.thread(process, thread) {
            Some(tid) => Place::Thread(process, tid.0),
            None => Place::Launcher(process, thread),
        };
        let exit = exit.map(|exit| exit.0.max(enter.0));
        let packets = &mut self.packets;
        let track = match exit {
            Some(exit) => self.tracks.slice(place, (enter.0, exit), packets, who),
            None => self.tracks.point(place, packets, who),
        };
        let Some(track) = track else {
            return;
        };
        let site = stack.and_then(|stack| self.callstacks.site(stack, &mut self.interned, who));
        let mut debug_annotations = vec![number(Key::Correlation, correlation)];
        debug_annotations.extend(site.map(|site| text(Key::Launched, site.line)));
        let flow_ids = flow(process, correlation);
        if let Some(flow) = flow_ids {
            self.launched.add(flow);
        }
        let name = if graph { "graph launch" } else { "launch" };
        let event = TrackEvent {
            category_iids: Some(self.interned.category("launch")),
            name_iid: Some(self.interned.name(name)),
            flow_ids,
            debug_annotations,
            callstack_iid: site.map(|site| site.callstack),
            ..TrackEvent::default()
        };
        match exit {
            Some(exit) => self.span(track, (enter.0, exit), event),
            None => self.instant(track, enter.0, event),
        }
    }

    /// Joins pieces of one gap that have the same cause.
    fn extend(&mut self, device: DeviceKey, piece: Open, who: &impl Directory) {
        let key = (device, matches!(piece.why, Why::Unobserved(_)));
        if let Some(open) = self.open.get_mut(&key) {
            if open.end == piece.start && open.why == piece.why {
                open.end = piece.end;
                return;
            }
            let done = std::mem::replace(open, piece);
            self.gap(device, done, who);
        } else {
            self.open.insert(key, piece);
        }
    }

    fn gap(&mut self, device: DeviceKey, gap: Open, who: &impl Directory) {
        let Open { start, end, why } = gap;
        let (place, category, key, name) = match why {
            Why::Idle(cause) => (Place::Idle(device), "idle", Key::Cause, words::idle_cause(cause)),
            Why::Unobserved(reason) => (
                Place::Unobserved(device),
                "unobserved",
                Key::Reason,
                words::unobserved_reason(reason),
            ),
        };
        let track = self.tracks.slice(place, (start, end), &mut self.packets, who);
        let Some(track) = track else {
            return;
        };
        let event = TrackEvent {
            category_iids: Some(self.interned.category(category)),
            name_iid: Some(self.interned.name(name)),
            correlation_id_str_iid: Some(self.interned.colour(name)),
            debug_annotations: vec![text(key, self.interned.text(name))],
            ..TrackEvent::default()
        };
        self.span(track, (start, end), event);
    }

    fn step(
        &mut self,
        process: ProcessKey,
        (start, end): (u64, u64),
        phase: StepPhase,
        batch: Option<u32>,
        who: &impl Directory,
    ) {
        let place = Place::Steps(process);
        let track = self.tracks.slice(place, (start, end), &mut self.packets, who);
        let Some(track) = track else {
            return;
        };
        let name = phase.as_str();
        let batch = batch.map(|batch| number(Key::Batch, u64::from(batch)));
        let event = TrackEvent {
            category_iids: Some(self.interned.category("step")),
            name_iid: Some(self.interned.name(name)),
            correlation_id_str_iid: Some(self.interned.colour(name)),
            debug_annotations: batch.into_iter().collect(),
            ..TrackEvent::default()
        };
        self.span(track, (start, end), event);
    }

    fn sample(&mut self, sample: &CpuSample, who: &impl Directory) {
        let &CpuSample { process, tid, cpu, at, stack } = sample;
        let Some(info) = who.process(process) else {
            return;
        };
        // Gives the process its name, whether or not it launched.
        if self.tracks.point(Place::Process(process), &mut self.packets, who).is_none() {
            return;
        }
        let Some(site) = self.callstacks.site(stack, &mut self.interned, who) else {
            return;
        };
        let sample = PerfSample {
            cpu: Some(cpu),
            pid: Some(info.pid),
            tid: Some(tid.0),
            callstack_iid: Some(site.callstack),
            cpu_mode: Some(proto::MODE_USER),
        };
        let interned_data = self.interned.take_fresh();
        self.packets.push_event(TracePacket {
            timestamp: Some(at.0),
            interned_data,
            perf_sample: Some(sample),
            ..TracePacket::default()
        });
    }

    fn span(&mut self, track: u64, (start, end): (u64, u64), event: TrackEvent) {
        self.drawn += 1;
        self.event(start, TrackEvent { r#type: Some(proto::SLICE_BEGIN), ..event }, track);
        let closing = TrackEvent { r#type: Some(proto::SLICE_END), ..TrackEvent::default() };
        self.event(end, closing, track);
    }

    fn instant(&mut self, track: u64, at: u64, event: TrackEvent) {
        self.drawn += 1;
        self.event(at, TrackEvent { r#type: Some(proto::INSTANT), ..event }, track);
    }

    fn event(&mut self, at: u64, event: TrackEvent, track: u64) {
        let interned_data = self.interned.take_fresh();
        self.packets.push_event(TracePacket {
            timestamp: Some(at),
            interned_data,
            track_event: Some(TrackEvent { track_uuid: Some(track), ..event }),
            ..TracePacket::default()
        });
    }
}

/// Start and end; a piece that ends before it starts has no length.
fn span(slice: &Slice) -> (u64, u64) {
    let (start, end): (Ns, Ns) = match slice {
        Slice::Work(work) => (work.start, work.end),
        Slice::Launch(launch) => (launch.enter, launch.exit.unwrap_or(launch.enter)),
        Slice::Idle { start, end, .. }
        | Slice::Unobserved { start, end, .. }
        | Slice::Step { start, end, .. } => (*start, *end),
    };
    (start.0, end.0.max(start.0))
}

fn text(key: Key, value: u64) -> DebugAnnotation {
    DebugAnnotation { name_iid: Some(key.iid()), uint_value: None, string_value_iid: Some(value) }
}

fn number(key: Key, value: u64) -> DebugAnnotation {
    DebugAnnotation { name_iid: Some(key.iid()), uint_value: Some(value), string_value_iid: None }
}

/// What joins a launch with its work; unique over processes. 2^40 launches of one process are
/// a year at 25 000 a second.
fn flow(process: ProcessKey, correlation: u64) -> Option<u64> {
    (correlation != 0).then(|| ((u64::from(process.0) + 1) << 40) ^ correlation)
}
