//! The stacks every profile format shows, root first, with their time. Folded text, flame graphs
//! and pprof all draw exactly these rows, so that they cannot disagree.

mod host;
mod idle;
mod memory;
mod titles;

use analysis::classify::{Class, Kind};
use analysis::ids::{ProcessKey, Thread};
use analysis::report::{CaptureSite, DeviceReport};
use analysis::wait::WaitReason;

use super::layers::Layer;
use super::words;
use crate::capture::{Capture, Frame, Language, Stack};
pub(crate) use host::{cpu, offcpu, wall};
pub(crate) use idle::launches as late_launches;
pub(crate) use memory::{memory, touched};
pub(crate) use titles::Titles;

/// Stands above the first frame of a stack whose root is missing, where no remark says why.
pub(crate) const CUT: &str = "[cut: root not reached]";
/// Stands where a thread slept and no stack was taken of it.
pub(crate) const NOT_TAKEN: &str = "[stack not taken]";
/// Stands where a kernel has no sampled launch.
pub(crate) const NOT_SAMPLED: &str = "[stack not sampled]";

/// Stands where a graph's node has no capture stack, and why; `None` where it has one or no graph.
pub(crate) fn without_capture(site: CaptureSite) -> Option<&'static str> {
    match site {
        // A trace tells nothing of captures.
        CaptureSite::None | CaptureSite::Stack(_) => None,
        CaptureSite::BeforeShim => Some("[captured before the shim was there]"),
        CaptureSite::NotTaken => Some("[capture stack not taken]"),
        CaptureSite::TableFull => Some("[graph table full]"),
        CaptureSite::Updated => Some("[graph updated since its capture]"),
    }
}

/// What a frame or a row stands for; decides colours and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tint {
    Gpu,
    Process,
    Thread,
    /// Native code that belongs to no layer.
    Host,
    Python,
    /// The kernel's code.
    Kernel,
    /// A layer of the server, in whatever language.
    Layer(Layer),
    /// Frames in brackets that stand for what is missing.
    Marker,
    Class(Class),
    Idle,
    Unobserved,
    /// The end of a stack that slept, and why.
    Waiting(WaitReason),
}

impl Tint {
    /// The word of a label or legend.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Process => "process",
            Self::Thread => "thread",
            Self::Host => "host",
            Self::Python => "Python",
            Self::Kernel => "kernel",
            Self::Layer(layer) => layer.as_str(),
            Self::Marker => "marker",
            Self::Class(class) => class.as_str(),
            Self::Idle => "idle",
            Self::Unobserved => "unobserved",
            Self::Waiting(reason) => reason.as_str(),
        }
    }
}

/// One frame of a row.
#[derive(Clone, Debug)]
pub(crate) struct RowFrame<'c> {
    /// As pictures and folded text show it.
    pub(crate) text: &'c str,
    /// Without the place in the source, for formats that have fields for it.
    pub(crate) name: &'c str,
    pub(crate) tint: Tint,
    /// The host frame behind it.
    pub(crate) host: Option<&'c Frame>,
}

/// One stack with its value.
#[derive(Debug)]
pub(crate) struct Row<'r, 'c> {
    pub(crate) frames: &'r [RowFrame<'c>],
    pub(crate) value: u64,
    /// Of the leaf.
    pub(crate) tint: Tint,
    pub(crate) kind: Option<Kind>,
    /// Why it was idle, unobserved or asleep.
    pub(crate) cause: Option<&'static str>,
    pub(crate) device: Option<&'c DeviceReport>,
    pub(crate) process: Option<ProcessKey>,
    pub(crate) thread: Option<Thread>,
    pub(crate) graph: u32,
}

/// GPU time: GPU, worker, launch stack, graph, capture stack, kernel; idle under the GPU, its cause and
/// what the host did; unobserved under the GPU and its reason.
pub(crate) fn gpu<'c>(capture: &'c Capture, titles: &'c Titles, mut each: impl FnMut(Row<'_, 'c>)) {
    let report = &capture.report;
    let mut frames: Vec<RowFrame<'c>> = Vec::new();
    for time in report.stacks.iter().filter(|time| time.total > 0) {
        frames.clear();
        frames.push(plain(titles.gpu(time.device), Tint::Gpu));
        frames.push(plain(titles.process(time.process), Tint::Process));
        match time.stack.and_then(|stack| capture.stacks.get(&stack)) {
            Some(stack) => push_host(&mut frames, stack, titles),
            None => frames.push(plain(NOT_SAMPLED, Tint::Marker)),
        }
        if let Some(graph) = titles.graphs.get(&time.graph) {
            frames.push(plain(graph, Tint::Marker));
            push_capture(&mut frames, capture, titles, time.capture);
        }
        let tint = Tint::Class(time.class);
        frames.push(plain(titles.kernel(report, time.name), tint));
        each(Row {
            frames: &frames,
            value: time.total,
            tint,
            kind: Some(time.kind),
            cause: None,
            device: report.devices.get(time.device),
            process: Some(time.process),
            thread: None,
            graph: time.graph,
        });
    }
    idle::drawn(capture, titles, &mut each);
    for (position, reason, text, ns) in titles.unobserved.iter().filter(|row| row.3 > 0) {
        let tint = Tint::Unobserved;
        each(Row {
            frames: &[plain(titles.gpu(*position), Tint::Gpu), plain(text, tint)],
            value: *ns,
            tint,
            kind: None,
            cause: Some(words::unobserved_reason(*reason)),
            device: report.devices.get(*position),
            process: None,
            thread: None,
            graph: 0,
        });
    }
}

/// The stack under which a graph's node was made, or why there is none.
fn push_capture<'c>(
    frames: &mut Vec<RowFrame<'c>>,
    capture: &'c Capture,
    titles: &'c Titles,
    site: CaptureSite,
) {
    let stack = match site {
        CaptureSite::Stack(stack) => capture.stacks.get(&stack),
        _ => None,
    };
    match stack {
        Some(stack) => push_host(frames, stack, titles),
        None => frames.extend(without_capture(site).map(|why| plain(why, Tint::Marker))),
    }
}

/// What stands above a stack whose root is missing; where the walk knows why it ended, that stands
/// at the root already.
pub(crate) fn cut_mark(stack: &Stack) -> Option<&'static str> {
    let says = stack.frames.first().is_some_and(|root| root.language == Language::Remark);
    (stack.cut && !says).then_some(CUT)
}

fn plain(text: &str, tint: Tint) -> RowFrame<'_> {
    RowFrame { text, name: text, tint, host: None }
}

fn push_host<'c>(frames: &mut Vec<RowFrame<'c>>, stack: &'c Stack, titles: &'c Titles) {
    frames.extend(cut_mark(stack).map(|mark| plain(mark, Tint::Marker)));
    frames.extend(stack.frames.iter().map(|frame| {
        let (text, name, tint) = titles.host(frame);
        RowFrame { text, name, tint, host: Some(frame) }
    }));
}
