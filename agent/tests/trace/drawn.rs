//! Pieces made by hand, drawn and read back.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::classify::Kind;
use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, NameId, Ns, ProcessKey, StackId, Thread};
use analysis::report::{CaptureSite, IdleCause, StepPhase, UnobservedReason};
use analysis::slice::{LaunchSlice, Slice, WorkSlice};

use proptest::prelude::*;
use warplens::capture::{CaptureInfo, Frame, Language, Stack};
use warplens::output::perfetto::{Directory, Extent, Trace};
use warplens::pipeline::{CpuSample, Pieces};

use crate::viewer::{Shown, View, view};

const GPU: DeviceKey = DeviceKey(0);
const WORKER: ProcessKey = ProcessKey(4);
const STREAM: &str = "GPU 0 SIMULATED/stream 7, context 1, VLLM::Worker_TP0 (pid 42)";
const IDLE: &str = "GPU 0 SIMULATED/idle, by cause";
const UNOBSERVED: &str = "GPU 0 SIMULATED/unobserved, by reason";
const THREAD: &str = "VLLM::Worker_TP0 SIMULATED 42/thread 43";
const STEPS: &str = "VLLM::Worker_TP0 SIMULATED 42/engine steps";

/// Knows one device, one process, three names and two stacks.
struct Known {
    info: CaptureInfo,
    device: DeviceInfo,
    process: ProcessInfo,
    stacks: HashMap<StackId, (Stack, bool)>,
}

const NAMES: [&str; 3] = ["[kernel name not recorded]", "flash_fwd_kernel", "gemm \u{e9}"];

impl Known {
    fn new() -> Self {
        let frame = |name: &str| {
            Arc::new(Frame {
                language: Language::Native,
                function: name.to_owned(),
                module: None,
                file: Some("/srv/model.py".to_owned()),
                line: Some(9),
            })
        };
        let stack = |names: &[&str], cut| {
            (Stack { frames: names.iter().map(|name| frame(name)).collect(), cut }, true)
        };
        Self {
            info: CaptureInfo { simulated: true, cpu_hz: 99, ..CaptureInfo::default() },
            device: DeviceInfo { index: 0, uuid: Some("SIM-0".to_owned()), simulated: true },
            process: ProcessInfo {
                pid: 42,
                title: "VLLM::Worker_TP0".to_owned(),
                role: "worker".to_owned(),
                rank: "TP0".to_owned(),
                server: 42,
                service: analysis::event::Service::default(),
            },
            stacks: HashMap::from([
                (StackId(0), stack(&["_start", "main", "cuLaunchKernel"], false)),
                (StackId(1), stack(&["capture"], true)),
            ]),
        }
    }
}

impl Directory for Known {
    fn info(&self) -> &CaptureInfo {
        &self.info
    }

    fn device(&self, device: DeviceKey) -> Option<&DeviceInfo> {
        (device == GPU).then_some(&self.device)
    }

    fn process(&self, process: ProcessKey) -> Option<&ProcessInfo> {
        (process == WORKER).then_some(&self.process)
    }

    fn thread(&self, process: ProcessKey, thread: u32) -> Option<Thread> {
        (process == WORKER && thread == 1).then_some(Thread(43))
    }

    fn kernel_name(&self, name: NameId) -> Option<&str> {
        NAMES.get(usize::try_from(name.0).unwrap()).copied()
    }

    fn stack(&self, stack: StackId) -> Option<(Stack, bool)> {
        self.stacks.get(&stack).cloned()
    }
}

fn work(name: u32, correlation: u64, start: u64, end: u64) -> WorkSlice {
    WorkSlice {
        device: GPU,
        process: WORKER,
        context: 1,
        stream: 7,
        name: NameId(name),
        kind: if name == 1 { Kind::Generic } else { Kind::Dense },
        graph: 0,
        capture: CaptureSite::None,
        correlation,
        start: Ns(start),
        end: Ns(end),
    }
}

fn launch(correlation: u64, enter: u64, exit: Option<u64>) -> LaunchSlice {
    LaunchSlice {
        process: WORKER,
        thread: 1,
        correlation,
        enter: Ns(enter),
        exit: exit.map(Ns),
        graph: false,
        stack: None,
    }
}

fn idle(start: u64, end: u64, cause: IdleCause) -> Slice {
    Slice::Idle { device: GPU, start: Ns(start), end: Ns(end), cause }
}

fn draw(batches: Vec<Vec<Slice>>, samples: Vec<CpuSample>) -> (View, Vec<String>) {
    draw_with(batches, samples, Extent::default())
}

fn draw_with(
    batches: Vec<Vec<Slice>>,
    samples: Vec<CpuSample>,
    extent: Extent,
) -> (View, Vec<String>) {
    let known = Known::new();
    let mut trace = Trace::new(Vec::new(), "trace.pftrace", extent);
    trace.add(Pieces { slices: Vec::new(), samples }, &known);
    for slices in batches {
        trace.add(Pieces { slices, samples: Vec::new() }, &known);
    }
    let (bytes, notes) = trace.finish(&known).unwrap();
    (view(&bytes), notes)
}

fn spans<'v>(slices: impl Iterator<Item = &'v Shown>) -> Vec<(&'v str, u64, Option<u64>)> {
    slices.map(|slice| (slice.name.as_str(), slice.start, slice.end)).collect()
}

#[test]
fn a_launch_points_to_its_kernels_and_every_arrow_has_both_ends() {
    let graph = |start, end| Slice::Work(WorkSlice { graph: 3, ..work(2, 8, start, end) });
    let (view, notes) = draw(
        vec![vec![
            Slice::Work(work(1, 7, 100, 200)),
            Slice::Launch(launch(7, 50, None)),
            Slice::Launch(LaunchSlice { graph: true, ..launch(8, 60, Some(90)) }),
            graph(200, 210),
            graph(210, 230),
        ]],
        Vec::new(),
    );
    assert_eq!(notes, [""; 0]);
    let arrows = |flow: u64| -> Vec<(&str, u64)> {
        view.slices
            .iter()
            .filter(|slice| slice.flows == [flow])
            .map(|slice| (slice.name.as_str(), slice.start))
            .collect()
    };
    let flow = |correlation: u64| 5 << 40 ^ correlation;
    let mut first = arrows(flow(7));
    first.sort_by_key(|&(_, at)| at);
    assert_eq!(first, [("launch", 50), ("flash_fwd_kernel", 100)]);
    let mut second = arrows(flow(8));
    second.sort_by_key(|&(_, at)| at);
    assert_eq!(second, [("graph launch", 60), (NAMES[2], 200), (NAMES[2], 210)]);
    assert_eq!(view.slices.len(), 5, "each has an arrow");
    assert_eq!(
        spans(view.on(THREAD)),
        [("launch", 50, None), ("graph launch", 60, Some(90))],
        "without its return a launch is an instant"
    );
}

#[test]
fn a_kernel_carries_class_kind_graph_and_where_it_was_captured() {
    let with = |capture, start| {
        Slice::Work(WorkSlice { graph: 3, capture, ..work(2, 8, start, start + 1) })
    };
    let (view, _) = draw(
        vec![vec![
            Slice::Work(work(1, 0, 0, 5)),
            with(CaptureSite::Stack(StackId(1)), 10),
            with(CaptureSite::BeforeShim, 20),
            with(CaptureSite::NotTaken, 30),
            with(CaptureSite::TableFull, 40),
        ]],
        Vec::new(),
    );
    let slices: Vec<&Shown> = view.on(STREAM).collect();
    let arguments =
        |slice: &Shown| -> Vec<(String, String)> { slice.arguments.clone().into_iter().collect() };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(arguments(slices[0]), [pair("kind", Kind::Generic.as_str())]);
    assert_eq!(
        (slices[0].category.as_str(), slices[0].colour.as_deref()),
        ("attention", Some("attention"))
    );
    assert_eq!((slices[1].category.as_str(), slices[1].colour.as_deref()), ("gemm", Some("gemm")));
    assert_eq!(
        arguments(slices[1]),
        [
            pair("captured at", "capture (model.py:9)"),
            pair("correlation", "8"),
            pair("graph", "3"),
            pair("kind", "dense"),
        ]
    );
    assert_eq!(slices[1].stack, ["[cut: root not reached]", "capture (/srv/model.py:9)"]);
    let captured: Vec<&str> =
        slices[2..].iter().map(|slice| slice.arguments["captured at"].as_str()).collect();
    assert_eq!(
        captured,
        ["[captured before the shim was there]", "[capture stack not taken]", "[graph table full]"]
    );
}

#[test]
fn overlapping_kernels_of_a_stream_take_lanes_and_lose_no_time() {
    let (view, _) = draw(
        vec![vec![
            Slice::Work(work(1, 1, 0, 100)),
            Slice::Work(work(2, 2, 10, 20)),
            Slice::Work(work(2, 3, 15, 120)),
            Slice::Work(work(1, 4, 100, 110)),
            Slice::Work(work(1, 5, 100, 100)),
        ]],
        Vec::new(),
    );
    let slices: Vec<&Shown> = view.on(STREAM).collect();
    assert_eq!(slices.len(), 5);
    assert_eq!(slices.iter().map(|slice| slice.length()).sum::<u64>(), 100 + 10 + 105 + 10);
    let mut lanes: Vec<u64> = slices.iter().map(|slice| slice.uuid).collect();
    lanes.sort_unstable();
    lanes.dedup();
    assert_eq!(lanes.len(), 3, "all of one name, so that a viewer draws them as one");
}

#[test]
fn pieces_of_a_gap_are_joined_and_sum_to_it() {
    let unobserved = |start, end| Slice::Unobserved {
        device: GPU,
        start: Ns(start),
        end: Ns(end),
        reason: UnobservedReason::LostRecord,
    };
    let (view, _) = draw(
        vec![
            vec![idle(20, 30, IdleCause::HostBound), idle(10, 20, IdleCause::HostBound)],
            vec![idle(30, 35, IdleCause::HostBound), idle(35, 40, IdleCause::Sync)],
            vec![unobserved(40, 50), unobserved(50, 60), idle(70, 80, IdleCause::Sync)],
        ],
        Vec::new(),
    );
    assert_eq!(
        spans(view.on(IDLE)),
        [("host_bound", 10, Some(35)), ("sync", 35, Some(40)), ("sync", 70, Some(80))]
    );
    assert_eq!(spans(view.on(UNOBSERVED)), [("lost_record", 40, Some(60))]);
    assert!(view.on(IDLE).all(|slice| slice.category == "idle"));
}

#[test]
fn steps_show_phase_and_batch() {
    let step = |start, end, phase, batch| Slice::Step {
        process: WORKER,
        start: Ns(start),
        end: Ns(end),
        phase,
        batch,
    };
    let (view, _) = draw(
        vec![vec![step(0, 10, StepPhase::Prefill, None), step(10, 12, StepPhase::Decode, Some(8))]],
        Vec::new(),
    );
    assert_eq!(spans(view.on(STEPS)), [("prefill", 0, Some(10)), ("decode", 10, Some(12))]);
    let batches: Vec<Option<&String>> =
        view.on(STEPS).map(|slice| slice.arguments.get("batch")).collect();
    assert_eq!(batches, [None, Some(&"8".to_owned())]);
}

#[test]
fn samples_and_sampled_launches_show_their_stacks() {
    let sample =
        |at| CpuSample { process: WORKER, tid: Thread(50), cpu: 1, at: Ns(at), stack: StackId(1) };
    let with_stack = LaunchSlice { stack: Some(StackId(0)), ..launch(7, 40, Some(60)) };
    let (view, _) = draw(
        vec![vec![Slice::Launch(with_stack), Slice::Launch(launch(9, 60, Some(70)))]],
        vec![sample(55), sample(45)],
    );
    let at: Vec<(u64, u32, u32)> =
        view.samples.iter().map(|sample| (sample.at, sample.pid, sample.tid)).collect();
    assert_eq!(at, [(45, 42, 50), (55, 42, 50)]);
    assert_eq!(view.samples[0].stack, ["[cut: root not reached]", "capture (/srv/model.py:9)"]);
    let launches: Vec<&Shown> = view.on(THREAD).collect();
    assert_eq!(launches[0].stack.len(), 3, "{launches:?}");
    assert_eq!(
        launches[0].arguments["launched at"],
        "cuLaunchKernel (model.py:9) < main (model.py:9) < _start (model.py:9)"
    );
    assert_eq!(launches[1].stack, [""; 0]);
}

#[test]
fn names_that_come_late_are_shown_from_then_on() {
    let mut known = Known::new();
    let whole = known.stacks[&StackId(1)].clone();
    let unnamed = Stack {
        frames: vec![Arc::new(Frame {
            language: Language::Native,
            function: "0x40".to_owned(),
            module: None,
            file: None,
            line: None,
        })],
        cut: true,
    };
    known.stacks.insert(StackId(1), (unnamed, false));
    let mut trace = Trace::new(Vec::new(), "trace.pftrace", Extent::default());
    let captured = |start| {
        let capture = CaptureSite::Stack(StackId(1));
        let work = WorkSlice { capture, ..work(1, 1, start, start + 1) };
        Pieces { slices: vec![Slice::Work(work)], samples: Vec::new() }
    };
    trace.add(captured(0), &known);
    known.stacks.insert(StackId(1), whole);
    for start in 1..4 {
        trace.add(captured(start), &known);
    }
    let (bytes, _) = trace.finish(&known).unwrap();
    let view = view(&bytes);
    let shown: Vec<&str> =
        view.on(STREAM).map(|slice| slice.arguments["captured at"].as_str()).collect();
    let late = "capture (model.py:9)";
    assert_eq!(shown, ["0x40", late, late, late]);
}

#[test]
fn unknown_ids_are_shown_as_such() {
    let mut stray = work(77, 1, 0, 1);
    stray.device = DeviceKey(9);
    stray.process = ProcessKey(9);
    let (view, _) = draw(vec![vec![Slice::Work(stray)]], Vec::new());
    assert_eq!(
        spans(view.on("GPU number 9/stream 7, context 1")),
        [("[name unknown]", 0, Some(1))]
    );
}

#[test]
fn what_does_not_fit_is_cut_at_one_instant_and_said() {
    let kernels = (0..10).map(|n| Slice::Work(work(1, n, n * 1_000, n * 1_000 + 500))).collect();
    let late = vec![
        // Became final late; lies before the cut.
        Slice::Launch(launch(3, 2_600, None)),
        idle(9_000, 9_500, IdleCause::Sync),
    ];
    let sample =
        |at| CpuSample { process: WORKER, tid: Thread(50), cpu: 1, at: Ns(at), stack: StackId(1) };
    let samples = vec![sample(100), sample(4_100)];
    let (view, notes) =
        draw_with(vec![kernels, late], samples, Extent { pieces: 4, ..Extent::default() });
    assert_eq!(view.on(STREAM).count(), 4);
    assert_eq!(view.on(THREAD).count(), 1);
    assert_eq!(view.on(IDLE).count(), 0);
    assert_eq!(view.samples.len(), 1);
    assert_eq!(
        notes,
        [
            "trace.pftrace ends 4.0 us into the timeline, with 5 pieces: a viewer does not take more; \
          `warplens analyze RECORDING -o DIR --trace-from TIME` draws a later part"
        ]
    );
}

#[test]
fn a_part_can_be_asked_for() {
    let kernels =
        (0..10).map(|n| Slice::Work(work(1, n, 7_000 + n * 1_000, 7_500 + n * 1_000))).collect();
    let extent = Extent { from: 2_000, length: Some(3_000), ..Extent::default() };
    let (view, notes) = draw_with(vec![kernels], Vec::new(), extent);
    let starts: Vec<u64> = view.on(STREAM).map(|slice| slice.start).collect();
    assert_eq!(starts, [9_000, 10_000, 11_000]);
    assert_eq!(
        notes,
        ["trace.pftrace shows the part from 2.0 us to 5.0 us of the timeline, as asked for"]
    );
}

#[test]
fn an_empty_timeline_is_a_trace() {
    let (view, notes) = draw(Vec::new(), Vec::new());
    assert_eq!(view.slices, []);
    assert_eq!(view.tracks, [""; 0]);
    assert_eq!(notes, [""; 0]);
}

#[test]
fn many_pieces_are_written_in_blocks() {
    let kernels: Vec<Slice> =
        (0..40_000).map(|n| Slice::Work(work(1, n + 1, n * 10, n * 10 + 5))).collect();
    let batches = kernels.chunks(1_000).map(<[Slice]>::to_vec).collect();
    let (view, _) = draw(batches, Vec::new());
    assert!(view.blocks > 2, "{}", view.blocks);
    assert_eq!(view.on(STREAM).map(Shown::length).sum::<u64>(), 40_000 * 5);
}

#[test]
fn full_tables_are_said() {
    // All at once: more than a stream has lanes.
    let kernels = (1..=130).map(|n| Slice::Work(work(1, n, 10, 20))).collect();
    let sample =
        CpuSample { process: WORKER, tid: Thread(50), cpu: 1, at: Ns(5), stack: StackId(1) };
    let extent = Extent { length: Some(11), ..Extent::default() };
    let (view, notes) = draw_with(vec![kernels], vec![sample; (1 << 20) + 3], extent);
    assert_eq!(view.on(STREAM).count(), 128);
    assert_eq!(
        notes,
        [
            "trace.pftrace shows the part from 0 ns to 10 ns of the timeline, as asked for",
            "trace.pftrace: 2 pieces are not in it: the table of tracks was full",
            "trace.pftrace: 3 CPU samples are not in it: the table of those that wait for names was full",
        ]
    );
}

#[test]
fn an_error_of_the_file_is_told_at_the_end() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no space"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let known = Known::new();
    let mut trace = Trace::new(Full, "trace.pftrace", Extent::default());
    let kernels = (0..40_000).map(|n| Slice::Work(work(1, n + 1, n * 10, n * 10 + 5))).collect();
    trace.add(Pieces { slices: kernels, samples: Vec::new() }, &known);
    let error = trace.finish(&known).err().expect("a disk that is full");
    assert_eq!(error.to_string(), "no space");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// In whatever order and portions: slices of a track never overlap (the viewer sees to that),
    /// none is lost, and none changes its length.
    #[test]
    fn any_order_is_drawn_whole(
        batches in prop::collection::vec(
            prop::collection::vec((0_u64..40, 0_u64..6, 0_u8..4), 0..30), 0..5),
        shift in prop::sample::select(vec![0, 1 << 40, u64::MAX - 100]),
    ) {
        let slice = |&(start, length, kind): &(u64, u64, u8)| {
            let (start, end) = (shift + start, shift + start + length);
            match kind {
                0 => Slice::Launch(launch(1, start, Some(end))),
                1 => Slice::Launch(launch(2, start, None)),
                2 => idle(start, end, IdleCause::Sync),
                _ => Slice::Work(work(1, 1, start, end)),
            }
        };
        let drawn = batches.iter().map(|batch| batch.iter().map(slice).collect()).collect();
        let (view, notes) = draw(drawn, Vec::new());
        prop_assert_eq!(notes, Vec::<String>::new());
        let pieces = || batches.iter().flatten();
        let of = |wanted: u8| pieces().filter(move |(.., kind)| *kind == wanted);
        prop_assert_eq!(view.on(STREAM).count(), of(3).count());
        let sum = |wanted: u8| of(wanted).map(|(_, length, _)| length).sum::<u64>();
        let shown = |track: &str| {
            let slices = view.slices.iter().filter(|slice| slice.track.starts_with(track));
            slices.map(Shown::length).sum::<u64>()
        };
        prop_assert_eq!(shown(STREAM), sum(3));
        prop_assert_eq!(shown(IDLE), sum(2));
        prop_assert_eq!(shown(THREAD), sum(0));
        let launches = view.slices.iter().filter(|slice| slice.track.starts_with(THREAD)).count();
        prop_assert_eq!(launches, of(0).count() + of(1).count());
    }
}
