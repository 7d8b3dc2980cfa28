//! What every output tells of the host's side: per process, sums over its threads.
//!
//! A function's own time is what was spent in it and in native code it called, not in other Python functions;
//! its whole time counts once for each stack it stands in, however deep it recurses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use analysis::event::ProcessInfo;
use analysis::ids::{ProcessKey, StackId, Thread};
use analysis::wait::WaitReason;

use crate::capture::{Capture, Frame, Language, Stack};
use crate::symbols::ANONYMOUS_CODE;

/// One process.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostProcess<'c> {
    pub(crate) info: Option<&'c ProcessInfo>,
    pub(crate) samples: u64,
    /// Time the samples stand for, ns.
    pub(crate) cpu_ns: u64,
    pub(crate) off_cpu_ns: u64,
    pub(crate) by_reason: BTreeMap<WaitReason, u64>,
    /// Time off the CPU of which no stack was taken.
    pub(crate) without_stack_ns: u64,
    /// Samples whose stack reaches the thread's first function.
    pub(crate) rooted: u64,
    /// Samples with a Python frame.
    pub(crate) with_python: u64,
    /// Samples whose innermost frame is in code that no file has.
    pub(crate) leaf_anonymous: u64,
    pub(crate) gil: Gil,
    /// Those with most time first.
    pub(crate) threads: Vec<HostThread<'c>>,
    by_stack: HashMap<StackId, OnOff>,
}

/// Python's global interpreter lock in one process or thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gil {
    pub(crate) samples_holding: u64,
    /// The samples' time and the sleeps, ns.
    pub(crate) held_ns: u64,
    /// Of it, asleep.
    pub(crate) held_off_cpu_ns: u64,
    pub(crate) waited_ns: u64,
}

/// One thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostThread<'c> {
    pub(crate) tid: u32,
    pub(crate) name: Option<&'c str>,
    pub(crate) samples: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) off_cpu_ns: u64,
    pub(crate) gil: Gil,
}

/// One Python function.
#[derive(Clone, Debug)]
pub(crate) struct HostFunction<'c> {
    pub(crate) frame: &'c Frame,
    pub(crate) own: OnOff,
    pub(crate) whole: OnOff,
}

/// Time on and off the CPU, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnOff {
    pub(crate) on: u64,
    pub(crate) off: u64,
}

impl OnOff {
    fn add(&mut self, more: Self) {
        self.on = self.on.saturating_add(more.on);
        self.off = self.off.saturating_add(more.off);
    }
}

/// Every process of which something is known, in the order in which they were met.
pub(crate) fn processes(capture: &Capture) -> Vec<HostProcess<'_>> {
    let mut found: BTreeMap<ProcessKey, Sums<'_>> = BTreeMap::new();
    let period = capture.info.sample_ns().unwrap_or(0);
    for row in &capture.cpu {
        let sums = found.entry(row.process).or_default();
        let ns = row.samples.saturating_mul(period);
        let process = &mut sums.process;
        process.samples += row.samples;
        process.cpu_ns = process.cpu_ns.saturating_add(ns);
        let thread = sums.threads.entry(row.thread).or_default();
        thread.samples += row.samples;
        thread.cpu_ns = thread.cpu_ns.saturating_add(ns);
        let Some(stack) = capture.stacks.get(&row.stack) else {
            continue;
        };
        let count = |is: bool| if is { row.samples } else { 0 };
        process.rooted += count(!stack.cut);
        process.with_python += count(stack.frames.iter().any(is_python));
        process.leaf_anonymous += count(is_anonymous(stack));
        process.by_stack.entry(row.stack).or_default().add(OnOff { on: ns, off: 0 });
    }
    for wait in &capture.waits {
        let sums = found.entry(wait.process).or_default();
        let process = &mut sums.process;
        process.off_cpu_ns = process.off_cpu_ns.saturating_add(wait.ns);
        let reason = process.by_reason.entry(wait.reason).or_default();
        *reason = reason.saturating_add(wait.ns);
        let thread = sums.threads.entry(wait.thread).or_default();
        thread.off_cpu_ns = thread.off_cpu_ns.saturating_add(wait.ns);
        match wait.stack {
            Some(stack) => {
                process.by_stack.entry(stack).or_default().add(OnOff { on: 0, off: wait.ns });
            }
            None => {
                process.without_stack_ns = process.without_stack_ns.saturating_add(wait.ns);
            }
        }
    }
    for row in &capture.gil {
        let sums = found.entry(row.process).or_default();
        let held = row.samples_holding.saturating_mul(period);
        let gil = Gil {
            samples_holding: row.samples_holding,
            held_ns: held.saturating_add(row.held_off_cpu_ns),
            held_off_cpu_ns: row.held_off_cpu_ns,
            waited_ns: row.waited_ns,
        };
        sums.threads.entry(row.thread).or_default().gil = gil;
        let all = &mut sums.process.gil;
        all.samples_holding += gil.samples_holding;
        all.held_ns = all.held_ns.saturating_add(gil.held_ns);
        all.held_off_cpu_ns = all.held_off_cpu_ns.saturating_add(gil.held_off_cpu_ns);
        all.waited_ns = all.waited_ns.saturating_add(gil.waited_ns);
    }
    found.into_iter().map(|(key, sums)| sums.finish(capture, key)).collect()
}

#[derive(Default)]
struct Sums<'c> {
    process: HostProcess<'c>,
    threads: BTreeMap<Thread, HostThread<'c>>,
}

impl<'c> Sums<'c> {
    fn finish(self, capture: &'c Capture, key: ProcessKey) -> HostProcess<'c> {
        let Self { mut process, threads } = self;
        process.info = capture.processes.get(&key);
        process.threads = threads
            .into_iter()
            .map(|(tid, mut thread)| {
                thread.tid = tid.0;
                thread.name = capture.threads.get(&(key, tid)).map(String::as_str);
                thread
            })
            .collect();
        process.threads.sort_by_key(|thread| {
            std::cmp::Reverse((
                thread.cpu_ns,
                thread.samples,
                thread.gil.held_ns,
                thread.off_cpu_ns,
            ))
        });
        process
    }
}

/// The process's Python functions, those with most time of their own on the CPU first.
pub(crate) fn functions<'c>(
    capture: &'c Capture,
    process: &HostProcess<'_>,
) -> Vec<HostFunction<'c>> {
    // A function's lines are one function; two of one name may stand in two files.
    let mut found: BTreeMap<(&str, Option<&str>), HostFunction<'c>> = BTreeMap::new();
    let mut counted = HashSet::new();
    for (stack, &time) in &process.by_stack {
        let Some(stack) = capture.stacks.get(stack) else {
            continue;
        };
        counted.clear();
        let leaf_first = stack.frames.iter().rev().filter(|frame| is_python(frame));
        for (depth, frame) in leaf_first.enumerate() {
            let key = (frame.function.as_str(), frame.file.as_deref());
            let empty = HostFunction { frame, own: OnOff::default(), whole: OnOff::default() };
            let function = found.entry(key).or_insert(empty);
            // Which of its lines stands for it must not depend on the order of stacks.
            if frame.line < function.frame.line {
                function.frame = frame;
            }
            if depth == 0 {
                function.own.add(time);
            }
            if counted.insert(key) {
                function.whole.add(time);
            }
        }
    }
    let mut list: Vec<HostFunction<'c>> = found.into_values().collect();
    list.sort_by_key(|function| {
        let HostFunction { own, whole, .. } = function;
        std::cmp::Reverse((own.on, whole.on, own.off, whole.off))
    });
    list
}

/// The first `on` of `functions`, and of the others the `off` that sleep longest themselves: threads that
/// only wait would push out everything that runs.
pub(crate) fn notable<'f, 'c>(
    functions: &'f [HostFunction<'c>],
    on: usize,
    off: usize,
) -> Vec<&'f HostFunction<'c>> {
    let (first, rest) = functions.split_at(on.min(functions.len()));
    let mut waiting: Vec<_> = rest.iter().filter(|function| function.own.off > 0).collect();
    waiting.sort_by_key(|function| std::cmp::Reverse(function.own.off));
    first.iter().chain(waiting.into_iter().take(off)).collect()
}

fn is_python(frame: &Arc<Frame>) -> bool {
    frame.language == Language::Python
}

/// The innermost frame in user mode is in code that was made at run time.
fn is_anonymous(stack: &Stack) -> bool {
    let user = stack.frames.iter().rev().find(|frame| frame.language != Language::Kernel);
    user.is_some_and(|leaf| leaf.module.is_none() && leaf.function == ANONYMOUS_CODE)
}
