//! The stacks every profile format shows, root first, with their time. Folded text, flame graphs
//! and pprof all draw exactly these rows, so that they cannot disagree.

mod idle;

use std::collections::BTreeMap;

use analysis::classify::{Class, Kind};
use analysis::ids::ProcessKey;
use analysis::report::{CaptureSite, DeviceReport, IdleCause, UnobservedReason};

use super::words;
use crate::capture::{Capture, Frame, Stack};
pub(crate) use idle::launches as late_launches;

/// Stands above the first frame of a stack whose root is missing.
pub(crate) const CUT: &str = "[cut: no frame pointers]";
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tint {
    Gpu,
    Process,
    Host,
    /// Frames in brackets that stand for what is missing.
    Marker,
    Class(Class),
    Idle,
    Unobserved,
}

impl Tint {
    /// The word of a label or legend.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Process => "process",
            Self::Host => "host",
            Self::Marker => "marker",
            Self::Class(class) => class.as_str(),
            Self::Idle => "idle",
            Self::Unobserved => "unobserved",
        }
    }
}

/// One frame of a row.
#[derive(Clone, Debug)]
pub(crate) struct RowFrame<'c> {
    pub(crate) text: &'c str,
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
    /// Why it was idle or unobserved.
    pub(crate) cause: Option<&'static str>,
    pub(crate) device: Option<&'c DeviceReport>,
    pub(crate) process: Option<ProcessKey>,
    pub(crate) graph: u32,
}

/// Texts a capture does not hold, made once so that rows can borrow them.
#[derive(Debug)]
pub(crate) struct Titles {
    gpus: Vec<String>,
    idle: BTreeMap<(usize, IdleCause), (String, u64)>,
    unobserved: Vec<(usize, UnobservedReason, String, u64)>,
    processes: std::collections::HashMap<ProcessKey, String>,
    graphs: std::collections::HashMap<u32, String>,
}

impl Titles {
    pub(crate) fn of(capture: &Capture) -> Self {
        let devices = || capture.report.devices.iter().enumerate();
        Self {
            gpus: devices().map(|(_, device)| words::gpu_title(&device.info)).collect(),
            idle: devices()
                .flat_map(|(position, device)| {
                    device.idle_cause.iter().map(move |(&cause, &ns)| {
                        let text = format!("[idle: {}]", words::idle_cause(cause));
                        ((position, cause), (text, ns))
                    })
                })
                .collect(),
            unobserved: devices()
                .flat_map(|(position, device)| {
                    device.unobserved.iter().map(move |(&reason, &ns)| {
                        let text = format!("[unobserved: {}]", words::unobserved_reason(reason));
                        (position, reason, text, ns)
                    })
                })
                .collect(),
            processes: capture
                .processes
                .iter()
                .map(|(&process, info)| (process, words::process_title(info)))
                .collect(),
            graphs: capture
                .report
                .stacks
                .iter()
                .filter(|time| time.graph != 0)
                .map(|time| (time.graph, format!("[graph {}]", time.graph)))
                .collect(),
        }
    }

    fn process(&self, process: ProcessKey) -> &str {
        self.processes.get(&process).map_or("process", String::as_str)
    }
}

/// GPU time: GPU, worker, launch stack, graph, capture stack, kernel; idle under the GPU, its cause and
/// what the host did; unobserved under the GPU and its reason.
pub(crate) fn gpu<'c>(capture: &'c Capture, titles: &'c Titles, mut each: impl FnMut(Row<'_, 'c>)) {
    let report = &capture.report;
    let mut frames: Vec<RowFrame<'c>> = Vec::new();
    for time in report.stacks.iter().filter(|time| time.total > 0) {
        frames.clear();
        frames.push(plain(gpu_title(titles, time.device), Tint::Gpu));
        frames.push(plain(titles.process(time.process), Tint::Process));
        match time.stack.and_then(|stack| capture.stacks.get(&stack)) {
            Some(stack) => push_host(&mut frames, stack),
            None => frames.push(plain(NOT_SAMPLED, Tint::Marker)),
        }
        if let Some(graph) = titles.graphs.get(&time.graph) {
            frames.push(plain(graph, Tint::Marker));
            push_capture(&mut frames, capture, time.capture);
        }
        let tint = Tint::Class(time.class);
        frames.push(plain(words::kernel_name(report, time.name), tint));
        each(Row {
            frames: &frames,
            value: time.total,
            tint,
            kind: Some(time.kind),
            cause: None,
            device: report.devices.get(time.device),
            process: Some(time.process),
            graph: time.graph,
        });
    }
    idle::drawn(capture, titles, &mut each);
    for (position, reason, text, ns) in titles.unobserved.iter().filter(|row| row.3 > 0) {
        let tint = Tint::Unobserved;
        each(Row {
            frames: &[plain(gpu_title(titles, *position), Tint::Gpu), plain(text, tint)],
            value: *ns,
            tint,
            kind: None,
            cause: Some(words::unobserved_reason(*reason)),
            device: report.devices.get(*position),
            process: None,
            graph: 0,
        });
    }
}

/// The stack under which a graph's node was made, or why there is none.
fn push_capture<'c>(frames: &mut Vec<RowFrame<'c>>, capture: &'c Capture, site: CaptureSite) {
    let stack = match site {
        CaptureSite::Stack(stack) => capture.stacks.get(&stack),
        _ => None,
    };
    match stack {
        Some(stack) => push_host(frames, stack),
        None => frames.extend(without_capture(site).map(|why| plain(why, Tint::Marker))),
    }
}

/// CPU samples: process, stack.
pub(crate) fn cpu<'c>(capture: &'c Capture, titles: &'c Titles, mut each: impl FnMut(Row<'_, 'c>)) {
    let mut frames: Vec<RowFrame<'c>> = Vec::new();
    for sampled in capture.cpu.iter().filter(|sampled| sampled.samples > 0) {
        frames.clear();
        frames.push(plain(titles.process(sampled.process), Tint::Process));
        if let Some(stack) = capture.stacks.get(&sampled.stack) {
            push_host(&mut frames, stack);
        }
        each(Row {
            frames: &frames,
            value: sampled.samples,
            tint: Tint::Host,
            kind: None,
            cause: None,
            device: None,
            process: Some(sampled.process),
            graph: 0,
        });
    }
}

fn gpu_title(titles: &Titles, position: usize) -> &str {
    titles.gpus.get(position).map_or("GPU", String::as_str)
}

fn plain(text: &str, tint: Tint) -> RowFrame<'_> {
    RowFrame { text, tint, host: None }
}

fn push_host<'c>(frames: &mut Vec<RowFrame<'c>>, stack: &'c Stack) {
    if stack.cut {
        frames.push(plain(CUT, Tint::Marker));
    }
    frames.extend(stack.frames.iter().map(|frame| RowFrame {
        text: &frame.function,
        tint: Tint::Host,
        host: Some(frame),
    }));
}
