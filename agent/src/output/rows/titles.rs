//! Texts that a capture does not hold, made once so that rows can borrow them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use analysis::ids::{NameId, ProcessKey, Thread};
use analysis::report::{IdleCause, Report, UnobservedReason};

use super::Tint;
use crate::capture::{Capture, Frame, Language, NameStyle};
use crate::output::layers::layer;
use crate::output::{short, words};

#[derive(Debug)]
pub(crate) struct Titles {
    gpus: Vec<String>,
    pub(super) idle: BTreeMap<(usize, IdleCause), (String, u64)>,
    pub(super) unobserved: Vec<(usize, UnobservedReason, String, u64)>,
    processes: HashMap<ProcessKey, String>,
    roles: HashMap<ProcessKey, String>,
    threads: HashMap<(ProcessKey, Thread), String>,
    pub(super) graphs: HashMap<u32, String>,
    /// Short names of kernels, where these are asked for.
    kernels: Vec<String>,
    /// By the frame's address: frames live as long as the capture does.
    frames: HashMap<usize, Shown, foldhash::fast::RandomState>,
    is_short: bool,
}

/// A frame that does not show as its function alone.
#[derive(Debug)]
struct Shown {
    /// `None`: as the function.
    text: Option<String>,
    /// Bytes of the text that are the name, without the place.
    name: usize,
    tint: Tint,
}

impl Titles {
    pub(crate) fn of(capture: &Capture) -> Self {
        let devices = || capture.report.devices.iter().enumerate();
        let info = &capture.processes;
        let threads = capture.cpu.iter().map(|row| (row.process, row.thread));
        let threads = threads.chain(capture.waits.iter().map(|row| (row.process, row.thread)));
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
            processes: info
                .iter()
                .map(|(&process, info)| (process, words::process_title(info)))
                .collect(),
            roles: info.iter().map(|(&process, info)| (process, words::role_title(info))).collect(),
            threads: threads
                .map(|(process, thread)| {
                    let pid = info.get(&process).map(|info| info.pid);
                    let name = capture.threads.get(&(process, thread)).map(String::as_str);
                    ((process, thread), words::thread_title(thread, pid, name))
                })
                .collect(),
            graphs: capture
                .report
                .stacks
                .iter()
                .filter(|time| time.graph != 0)
                .map(|time| (time.graph, format!("[graph {}]", time.graph)))
                .collect(),
            kernels: match capture.names {
                NameStyle::Whole => Vec::new(),
                NameStyle::Short => {
                    capture.report.names.iter().map(|name| short::native(name)).collect()
                }
            },
            frames: frames(capture),
            is_short: capture.names == NameStyle::Short,
        }
    }

    pub(super) fn gpu(&self, position: usize) -> &str {
        self.gpus.get(position).map_or("GPU", String::as_str)
    }

    pub(super) fn process(&self, process: ProcessKey) -> &str {
        self.processes.get(&process).map_or("process", String::as_str)
    }

    /// `worker TP0 (VLLM::Worker_TP0, pid 12)`.
    pub(super) fn role(&self, process: ProcessKey) -> &str {
        self.roles.get(&process).map_or("process", String::as_str)
    }

    pub(super) fn thread(&self, process: ProcessKey, thread: Thread) -> &str {
        self.threads.get(&(process, thread)).map_or("thread", String::as_str)
    }

    pub(super) fn kernel<'c>(&'c self, report: &'c Report, name: NameId) -> &'c str {
        let short = usize::try_from(name.0).ok().and_then(|index| self.kernels.get(index));
        short.map_or_else(|| words::kernel_name(report, name), String::as_str)
    }

    /// Text, name and tint of a frame.
    pub(super) fn host<'c>(&'c self, frame: &'c Arc<Frame>) -> (&'c str, &'c str, Tint) {
        let known = self.is_short || !is_plain(frame);
        let Some(shown) = known.then(|| self.frames.get(&address(frame))).flatten() else {
            return (&frame.function, &frame.function, Tint::Host);
        };
        let text = shown.text.as_deref().unwrap_or(&frame.function);
        (text, text.get(..shown.name).unwrap_or(text), shown.tint)
    }
}

/// Nothing tells more of it than its function. Asked before the table, for speed.
fn is_plain(frame: &Frame) -> bool {
    frame.language == Language::Native && frame.module.is_none()
}

fn address(frame: &Arc<Frame>) -> usize {
    Arc::as_ptr(frame).addr()
}

/// Every frame that stands in a stack, once.
fn frames(capture: &Capture) -> HashMap<usize, Shown, foldhash::fast::RandomState> {
    let is_short = capture.names == NameStyle::Short;
    let mut known = HashMap::default();
    for frame in capture.stacks.values().flat_map(|stack| &stack.frames) {
        if is_short || !is_plain(frame) {
            known.entry(address(frame)).or_insert_with(|| shown(frame, is_short));
        }
    }
    known
}

fn shown(frame: &Frame, is_short: bool) -> Shown {
    let tint = match (layer(frame), frame.language) {
        (Some(layer), _) => Tint::Layer(layer),
        (None, Language::Native) => Tint::Host,
        (None, Language::Python) => Tint::Python,
        (None, Language::Kernel) => Tint::Kernel,
        (None, Language::Remark) => Tint::Marker,
    };
    let name = is_short.then(|| short::short(frame));
    let place = match frame.language {
        Language::Python => place(frame),
        Language::Kernel => Some(" [k]".to_owned()),
        Language::Native | Language::Remark => None,
    };
    let length = name.as_ref().unwrap_or(&frame.function).len();
    let text = match (name, place) {
        (None, None) => None,
        (Some(name), None) => Some(name),
        (name, Some(place)) => Some(name.unwrap_or_else(|| frame.function.clone()) + &place),
    };
    Shown { text, name: length, tint }
}

/// ` (file.py:LINE)`.
fn place(frame: &Frame) -> Option<String> {
    let file = frame.file.as_deref()?;
    let file = file.rsplit('/').next().unwrap_or(file);
    Some(match frame.line {
        Some(line) => format!(" ({file}:{line})"),
        None => format!(" ({file})"),
    })
}
