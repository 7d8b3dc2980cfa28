//! Busy, idle and overlapping time as `HolisticTraceAnalysis` 0.5.0 defines them, computed from the
//! file, each point in which its definition differs from ours as a switch.

use std::collections::HashSet;

use crate::kineto::Plain;

/// What counts. [`Definition::THEIRS`] is theirs as it comes, [`Definition::OURS`] ours.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Starts are rounded up and ends down to whole microseconds.
    pub(crate) rounds: bool,
    /// What was called from the start of the last profiler step on does not count.
    pub(crate) drops_last_step: bool,
    /// Work does not count whose call is not in the trace.
    pub(crate) needs_call: bool,
    /// Whatever names a stream counts: waits of `cuda_sync`, operators that mention one.
    pub(crate) any_stream: bool,
    /// Only `^nccl.*Kernel` is communication, and no kernel called `...Sync` is computation.
    pub(crate) by_name: bool,
}

impl Definition {
    pub(crate) const THEIRS: Self = Self {
        rounds: true,
        drops_last_step: true,
        needs_call: true,
        any_stream: true,
        by_name: true,
    };
    /// With its switches set to lose the least.
    pub(crate) const THEIRS_AT_BEST: Self =
        Self { rounds: false, drops_last_step: false, ..Self::THEIRS };
    pub(crate) const OURS: Self = Self {
        rounds: false,
        drops_last_step: false,
        needs_call: false,
        any_stream: false,
        by_name: false,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Computation,
    Communication,
    Copy,
}

/// Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) window: i64,
    pub(crate) idle: i64,
    pub(crate) compute: i64,
    pub(crate) communication: i64,
    pub(crate) overlap: i64,
}

/// Start and end; the end may come before the start where times were rounded.
type Interval = (i64, i64);

const STEP: &str = "ProfilerStep";

/// The times of a trace. `communicates` is asked for what the definition does not tell by name.
pub(crate) fn times(
    events: &[Plain],
    definition: Definition,
    communicates: impl Fn(&str) -> bool,
) -> Times {
    let counted = counted(events, definition);
    let mut all = Vec::new();
    let mut computation = Vec::new();
    let mut communication = Vec::new();
    for event in counted {
        let (start, end) = (event.start, event.end);
        let interval = if definition.rounds {
            (round_up(start), end.div_euclid(1000) * 1000)
        } else {
            (start, end)
        };
        all.push(interval);
        match what(event, definition, &communicates) {
            What::Computation => computation.push(interval),
            What::Communication => communication.push(interval),
            What::Copy => {}
        }
    }
    let all = merged(all);
    let window = all.last().unwrap().1 - all.first().unwrap().0;
    let computation = merged(computation);
    let communication = merged(communication);
    Times {
        window,
        idle: window - length(&all),
        compute: length(&computation),
        communication: length(&communication),
        overlap: common(&computation, &communication),
    }
}

fn round_up(nanoseconds: i64) -> i64 {
    -(-nanoseconds).div_euclid(1000) * 1000
}

/// Ran on a device, as they see it.
fn is_work(event: &Plain) -> bool {
    let streamed = event.stream.is_some_and(|stream| stream >= 0)
        && event.correlation.is_some_and(|correlation| correlation >= 0);
    streamed || event.name == "Event Sync" || event.name == "Context Sync"
}

fn counted(events: &[Plain], definition: Definition) -> Vec<&Plain> {
    let events: Vec<&Plain> = events.iter().filter(|event| event.category != "Trace").collect();
    let steps: HashSet<&str> = events
        .iter()
        .filter(|event| event.name.contains(STEP))
        .map(|event| event.name.as_str())
        .collect();
    // With one step or none nothing is left out.
    let filters = definition.needs_call && steps.len() > 1;
    let last_step = events
        .iter()
        .filter(|event| !is_work(event) && event.name.contains(STEP))
        .map(|event| event.start)
        .max();
    let called = |event: &Plain| {
        !definition.drops_last_step || last_step.is_none_or(|last| event.start < last)
    };
    // They compare ids with one another where there is none, too: -1 with -1.
    let calls: HashSet<i64> = events
        .iter()
        .filter(|event| !is_work(event) && called(event))
        .map(|event| event.correlation.unwrap_or(-1))
        .collect();
    events
        .into_iter()
        .filter(|event| {
            if !definition.any_stream && !ran(event) {
                return false;
            }
            let kept = if is_work(event) {
                calls.contains(&event.correlation.unwrap_or(-1))
            } else {
                called(event)
            };
            event.stream.unwrap_or(-1) != -1 && (kept || !filters)
        })
        .collect()
}

/// Ran on a device.
fn ran(event: &Plain) -> bool {
    matches!(event.category.as_str(), "kernel" | "gpu_memcpy" | "gpu_memset")
}

fn what(event: &Plain, definition: Definition, communicates: impl Fn(&str) -> bool) -> What {
    let name = event.name.as_str();
    if !definition.by_name {
        return match event.category.as_str() {
            "kernel" if communicates(name) => What::Communication,
            "gpu_memcpy" | "gpu_memset" => What::Copy,
            _ => What::Computation,
        };
    }
    let is_nccl = name.starts_with("nccl") && name.contains("Kernel");
    let no_compute = name.contains("Memcpy") || name.starts_with("Memset") || name.contains("Sync");
    if is_nccl {
        What::Communication
    } else if no_compute || name.starts_with("dma") {
        What::Copy
    } else {
        What::Computation
    }
}

/// Intervals that touch become one. As theirs, it takes an interval that ends before it starts as
/// it is: it shortens the sum.
fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by_key(|interval| interval.0);
    let mut merged: Vec<Interval> = Vec::new();
    let mut reached = i64::MIN;
    for (start, end) in intervals {
        match merged.last_mut() {
            Some(last) if start <= reached => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
        reached = reached.max(end);
    }
    merged
}

fn length(merged: &[Interval]) -> i64 {
    merged.iter().map(|(start, end)| end - start).sum()
}

/// How long both run.
fn common(first: &[Interval], second: &[Interval]) -> i64 {
    let (mut left, mut right) = (0, 0);
    let mut sum = 0;
    while left < first.len() && right < second.len() {
        let (a, b) = (first[left], second[right]);
        sum += (a.1.min(b.1) - a.0.max(b.0)).max(0);
        if a.1 < b.1 { left += 1 } else { right += 1 }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(category: &str, name: &str, times: Interval, stream: i64, correlation: i64) -> Plain {
        Plain {
            category: category.to_owned(),
            name: name.to_owned(),
            start: times.0,
            end: times.1,
            stream: (stream >= 0).then_some(stream),
            correlation: Some(correlation),
        }
    }

    #[test]
    fn each_point_makes_its_difference() {
        let events = [
            event("user_annotation", "ProfilerStep#1", (0, 50_000), -1, -1),
            event("user_annotation", "ProfilerStep#2", (50_000, 90_000), -1, -1),
            event("cuda_runtime", "cudaLaunchKernel", (1_000, 2_000), -1, 1),
            event("cuda_runtime", "cudaLaunchKernel", (51_000, 52_000), -1, 2),
            event("kernel", "gemm", (10_400, 20_600), 7, 1),
            event("kernel", "multimem_all_reduce", (60_000, 70_000), 7, 2),
            // Its call is not in the trace.
            event("kernel", "gemm", (30_000, 31_000), 7, 3),
            event("cuda_sync", "Stream Sync", (80_000, 90_000), 7, 2),
        ];
        let check = |definition, expected: [i64; 4]| {
            let times = times(&events, definition, |name| name.contains("all_reduce"));
            let found = [times.window, times.idle, times.compute, times.communication];
            assert_eq!(found, expected, "{definition:?}");
        };
        let theirs = Definition::THEIRS;
        check(theirs, [9_000, 0, 9_000, 0]);
        check(Definition { rounds: false, ..theirs }, [10_200, 0, 10_200, 0]);
        // The wait counts, but is no computation.
        check(Definition::THEIRS_AT_BEST, [79_600, 49_400, 20_200, 0]);
        let with_calls = Definition { needs_call: false, ..Definition::THEIRS_AT_BEST };
        check(with_calls, [79_600, 48_400, 21_200, 0]);
        check(Definition { any_stream: false, ..with_calls }, [59_600, 38_400, 21_200, 0]);
        check(Definition::OURS, [59_600, 38_400, 11_200, 10_000]);
    }

    #[test]
    fn rounding_is_inwards_and_may_turn_around() {
        assert_eq!((round_up(1), round_up(1000), round_up(1001)), (1000, 1000, 2000));
        assert_eq!(length(&merged(vec![(2_000, 1_000), (5_000, 9_000)])), 3_000);
    }
}
