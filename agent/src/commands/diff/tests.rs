//! From inputs to findings: windows of a pipeline, a planted change, and every word as text.

use analysis::compare::{Amount, Level, Subject};
use analysis::event::{
    DeviceInfo, Event, Launch, LaunchKind, Mark, ProcessInfo, Sync, SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, DeviceKey, Ns, ProcessKey};

use super::*;
use crate::commands::findings::Severity;
use crate::output::fixture;
use crate::pipeline::{Input, Pipeline};

const MS: u64 = 1_000_000;
const ARMED: u64 = 1_000 * MS;
const PROCESS: ProcessKey = ProcessKey(0);
const NAMES: [&str; 3] = [
    "void flash::flash_fwd_kernel<64>(flash::Params)",
    "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN",
    "void vllm::rms_norm_kernel<c10::Half>(c10::Half*)",
];

/// Small, deterministic unrest, 0 to 255.
fn unrest(seed: u64, step: u64) -> u64 {
    let mixed = (seed * 1_000_003 + step).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56
}

/// `seconds` of a worker that runs a step of three kernels every 10 ms; the gemm takes 4 ms and
/// a thousandth more for each of `longer`.
fn served(seed: u64, seconds: u64, longer: u64) -> Pipeline {
    fed(Pipeline::marked(), seed, seconds, longer)
}

fn fed(mut pipeline: Pipeline, seed: u64, seconds: u64, longer: u64) -> Pipeline {
    pipeline.cut_windows();
    let info = DeviceInfo { index: 0, uuid: Some("SIM-0".to_owned()), simulated: true };
    let process = ProcessInfo { pid: 7, title: "worker".to_owned(), ..ProcessInfo::default() };
    pipeline.feed(Input::Device { device: DeviceKey(0), info });
    pipeline.feed(Input::Process { process: PROCESS, info: process });
    pipeline.feed(Input::Ordinal { process: PROCESS, ordinal: 0, device: DeviceKey(0) });
    for (id, name) in (1..).zip(NAMES) {
        pipeline.feed(Input::Name { process: PROCESS, id, name: name.to_owned() });
    }
    let mut feed = |event: Event| pipeline.feed(Input::Foreign(event));
    feed(Event::Sync(Sync {
        process: PROCESS,
        context: 1,
        scope: SyncScope::Context,
        enter: Ns(ARMED),
        exit: Ns(ARMED),
        thread: 0,
        succeeded: true,
    }));
    let mut correlation = 1;
    for step in 0..seconds * 100 {
        let begin = ARMED + step * 10 * MS;
        let mut at = begin;
        for (name, duration) in [(1, 2_000), (2, 4_000 + 4 * longer), (3, 500)] {
            let start = at + 10_000;
            let end =
                start + duration * (950 + unrest(seed, step * 3 + u64::from(name)) * 100 / 255);
            let correlated = Correlation(correlation);
            feed(Event::Launch(Launch {
                process: PROCESS,
                correlation: correlated,
                kind: LaunchKind::Kernel,
                enter: Ns(at),
                exit: None,
                thread: 0,
                function: 0,
                sampled: None,
            }));
            feed(Event::Work(Work {
                process: PROCESS,
                ordinal: 0,
                context: 1,
                stream: 7,
                correlation: correlated,
                graph: 0,
                graph_node: 0,
                source_node: 0,
                grid_x: 0,
                start: Ns(start),
                end: Ns(end),
                kind: WorkKind::Kernel { name },
            }));
            correlation += 1;
            at = end;
        }
        if step % 10 == 9 {
            feed(Event::Mark(Mark {
                process: PROCESS,
                flush: Ns(begin + 10 * MS),
                armed: Ns(ARMED),
                lost: 0,
                last: step + 1 == seconds * 100,
            }));
        }
    }
    pipeline
}

fn observation(name: &str, pipeline: Pipeline) -> Observation {
    let (capture, windows) = pipeline.finish_windows();
    let document = Document::of(&capture);
    let side = Side { whole: figures::of(&document), windows };
    Observation { name: name.to_owned(), document, side, capture: None }
}

fn significant(difference: &Difference, level: Level) -> Vec<&str> {
    let changes = difference.comparison.changes.iter();
    changes
        .filter(|change| change.subject.level == level && change.significant())
        .map(|change| &*change.subject.name)
        .collect()
}

#[test]
fn a_document_has_the_figures_of_its_report() {
    let capture = fixture::capture();
    let from_report = Figures::of(&capture.report, |id| {
        Some(capture.report.names[usize::try_from(id.0).unwrap()].as_str().into())
    });
    assert_eq!(figures::of(&Document::of(&capture)), from_report);
}

#[test]
fn windows_are_parts_of_the_whole() {
    check_windows(fed(Pipeline::marked(), 1, 20, 0));
}

#[test]
fn traces_have_windows_too() {
    check_windows(fed(Pipeline::whole(), 1, 20, 0));
}

#[test]
fn a_device_that_ended_early_does_not_end_the_windows() {
    let mut pipeline = Pipeline::marked();
    let process = ProcessKey(1);
    let info = DeviceInfo { index: 1, uuid: Some("SIM-1".to_owned()), simulated: true };
    pipeline.feed(Input::Device { device: DeviceKey(1), info });
    pipeline.feed(Input::Process { process, info: ProcessInfo::default() });
    pipeline.feed(Input::Ordinal { process, ordinal: 0, device: DeviceKey(1) });
    let (flush, armed) = (Ns(ARMED + 100 * MS), Ns(ARMED));
    let mark = Mark { process, flush, armed, lost: 0, last: true };
    pipeline.feed(Input::Foreign(Event::Mark(mark)));
    check_windows(fed(pipeline, 1, 20, 0));
}

fn check_windows(pipeline: Pipeline) {
    let observation = observation("it", pipeline);
    let windows = &observation.side.windows;
    assert!((64..=128).contains(&windows.len()), "{} windows", windows.len());
    let whole = &observation.side.whole;
    let wall: u64 = windows.iter().map(|window| window.wall).sum();
    assert!(wall <= whole.wall && wall >= whole.wall * 97 / 100, "{wall} of {}", whole.wall);
    let gemm = Subject::new(Level::Kernel, NAMES[1]);
    let sum = windows.iter().fold(Amount::default(), |sum, window| {
        let amount = window.amount(&gemm);
        Amount { count: sum.count + amount.count, time: sum.time + amount.time }
    });
    let all = whole.amount(&gemm);
    assert!(sum.count <= all.count && sum.count >= all.count * 97 / 100, "{sum:?} of {all:?}");
    for window in windows {
        let classes = window.amounts.iter().filter(|(subject, _)| subject.level == Level::Class);
        let split: u64 = classes.map(|(_, amount)| amount.time).sum();
        assert_eq!(split + window.unobserved, window.wall, "each window is split whole");
    }
}

#[test]
fn two_recordings_of_the_same_do_not_differ() {
    let difference =
        Difference::of(observation("a", served(1, 20, 0)), observation("b", served(2, 20, 0)));
    assert!(difference.comparison.tested);
    for level in Level::ALL {
        assert_eq!(significant(&difference, level), [""; 0], "{level:?}");
    }
    assert_eq!(difference.verdict(), "SIMULATED: nothing changed by more than chance");
}

#[test]
fn a_kernel_five_per_cent_longer_is_a_finding() {
    let difference =
        Difference::of(observation("a", served(1, 20, 0)), observation("b", served(2, 20, 50)));
    assert_eq!(significant(&difference, Level::Kernel), [NAMES[1]]);
    let finding = &difference.findings[0];
    assert_eq!(finding.severity, Severity::Warning, "{:?}", difference.findings);
    assert!(finding.text.contains("take 5.") || finding.text.contains("take 4."), "{finding:?}");
    let table = table::render(&difference, 20);
    let row = table.lines().find(|line| line.ends_with(NAMES[1])).unwrap();
    assert!(row.starts_with('*'), "{row}");
}

#[test]
fn ranks_are_joined_window_by_window() {
    let window = |time| {
        let mut figures = Figures::default();
        figures.add_wall(10, 0);
        figures.add(Subject::new(Level::Class, "gemm"), Amount { count: 0, time });
        figures
    };
    let joined = side_by_side(vec![window(1), window(2), window(3)], &[window(4), window(5)]);
    let gemm = Subject::new(Level::Class, "gemm");
    let times: Vec<u64> = joined.iter().map(|window| window.amount(&gemm).time).collect();
    assert_eq!((times, joined[0].wall), (vec![5, 7], 20));
}

/// 60 windows that differ a little, from shares in ppm of 1 s; `(level, name, count, ppm)`.
fn made(name: &str, seed: u64, parts: &[(Level, &str, u64, u64)]) -> Observation {
    let windows: Vec<Figures> = (0..60)
        .map(|window| {
            let mut figures = Figures::default();
            figures.add_wall(1_000 * MS, 0);
            for (place, &(level, name, count, ppm)) in (0..).zip(parts) {
                let wiggle = 980 + unrest(seed, window * 100 + place) * 40 / 255;
                let amount = Amount { count, time: ppm * wiggle };
                match level {
                    Level::Steps => figures.add_steps(name, amount),
                    _ => figures.add(Subject::new(level, name), amount),
                }
            }
            figures
        })
        .collect();
    let mut whole = Figures::default();
    for window in &windows {
        whole.join(window);
    }
    let mut document = Document { simulated: true, ..Document::default() };
    document.devices.resize(2, json::Device::default());
    Observation { name: name.to_owned(), document, side: Side { whole, windows }, capture: None }
}

fn worse() -> Difference {
    let before = made(
        "monday",
        1,
        &[
            (Level::Class, "gemm", 0, 500_000),
            (Level::Class, "communication", 0, 100_000),
            (Level::Class, "idle", 0, 400_000),
            (Level::IdleCause, "host_bound", 0, 100_000),
            (Level::IdleCause, "no_requests", 0, 300_000),
            (Level::Kind, "gemm/dense", 0, 500_000),
            (Level::Gaps, "idle gaps", 200, 400_000),
            (Level::Steps, "decode", 50, 900_000),
            (Level::Kernel, "gemm_a", 1_000, 300_000),
            (Level::Kernel, "gemm_b", 1_000, 200_000),
            (Level::Kernel, "tiny", 10, 20),
        ],
    );
    let after = made(
        "tuesday",
        2,
        &[
            (Level::Class, "gemm", 0, 515_000),
            (Level::Class, "communication", 0, 102_000),
            (Level::Class, "idle", 0, 383_000),
            (Level::IdleCause, "host_bound", 0, 163_000),
            (Level::IdleCause, "no_requests", 0, 220_000),
            (Level::Kind, "gemm/dense", 0, 515_000),
            (Level::Gaps, "idle gaps", 200, 383_000),
            (Level::Steps, "decode", 50, 945_000),
            (Level::Kernel, "gemm_a", 1_000, 315_000),
            (Level::Kernel, "gemm_c", 1_000, 200_000),
            (Level::Kernel, "tiny", 10, 60),
        ],
    );
    Difference::of(before, after)
}

#[test]
fn everything_as_text() {
    let difference = worse();
    let last = summary::last_line(&difference.verdict(), "warplens gaps tuesday");
    insta::assert_snapshot!(format!("{}{last}", table::render(&difference, 20)));
}

#[test]
fn everything_as_json() {
    let difference = worse();
    let json = serde_json::to_value(body::Body::of(&difference)).unwrap();
    let change = |name: &str| {
        let changes = json["changes"].as_array().unwrap();
        changes.iter().find(|change| change["name"] == name).unwrap().clone()
    };
    assert_eq!(json["schema"], "warplens.diff/v1");
    assert_eq!(change("gemm_b")["presence"], "gone");
    assert_eq!(change("gemm_c")["presence"], "new");
    assert_eq!(change("gemm_a")["mean_ns"]["test"]["significant"], true);
    assert_eq!(change("tiny")["share"]["test"]["reason"], "negligible");
    assert_eq!(change("gemm_c")["mean_ns"]["test"]["reason"], "rare");
    assert_eq!(json["findings"][0]["severity"], "critical");
    assert_eq!(json["before"]["windows"], 60);
}

#[test]
fn getting_better_is_no_finding() {
    let worse = worse();
    let better = Difference::of(worse.after, worse.before);
    let grave = better.findings.iter().filter(|finding| finding.severity > Severity::Info);
    assert_eq!(grave.count(), 0, "{:?}", better.findings);
    assert!(better.findings[0].text.contains("changed by more than chance"));
}

#[test]
fn sums_alone_are_compared_and_not_judged() {
    let mut difference = worse();
    difference.before.side.windows.clear();
    let difference = Difference::of(difference.before, difference.after);
    let text = table::render(&difference, 20);
    assert!(text.contains("sums only"), "{text}");
    assert!(text.lines().all(|line| !line.starts_with('*')), "{text}");
    assert!(difference.verdict().contains("was not tested: it takes 8 windows"));
}

#[test]
fn an_empty_side_is_told_first() {
    let mut difference = worse();
    difference.after.side = Side::default();
    difference.after.document = Document::default();
    let difference = Difference::of(difference.before, difference.after);
    assert_eq!(difference.findings[0].severity, Severity::Critical);
    assert_eq!(difference.verdict(), "SIMULATED: tuesday has no GPU time: nothing can be compared");
}

#[test]
fn a_simulated_side_cannot_be_compared_with_a_real_one() {
    let mut difference = worse();
    difference.after.document.simulated = false;
    let difference = Difference::of(difference.before, difference.after);
    assert_eq!(difference.findings[0].severity, Severity::Critical);
    assert!(difference.verdict().contains("one side is simulated"));
}
