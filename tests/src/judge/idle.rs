//! Why a device was idle, from what the simulator and the program know, against a report's causes.
//!
//! The rules are those of the profiler's documentation, applied anew: nothing is shared with it. An
//! instant that separates two causes is known to the simulator as a bracket only: the clock is read
//! before and after the callback in which the profiler reads it. So every gap is explained for each
//! end of each bracket, and the report must lie between the least and the most of any of them.
//!
//! What programs say of their own sleeps is in [`sleeps`].

mod sleeps;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use sim_truth::{Effect, Outcome, Truth};

use crate::judge::report::{Device, Report};
use crate::judge::truth::hexadecimal;
use crate::judge::{JudgeError, Row};
use sleeps::Sleeps;

/// Longest way to the device, ns: of a launch, and of a graph launched while it is idle.
const WAY_NS: u64 = 20_000;
const GRAPH_WAY_NS: u64 = 60_000;
/// A host that nobody watches is late for longer than this for reasons nobody knows, ns.
const BLIND_NS: u64 = 100_000_000;

/// The causes, in order of their names.
const CAUSES: [&str; 6] =
    ["dependency", "host_bound", "launch_latency", "no_requests", "sync", "unknown"];
const DEPENDENCY: usize = 0;
const HOST_BOUND: usize = 1;
const LAUNCH_LATENCY: usize = 2;
const NO_REQUESTS: usize = 3;
const SYNC: usize = 4;
const UNKNOWN: usize = 5;

type Span = (u64, u64);

/// What a cause took at least and at most, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub least: u64,
    pub most: u64,
}

/// A device's idle time by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    pub bounds: [Bounds; CAUSES.len()],
    /// Idle time in all.
    pub idle: u64,
}

impl Causes {
    /// What `cause` took at least and at most.
    pub fn of(&self, cause: &str) -> Bounds {
        let position = CAUSES.iter().position(|name| *name == cause);
        position.map_or_else(Bounds::default, |position| self.bounds[position])
    }

    /// The widest bracket, ns.
    pub fn width(&self) -> u64 {
        self.bounds.iter().map(|bounds| bounds.most - bounds.least).max().unwrap_or(0)
    }
}

/// Work the profiler was told of, as far as gaps care.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u64,
    end: u64,
    /// Bracket of the launch's entry.
    enter: Span,
    thread: u32,
    graph: bool,
}

/// A bracketed wait of a thread in a synchronisation call.
#[derive(Clone, Copy, Debug)]
struct Wait {
    thread: u32,
    enter: Span,
    exit: Span,
}

/// Which end of each bracket is taken.
#[derive(Clone, Copy, Debug)]
struct Ends {
    enter: usize,
    sync: usize,
    sleep: usize,
}

impl Ends {
    const ALL: [Self; 8] = {
        let mut all = [Self { enter: 0, sync: 0, sleep: 0 }; 8];
        let mut number = 0;
        while number < all.len() {
            all[number] = Self { enter: number & 1, sync: number >> 1 & 1, sleep: number >> 2 };
            number += 1;
        }
        all
    };
}

const fn end(span: Span, which: usize) -> u64 {
    if which == 0 { span.0 } else { span.1 }
}

/// Everything known about one run.
#[derive(Debug, Default)]
pub struct Idle {
    devices: BTreeMap<String, Vec<Piece>>,
    waits: Vec<Wait>,
    sleeps: Sleeps,
    /// The profiler was told of no thread's sleep.
    blind: bool,
}

impl Idle {
    /// Reads the truth files in `truth` and the programs' sleeps in `sleeps`: one thread that
    /// launches, and its engine core. Without them the profiler is taken not to see sleeps either.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(truth: &Path, sleeps: Option<&Path>) -> Result<Self, JudgeError> {
        let mut idle = Self { blind: sleeps.is_none(), ..Self::default() };
        for path in files(truth, "truth")? {
            idle.add(&Truth::read(&path)?);
        }
        for pieces in idle.devices.values_mut() {
            pieces.sort_unstable_by_key(|piece| piece.start);
        }
        if let Some(folder) = sleeps {
            idle.sleeps = Sleeps::read(folder)?;
        }
        Ok(idle)
    }

    fn add(&mut self, truth: &Truth) {
        for joined in truth.joined() {
            let (work, Some(call)) = (joined.work, joined.call) else {
                continue;
            };
            // What ran before the profiler was there lies in unobserved time.
            if joined.outcome() != Some(Outcome::Delivered) {
                continue;
            }
            let Some(device) = truth.devices.get(&work.device) else {
                continue;
            };
            self.devices.entry(hexadecimal(&device.uuid)).or_default().push(Piece {
                start: work.start_ns,
                end: work.end_ns,
                enter: (call.enter_ns, call.entered_ns),
                thread: call.thread,
                graph: work.graph != 0,
            });
        }
        let syncs = truth.calls.values().filter(|call| call.effect == Effect::Sync);
        self.waits.extend(syncs.map(|call| Wait {
            thread: call.thread,
            enter: (call.enter_ns, call.entered_ns),
            exit: (call.leaving_ns, call.exit_ns),
        }));
    }

    /// What the causes of this device's idle time are, in the report's window behind the instant
    /// `from`. The gap that the window's end cuts may be any.
    pub fn causes(&self, uuid: &str, from: u64, until: u64) -> Causes {
        let mut causes = Causes::default();
        let none = Vec::new();
        let pieces = self.devices.get(uuid).unwrap_or(&none);
        let waits = Waits::new(&self.waits);
        let mut busy_until = None;
        for (position, piece) in pieces.iter().enumerate() {
            if let Some(begin) = busy_until
                && begin < piece.start
                && piece.start > from
                && begin < until
            {
                let window = (u64::max(begin, from), piece.start.min(until));
                let whole = window == (begin, piece.start);
                self.one(&mut causes, &pieces[position..], &waits, begin, window, whole);
            }
            if busy_until.is_none() && from < piece.start.min(until) {
                // What ran before it was launched before the profiler was there.
                causes.any(piece.start.min(until) - from);
            }
            busy_until = busy_until.max(Some(piece.end));
        }
        let rest = (busy_until.unwrap_or(0).max(from), until);
        if rest.0 < rest.1 {
            causes.any(rest.1 - rest.0);
        }
        let astray = self.sleeps.astray(from, until);
        let late = &mut causes.bounds[HOST_BOUND];
        let moved = astray.min(late.most);
        late.least = late.least.saturating_sub(astray);
        causes.bounds[NO_REQUESTS].most += moved;
        causes
    }

    /// Takes in one gap, `later` being what starts at its end and after.
    fn one(
        &self,
        causes: &mut Causes,
        later: &[Piece],
        waits: &Waits,
        begin: u64,
        window: Span,
        whole: bool,
    ) {
        if !whole {
            causes.any(window.1 - window.0);
            return;
        }
        // Work that starts much later was launched by then, too, or is not what is waited for.
        let later = &later[..later.len().min(LOOK)];
        let mut least = [u64::MAX; CAUSES.len()];
        let mut most = [0; CAUSES.len()];
        for ends in Ends::ALL {
            let split = self.split(later, waits, begin, window, ends);
            for cause in 0..CAUSES.len() {
                least[cause] = least[cause].min(split[cause]);
                most[cause] = most[cause].max(split[cause]);
            }
        }
        for cause in 0..CAUSES.len() {
            causes.bounds[cause].least += least[cause];
            causes.bounds[cause].most += most[cause];
        }
        causes.idle += window.1 - window.0;
    }

    /// The rules, between every two instants at which anything changes.
    fn split(
        &self,
        later: &[Piece],
        waits: &Waits,
        begin: u64,
        window: Span,
        ends: Ends,
    ) -> [u64; CAUSES.len()] {
        let enter = |piece: &Piece| end(piece.enter, ends.enter);
        let next_to_launch = |at: u64| {
            later.iter().filter(|piece| enter(piece) > at).min_by_key(|piece| enter(piece))
        };
        let awaited = next_to_launch(begin);
        let syncs = awaited.map(|piece| waits.of(piece.thread, window, ends)).unwrap_or_default();
        let launch = awaited.map(|piece| piece.enter);
        let asleep = self.sleeps.all_asleep(window, launch, ends.sleep == 1);
        let mut edges: Vec<u64> = later.iter().map(enter).collect();
        edges.extend(syncs.iter().chain(&asleep).flat_map(|span| [span.0, span.1]));
        edges.extend([window.0, window.1]);
        edges.retain(|&edge| window.0 <= edge && edge <= window.1);
        edges.sort_unstable();
        let mut split = [0; CAUSES.len()];
        for pair in edges.windows(2) {
            let (at, to) = (pair[0], pair[1]);
            let inside = |spans: &[Span]| spans.iter().any(|span| span.0 <= at && at < span.1);
            let queued = later.iter().find(|piece| enter(piece) <= at);
            let cause = match queued {
                Some(piece) => {
                    let since = enter(piece).max(begin);
                    let bound =
                        if piece.graph && enter(piece) >= begin { GRAPH_WAY_NS } else { WAY_NS };
                    if piece.start - since <= bound { LAUNCH_LATENCY } else { DEPENDENCY }
                }
                None if inside(&syncs) => SYNC,
                None if inside(&asleep) => NO_REQUESTS,
                None if self.blind
                    && next_to_launch(at).is_some_and(|piece| enter(piece) - begin > BLIND_NS) =>
                {
                    UNKNOWN
                }
                None => HOST_BOUND,
            };
            split[cause] += to - at;
        }
        split
    }
}

/// Work looked at behind a gap: more than a program here has queued.
const LOOK: usize = 256;

impl Causes {
    /// Idle time that may have any cause.
    fn any(&mut self, ns: u64) {
        for bounds in &mut self.bounds {
            bounds.most += ns;
        }
        self.idle += ns;
    }
}

/// Waits by thread and time.
#[derive(Debug)]
struct Waits {
    by_thread: HashMap<u32, Vec<Wait>>,
}

impl Waits {
    fn new(waits: &[Wait]) -> Self {
        let mut by_thread: HashMap<u32, Vec<Wait>> = HashMap::new();
        for wait in waits {
            by_thread.entry(wait.thread).or_default().push(*wait);
        }
        for waits in by_thread.values_mut() {
            waits.sort_unstable_by_key(|wait| wait.enter.0);
        }
        Self { by_thread }
    }

    /// Calls of a thread do not overlap: their ends are in order, too.
    fn of(&self, thread: u32, window: Span, ends: Ends) -> Vec<Span> {
        let Some(waits) = self.by_thread.get(&thread) else {
            return Vec::new();
        };
        let first = waits.partition_point(|wait| wait.exit.1 <= window.0);
        waits[first..]
            .iter()
            .take_while(|wait| wait.enter.0 < window.1)
            // The widest of a wait begins early and ends late.
            .map(|wait| (end(wait.enter, ends.sync), end(wait.exit, 1 - ends.sync)))
            .map(|(from, to)| (from.max(window.0), to.min(window.1)))
            .filter(|(from, to)| from < to)
            .collect()
    }
}

fn files(folder: &Path, extension: &str) -> Result<Vec<std::path::PathBuf>, JudgeError> {
    let read = |source| JudgeError::Read {
        what: "the folder of a program's files",
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Holds a device's causes against the truth. A row differs when the report is out of bounds: it
/// then has the nearer bound.
pub fn compare(device: &Device, causes: &Causes) -> Vec<Row> {
    let said = |cause: &str| device.idle_cause_ns.get(cause).copied().unwrap_or(0);
    let uuid = device.uuid_digits().unwrap_or_default();
    let mut rows: Vec<Row> = CAUSES
        .into_iter()
        .zip(causes.bounds)
        .map(|(cause, bounds)| Row {
            device: uuid.clone(),
            what: format!("idle for {cause} ns, {} to {}", bounds.least, bounds.most),
            truth: i128::from(said(cause).clamp(bounds.least, bounds.most)),
            report: i128::from(said(cause)),
        })
        .collect();
    rows.push(Row {
        device: uuid,
        what: "idle ns".to_owned(),
        truth: i128::from(causes.idle),
        report: i128::from(device.exclusive_ns.get("idle").copied().unwrap_or(0)),
    });
    rows
}

/// The devices of a report with what the truth says of them: behind the instant at which each was
/// seen drained, which the report tells by its unobserved time.
///
/// # Errors
/// When a file cannot be read.
pub fn judge(
    truth: &Path,
    sleeps: Option<&Path>,
    report: &Path,
) -> Result<Vec<(Device, Causes)>, JudgeError> {
    let idle = Idle::read(truth, sleeps)?;
    let report = Report::read(report)?;
    let judged = report.devices.into_iter().map(|device| {
        let uuid = device.uuid_digits().unwrap_or_default();
        let window = (device.window.start_ns, device.window.end_ns);
        let busy: Vec<crate::judge::sweep::Interval> = idle
            .devices
            .get(&uuid)
            .into_iter()
            .flatten()
            .map(|piece| crate::judge::sweep::Interval {
                start: piece.start,
                end: piece.end,
                busy: crate::judge::kernels::Busy::Other,
            })
            .collect();
        let unobserved = device.exclusive_ns.get("unobserved").copied().unwrap_or(0);
        let drained = crate::judge::sweep::instant_after_gaps(&busy, window, unobserved);
        let causes = idle.causes(&uuid, drained, window.1);
        (device, causes)
    });
    Ok(judged.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: u64, end: u64, enter: Span) -> Piece {
        Piece { start, end, enter, thread: 1, graph: false }
    }

    fn exact(idle: &Idle, from: u64, until: u64) -> BTreeMap<&'static str, (u64, u64)> {
        let causes = idle.causes("d", from, until);
        let pairs = CAUSES.into_iter().zip(causes.bounds.map(|b| (b.least, b.most)));
        pairs.filter(|(_, bounds)| *bounds != (0, 0)).collect()
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn each_cause_is_told_by_its_rule() {
        let mut idle = Idle::default();
        idle.devices.insert(
            "d".to_owned(),
            vec![
                piece(0, MS, (0, 0)),
                // Queued long before: what it waits for is not the way to the device.
                piece(2 * MS, 3 * MS, (MS / 2, MS / 2)),
                // Queued before the device ran dry, and there at once.
                piece(3 * MS + 10_000, 4 * MS, (MS, MS)),
                // The host waited until 5 ms, slept until 7 ms, then took 4 us to be served.
                piece(8 * MS + 4_000, 9 * MS, (8 * MS, 8 * MS)),
            ],
        );
        idle.waits.push(Wait { thread: 1, enter: (MS, MS), exit: (5 * MS, 5 * MS) });
        let asleep = (5 * MS, 7 * MS, 2 * MS);
        idle.sleeps = Sleeps::of(&[asleep], &[asleep]);
        let expected = [
            ("dependency", (MS, MS)),
            ("launch_latency", (14_000, 14_000)),
            ("sync", (MS, MS)),
            ("no_requests", (2 * MS, 2 * MS)),
            ("host_bound", (MS, MS)),
        ];
        assert_eq!(exact(&idle, 0, 9 * MS), expected.into_iter().collect());
    }

    #[test]
    fn without_thread_states_a_long_wait_for_the_host_is_unknown() {
        let mut idle = Idle { blind: true, ..Idle::default() };
        let late = |from: u64, enter: u64| piece(enter, enter + from, (enter, enter));
        let pieces = vec![piece(0, MS, (0, 0)), late(MS, 101 * MS), late(MS, 203 * MS)];
        idle.devices.insert("d".to_owned(), pieces);
        let expected = [("host_bound", (100 * MS, 100 * MS)), ("unknown", (101 * MS, 101 * MS))];
        assert_eq!(exact(&idle, 0, 204 * MS), expected.into_iter().collect());
    }

    #[test]
    fn a_bracket_is_as_wide_as_what_the_simulator_does_not_know() {
        let mut idle = Idle::default();
        let pieces =
            vec![piece(0, 10, (0, 0)), piece(5 * MS, 6 * MS, (5 * MS - 900, 5 * MS - 400))];
        idle.devices.insert("d".to_owned(), pieces);
        let expected =
            [("host_bound", (5 * MS - 910, 5 * MS - 410)), ("launch_latency", (400, 900))];
        assert_eq!(exact(&idle, 0, 6 * MS), expected.into_iter().collect());
    }

    #[test]
    fn gaps_cut_by_the_window_may_have_any_cause() {
        let mut idle = Idle::default();
        idle.devices.insert("d".to_owned(), vec![piece(0, 10, (0, 0)), piece(90, 95, (80, 80))]);
        let causes = idle.causes("d", 50, 60);
        assert_eq!(causes.idle, 10);
        assert!(causes.bounds.iter().all(|bounds| *bounds == Bounds { least: 0, most: 10 }));
        assert_eq!(causes.width(), 10);
        assert_eq!(idle.causes("absent", 50, 60).idle, 10);
    }
}
