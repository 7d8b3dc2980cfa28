//! The rows of CPU pictures: process, thread, stack; of time off the CPU also why.

use analysis::wait::WaitReason;

use super::{NOT_TAKEN, Row, RowFrame, Tint, Titles, plain, push_host};
use crate::capture::{Capture, CpuStack, WaitStack};

/// CPU samples.
pub(crate) fn cpu<'c>(capture: &'c Capture, titles: &'c Titles, mut each: impl FnMut(Row<'_, 'c>)) {
    let mut frames = Vec::new();
    for sampled in &capture.cpu {
        on(capture, titles, sampled, sampled.samples, &mut frames, &mut each);
    }
}

/// Time off the CPU, ns.
pub(crate) fn offcpu<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    mut each: impl FnMut(Row<'_, 'c>),
) {
    let mut frames = Vec::new();
    for wait in &capture.waits {
        off(capture, titles, wait, &mut frames, &mut each);
    }
}

/// Time on and off the CPU, ns: each sample stands for the time between two.
pub(crate) fn wall<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    mut each: impl FnMut(Row<'_, 'c>),
) {
    let mut frames = Vec::new();
    let period = capture.info.sample_ns().unwrap_or(0);
    for sampled in &capture.cpu {
        let ns = sampled.samples.saturating_mul(period);
        on(capture, titles, sampled, ns, &mut frames, &mut each);
    }
    for wait in &capture.waits {
        off(capture, titles, wait, &mut frames, &mut each);
    }
}

fn on<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    sampled: &CpuStack,
    value: u64,
    frames: &mut Vec<RowFrame<'c>>,
    each: &mut impl FnMut(Row<'_, 'c>),
) {
    if value == 0 {
        return;
    }
    let &CpuStack { process, thread, stack, .. } = sampled;
    frames.clear();
    frames.push(plain(titles.role(process), Tint::Process));
    frames.push(plain(titles.thread(process, thread), Tint::Thread));
    if let Some(stack) = capture.stacks.get(&stack) {
        push_host(frames, stack, titles);
    }
    each(Row {
        frames,
        value,
        tint: frames.last().map_or(Tint::Host, |leaf| leaf.tint),
        kind: None,
        cause: None,
        device: None,
        process: Some(process),
        thread: Some(thread),
        graph: 0,
    });
}

fn off<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    wait: &WaitStack,
    frames: &mut Vec<RowFrame<'c>>,
    each: &mut impl FnMut(Row<'_, 'c>),
) {
    if wait.ns == 0 {
        return;
    }
    let &WaitStack { process, thread, stack, reason, .. } = wait;
    frames.clear();
    frames.push(plain(titles.role(process), Tint::Process));
    frames.push(plain(titles.thread(process, thread), Tint::Thread));
    match stack.and_then(|stack| capture.stacks.get(&stack)) {
        Some(stack) => push_host(frames, stack, titles),
        None => frames.push(plain(NOT_TAKEN, Tint::Marker)),
    }
    let tint = Tint::Waiting(reason);
    frames.push(plain(waiting(reason), tint));
    each(Row {
        frames,
        value: wait.ns,
        tint,
        kind: None,
        cause: Some(reason.as_str()),
        device: None,
        process: Some(process),
        thread: Some(thread),
        graph: 0,
    });
}

/// The end of a stack that slept.
fn waiting(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Unknown => "[waiting: unknown]",
        WaitReason::Lock => "[waiting: lock]",
        WaitReason::Gil => "[waiting: gil]",
        WaitReason::Io => "[waiting: io]",
        WaitReason::Sleep => "[waiting: sleep]",
        WaitReason::Cuda => "[waiting: cuda]",
        WaitReason::Network => "[waiting: network]",
        WaitReason::Queue => "[waiting: queue]",
        WaitReason::Child => "[waiting: child]",
    }
}
