//! Idle time as rows. Each cause is as wide as its time: what no stack accounts for hangs under the
//! cause itself.

use std::collections::{BTreeMap, BTreeSet};

use analysis::ids::{ProcessKey, StackId};
use analysis::report::{HostState, IdleCause};

use super::{NOT_SAMPLED, Row, RowFrame, Tint, Titles, plain, push_host};
use crate::capture::Capture;
use crate::output::words;

/// Stands where the cause of the latest idle time is not decided yet.
const UNDECIDED: &str = "[idle: not decided yet]";
/// Below the stack in which a thread slept.
const ASLEEP: &str = "[asleep]";
/// Stands where no sample tells what a late thread did.
const NOT_SEEN: &str = "[thread not sampled]";

/// What a stretch of idle time hangs under, below its cause.
enum Under {
    Nothing,
    /// The launch that ended it.
    Launch(ProcessKey, Option<StackId>),
    /// What the thread did that was late with its launch.
    Host(ProcessKey, HostState, Option<StackId>),
}

/// GPU, cause, worker; then where the host was late and somebody looked, the code its thread was in,
/// and else the stack of the launch that ended it.
pub(super) fn drawn<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    each: &mut impl FnMut(Row<'_, 'c>),
) {
    let report = &capture.report;
    let mut rest = Rest::new(capture, titles, each);
    let late = IdleCause::HostBound;
    let mut seen: BTreeSet<(usize, ProcessKey)> = BTreeSet::new();
    for host in &report.host_stacks {
        seen.insert((host.device, host.process));
        let under = Under::Host(host.process, host.state, host.stack);
        rest.tell((host.device, late), &under, host.total);
    }
    for time in &report.idle_stacks {
        let looked = |process| time.cause == late && seen.contains(&(time.device, process));
        if !time.process.is_some_and(looked) {
            let under = time.process.map_or(Under::Nothing, |of| Under::Launch(of, time.stack));
            rest.tell((time.device, time.cause), &under, time.total);
        }
    }
    rest.finish();
    for (position, device) in report.devices.iter().enumerate() {
        if device.idle_undecided > 0 {
            let gpu = plain(titles.gpu(position), Tint::Gpu);
            each(Row {
                frames: &[gpu, plain(UNDECIDED, Tint::Idle)],
                value: device.idle_undecided,
                tint: Tint::Idle,
                kind: None,
                cause: None,
                device: Some(device),
                process: None,
                thread: None,
                graph: 0,
            });
        }
    }
}

/// As [`drawn`], always under the launch that ended it.
pub(crate) fn launches<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    mut each: impl FnMut(Row<'_, 'c>),
) {
    let mut rest = Rest::new(capture, titles, &mut each);
    for time in &capture.report.idle_stacks {
        let under = time.process.map_or(Under::Nothing, |of| Under::Launch(of, time.stack));
        rest.tell((time.device, time.cause), &under, time.total);
    }
    rest.finish();
}

/// What of each cause has not been told.
struct Rest<'r, 'c, F> {
    capture: &'c Capture,
    titles: &'c Titles,
    each: &'r mut F,
    left: BTreeMap<(usize, IdleCause), u64>,
    frames: Vec<RowFrame<'c>>,
}

impl<'r, 'c, F: FnMut(Row<'_, 'c>)> Rest<'r, 'c, F> {
    fn new(capture: &'c Capture, titles: &'c Titles, each: &'r mut F) -> Self {
        let left = titles.idle.iter().map(|(&key, &(_, ns))| (key, ns)).collect();
        Self { capture, titles, each, left, frames: Vec::new() }
    }

    fn tell(&mut self, key: (usize, IdleCause), under: &Under, total: u64) {
        // Never more than the cause has: it is the exact figure.
        let value = self.left.get(&key).map_or(0, |&left| left.min(total));
        let (Some((text, _)), true) = (self.titles.idle.get(&key), value > 0) else {
            return;
        };
        self.left.entry(key).and_modify(|left| *left -= value);
        let capture = self.capture;
        let frames = &mut self.frames;
        frames.clear();
        frames.push(plain(self.titles.gpu(key.0), Tint::Gpu));
        frames.push(plain(text, Tint::Idle));
        let stack = |id: &Option<StackId>| id.and_then(|id| capture.stacks.get(&id));
        let process = match under {
            Under::Nothing => None,
            Under::Launch(process, id) => {
                frames.push(plain(self.titles.process(*process), Tint::Process));
                match stack(id) {
                    Some(stack) => push_host(frames, stack, self.titles),
                    None => frames.push(plain(NOT_SAMPLED, Tint::Marker)),
                }
                Some(*process)
            }
            Under::Host(process, state, id) => {
                frames.push(plain(self.titles.process(*process), Tint::Process));
                match stack(id) {
                    Some(stack) => push_host(frames, stack, self.titles),
                    None => frames.push(plain(NOT_SEEN, Tint::Marker)),
                }
                if *state == HostState::Asleep {
                    frames.push(plain(ASLEEP, Tint::Marker));
                }
                Some(*process)
            }
        };
        (self.each)(Row {
            frames,
            value,
            tint: Tint::Idle,
            kind: None,
            cause: Some(words::idle_cause(key.1)),
            device: capture.report.devices.get(key.0),
            process,
            thread: None,
            graph: 0,
        });
    }

    fn finish(mut self) {
        for (key, left) in std::mem::take(&mut self.left) {
            self.left.insert(key, left);
            self.tell(key, &Under::Nothing, left);
        }
    }
}
