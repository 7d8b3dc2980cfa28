//! What the recorder gives back against what was put in, by the session's own reading of it.

use std::time::Duration;

use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, Ns, ProcessKey};
use analysis::report::{KernelTotal, UnobservedReason};
use proptest::prelude::*;
use wire::kernel::{WaitEvent, event_kind};
use wire::shim::{
    KernelRecord, LaunchRecord, MARK_ARMED, MarkRecord, Payload, SYNC_CONTEXT, SyncRecord,
    record_kind,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;
use crate::capture::Capture;
use crate::pipeline::{Input, Pipeline, Start};

const MS: u64 = 1_000_000;
/// Between two rounds, and between two marks.
const ROUND: u64 = 100 * MS;
const ARMED: u64 = 1_000_000 * MS;
const PID: u32 = 4242;
const NAMES: u32 = 7;

fn payload(record: &(impl IntoBytes + Immutable)) -> Payload {
    Payload::read_from_bytes(record.as_bytes()).unwrap()
}

/// A kernel that ran, and the round in which its record came.
#[derive(Clone, Copy, Debug)]
struct Ran {
    correlation: u32,
    stream: u32,
    enter: u64,
    start: u64,
    end: u64,
    round: u64,
}

/// A worker whose every instant is known.
struct Worker {
    seed: u64,
    process: ProcessKey,
    ran: Vec<Ran>,
    free: [u64; 2],
    correlation: u32,
    round: u64,
    /// Not launched yet, and without their record yet.
    untold: Vec<Ran>,
    waiting: Vec<Ran>,
}

impl Worker {
    fn new(process: u32, seed: u64) -> Self {
        Self {
            seed: seed | 1,
            process: ProcessKey(process),
            ran: Vec::new(),
            free: [ARMED; 2],
            correlation: 0,
            round: 0,
            untold: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn introduce(&self) -> Vec<Input> {
        let process = self.process;
        let device = DeviceKey(process.0);
        let mut inputs = vec![
            Input::Process {
                process,
                info: ProcessInfo {
                    pid: PID + process.0,
                    title: "w".to_owned(),
                    ..ProcessInfo::default()
                },
            },
            Input::Attached { process, at: Ns(ARMED - MS) },
            Input::Device {
                device,
                info: DeviceInfo {
                    index: process.0,
                    uuid: Some(format!("SIM-{}", process.0)),
                    simulated: true,
                },
            },
            Input::Ordinal { process, ordinal: 0, device },
        ];
        inputs.extend((1..=NAMES).map(|id| Input::Name {
            process,
            id,
            name: format!("gemm_kernel_{id}"),
        }));
        inputs
    }

    fn now(&self) -> u64 {
        ARMED + self.round * ROUND
    }

    /// What its ring holds after another round; records may come up to two marks late.
    fn next(&mut self) -> Input {
        self.round += 1;
        let now = self.now();
        let mut payloads = Vec::new();
        if self.round == 1 {
            payloads.push(sync(ARMED + 10, ARMED + 20));
        }
        let before = now - ROUND;
        while self.free.iter().any(|&free| free < now) {
            let stream = usize::from(self.free[0] > self.free[1]);
            let enter = self.free[stream].max(before) + 1 + self.random(2 * MS);
            let start = enter + 1 + self.random(MS);
            let end = start + 1 + self.random(4 * MS);
            self.correlation += 1;
            let lateness = self.random(20) / 18;
            let ran = Ran {
                correlation: self.correlation,
                stream: u32::try_from(stream).unwrap(),
                enter,
                start,
                end,
                round: (end - ARMED).div_ceil(ROUND) + lateness,
            };
            self.free[stream] = ran.end;
            self.untold.push(ran);
            self.ran.push(ran);
        }
        // A launch is written at its entry, so with the first round after it.
        let told = |ran: &Ran| ran.enter <= now;
        let (told, untold): (Vec<Ran>, Vec<Ran>) =
            std::mem::take(&mut self.untold).into_iter().partition(told);
        self.untold = untold;
        payloads.extend(told.iter().map(launch));
        self.waiting.extend(told);
        let round = self.round;
        let (due, waiting): (Vec<Ran>, Vec<Ran>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|ran| ran.round <= round);
        self.waiting = waiting;
        payloads.extend(due.iter().map(kernel));
        payloads.push(mark(now));
        Input::Records { process: self.process, payloads }
    }
}

fn launch(ran: &Ran) -> Payload {
    payload(&LaunchRecord {
        kind: record_kind::LAUNCH,
        producer: 0,
        flags: 0,
        enter_ns: ran.enter,
        function: 0x77,
        thread: 1,
        weight: 1,
        correlation: ran.correlation,
        callback: 0,
        context: 1,
        reserved: 0,
        reserved2: 0,
    })
}

fn kernel(ran: &Ran) -> Payload {
    payload(&KernelRecord {
        kind: record_kind::KERNEL,
        producer: 1,
        flags: 0,
        start_ns: ran.start,
        end_ns: ran.end,
        graph_node: 0,
        correlation: ran.correlation,
        name: 1 + ran.correlation % NAMES,
        stream: 7 + ran.stream,
        graph: 0,
        device: 0,
        grid_x: 1,
        context: 1,
    })
}

fn sync(enter_ns: u64, exit_ns: u64) -> Payload {
    payload(&SyncRecord {
        kind: record_kind::SYNC,
        producer: 0,
        flags: SYNC_CONTEXT,
        enter_ns,
        exit_ns,
        handle: 0,
        correlation: 9_999,
        callback: 0,
        thread: 1,
        context: 1,
        result: 0,
        reserved: 0,
    })
}

fn mark(flush_ns: u64) -> Payload {
    payload(&MarkRecord {
        kind: record_kind::MARK,
        producer: 2,
        flags: MARK_ARMED,
        flush_ns,
        armed_ns: ARMED,
        lost: 0,
        cupti_dropped: 0,
        launches: 0,
        reserved: 0,
    })
}

fn start() -> Input {
    Input::Start(Start {
        command: "agent".to_owned(),
        source: "node".to_owned(),
        started_unix: None,
        cpu_hz: 0,
        memory_step_ns: 0,
    })
}

fn read(snapshot: &Snapshot) -> Capture {
    let mut pipeline = Pipeline::marked();
    let ended: Result<(), UnpackError> = snapshot.inputs(Some(1_000), |input| {
        pipeline.feed(input);
        Ok(())
    });
    ended.unwrap();
    pipeline.finish()
}

/// Length of the union of what ran, clipped to `[from, to)`.
fn busy(ran: &[Ran], from: u64, to: u64) -> u64 {
    let clipped = ran.iter().map(|ran| (ran.start.max(from), ran.end.min(to)));
    let mut pieces: Vec<(u64, u64)> = clipped.filter(|(start, end)| start < end).collect();
    pieces.sort_unstable();
    let (mut sum, mut until) = (0, from);
    for (start, end) in pieces {
        sum += end.max(until) - start.max(until);
        until = until.max(end);
    }
    sum
}

/// Every figure of the window is that of the worker, and nothing unseen is called idle.
fn assert_exact(capture: &Capture, worker: &Worker, begin: u64) {
    let index = worker.process.0;
    let device = capture.report.devices.iter().find(|device| device.info.index == index).unwrap();
    let (from, to) = (device.window.start.0, device.window.end.0);
    assert!(from >= begin && to > from, "window [{from}, {to}), asked from {begin}");
    let within = |ran: &&Ran| ran.start < to && ran.end > from;
    assert_eq!(device.kernels, worker.ran.iter().filter(within).count() as u64);
    let spent = busy(&worker.ran, from, to);
    assert_eq!(device.exclusive.gemm, spent);
    assert_eq!(device.exclusive.idle + device.exclusive.unobserved, to - from - spent);
    // Only the head may be unobserved, until it is proven that what was launched before is gone.
    let arming = device.unobserved.get(&UnobservedReason::Arming).copied().unwrap_or(0);
    assert_eq!(device.exclusive.unobserved, arming);
    assert!(arming < 100 * MS, "{arming}");
    let name = |total: &KernelTotal| &capture.report.names[total.name.0 as usize];
    let named = device.totals.iter().filter(|total| name(total).starts_with("gemm_kernel_"));
    assert_eq!(named.map(|total| total.count).sum::<u64>(), device.kernels);
}

/// Feeds a recorder with these workers for so many rounds, the later ones entering halfway.
fn fly(recorder: &mut Recorder, workers: &mut [Worker], rounds: u64) {
    recorder.take(&start(), Ns(ARMED));
    for round in 0..rounds {
        let now = Ns(ARMED + (round + 1) * ROUND + MS);
        for (number, worker) in workers.iter_mut().enumerate() {
            let enters = if number == 0 { 0 } else { rounds / 2 };
            if round == enters {
                worker.introduce().iter().for_each(|input| recorder.take(input, now));
            }
            let records = worker.next();
            if round >= enters {
                recorder.take(&records, now);
            }
        }
        recorder.turn(now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_window_is_exact_wherever_it_is_cut(
        seed in any::<u64>(),
        rounds in 15_u64..120,
        age in 2_u64..6,
    ) {
        let mut recorder = Recorder::new(limits(Duration::from_secs(age), 64 << 20));
        let mut workers = [Worker::new(0, seed)];
        fly(&mut recorder, &mut workers, rounds);
        let now = Ns(ARMED + rounds * ROUND + 2 * MS);
        let snapshot = recorder.snapshot(now);
        let reach = now.0 - snapshot.begin().0;
        let most = (age + 2) * 1_000 * MS;
        prop_assert!(reach >= (rounds * ROUND).min(age * 1_000 * MS) && reach <= most, "{reach}");
        assert_exact(&read(&snapshot), &workers[0], snapshot.begin().0.max(ARMED));
    }

    /// Bytes decide: the window is shorter, and as exact.
    #[test]
    fn a_window_that_found_no_room_is_exact(seed in any::<u64>(), bytes in 30_000_usize..100_000) {
        let mut recorder = Recorder::new(limits(Duration::from_mins(1), bytes));
        let mut workers = [Worker::new(0, seed)];
        fly(&mut recorder, &mut workers, 200);
        let now = Ns(ARMED + 200 * ROUND + 2 * MS);
        let snapshot = recorder.snapshot(now);
        prop_assert!(snapshot.stats().ring_bytes <= bytes as u64);
        prop_assert!(snapshot.stats().cut_by_size > 0);
        let capture = read(&snapshot);
        prop_assert!(capture.info.notes.iter().any(|note| note.contains("flight.bytes")));
        let reach = snapshot.stats().reach_ns;
        prop_assert!((1_500 * MS..15_000 * MS).contains(&reach), "{reach}");
        assert_exact(&capture, &workers[0], snapshot.begin().0);
    }
}

#[test]
fn a_worker_that_came_within_the_window_is_there_from_its_start() {
    let mut recorder = Recorder::new(limits(Duration::from_secs(5), 64 << 20));
    let mut workers = [Worker::new(0, 1), Worker::new(1, 2)];
    fly(&mut recorder, &mut workers, 80);
    let snapshot = recorder.snapshot(Ns(ARMED + 80 * ROUND + 2 * MS));
    let capture = read(&snapshot);
    assert_eq!(capture.report.devices.len(), 2);
    assert_exact(&capture, &workers[0], snapshot.begin().0);
    // The second was attached when it had run for long; its ring's backlog was not kept for it.
    let second = &capture.report.devices[1];
    assert!(second.window.start.0 >= ARMED && second.kernels > 0);
    assert_eq!(capture.info.command, "dump");
    assert_eq!(
        capture.info.started_unix,
        Some(1_000 - (snapshot.taken().0 - snapshot.begin().0) / 1_000_000_000)
    );
}

#[test]
fn an_ended_worker_stays_as_long_as_its_records_and_no_longer() {
    let mut recorder = Recorder::new(limits(Duration::from_secs(2), 64 << 20));
    let mut workers = [Worker::new(0, 3)];
    fly(&mut recorder, &mut workers, 40);
    let ended = ARMED + 40 * ROUND + 2 * MS;
    recorder.take(&Input::Ended { process: ProcessKey(0), at: Ns(ended) }, Ns(ended));
    recorder.turn(Ns(ended));
    let snapshot = recorder.snapshot(Ns(ended + MS));
    let device = &read(&snapshot).report.devices[0];
    let (from, to) = (device.window.start.0, device.window.end.0);
    // What had not come when it ended never came.
    let told = workers[0].ran.iter().filter(|ran| ran.round <= workers[0].round);
    assert_eq!(device.kernels, told.filter(|ran| ran.start < to && ran.end > from).count() as u64);
    assert!(device.kernels > 500 && from == snapshot.begin().0);
    // Nothing happens any more.
    recorder.turn(Ns(ended + 6_000 * MS));
    let later = recorder.snapshot(Ns(ended + 8_000 * MS));
    assert!(read(&later).report.devices.iter().all(|device| device.kernels == 0));
    assert!(!later.processes.contains_key(&ProcessKey(0)));
}

/// What was asleep before the window is told from the window's beginning on.
#[test]
fn sleeps_do_not_reach_behind_the_window() {
    let mut recorder = Recorder::new(limits(Duration::from_secs(1), 64 << 20));
    let mut workers = [Worker::new(0, 4)];
    fly(&mut recorder, &mut workers, 40);
    let now = ARMED + 40 * ROUND + 2 * MS;
    let wait = WaitEvent {
        kind: event_kind::WAIT,
        tgid: PID,
        tid: PID,
        open: 1,
        from_ns: ARMED,
        to_ns: now,
        signature: 5,
    };
    recorder.take(&Input::KernelEvent(wait.as_bytes().to_vec()), Ns(now));
    let snapshot = recorder.snapshot(Ns(now));
    let mut told = Vec::new();
    let ended: Result<(), UnpackError> = snapshot.inputs(None, |input| {
        if let Input::KernelEvent(bytes) = input {
            told.push(WaitEvent::read_from_bytes(&bytes).unwrap());
        }
        Ok(())
    });
    ended.unwrap();
    assert_eq!(told, [WaitEvent { from_ns: snapshot.begin().0, ..wait }]);
}

/// Hours of a worker: what is kept does not grow.
#[test]
fn memory_is_flat() {
    let mut recorder = Recorder::new(limits(Duration::from_secs(3), 64 << 20));
    let mut worker = Worker::new(0, 5);
    worker.introduce().iter().for_each(|input| recorder.take(input, Ns(ARMED)));
    let mut peaks = Vec::new();
    for _tenth in 0..10 {
        let mut peak = 0;
        for _round in 0..1_000 {
            let records = worker.next();
            worker.ran.clear();
            let now = Ns(worker.now() + MS);
            recorder.take(&records, now);
            recorder.turn(now);
            let stats = recorder.stats(now);
            peak = peak.max(stats.ring_bytes + stats.standing_bytes);
            assert!(stats.reach_ns <= 5_000 * MS);
        }
        peaks.push(peak);
    }
    let (first, last) = (peaks[1], peaks[9]);
    assert!(last < first + first / 10, "{peaks:?}");
}
