//! Activity records: contents, order, flushes, buffers, scenarios. Contents are compared with the truth.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sim_truth::{Joined, Outcome, Truth, WorkKind};

use crate::collect::{self, Record};
use crate::gpu;

const KERNEL: u32 = 10;
const MEMCPY: u32 = 1;
const MEMSET: u32 = 2;

/// This process's truth, once it is written.
fn truth() -> Truth {
    std::thread::sleep(Duration::from_millis(250));
    let folder = PathBuf::from(std::env::var("WARPLENS_SIM_TRUTH").expect("the test sets it"));
    let file = folder.join(format!("{}.truth", std::process::id()));
    Truth::read(&file).expect("a readable truth file")
}

/// What both sides say of a piece of work, for comparison as a whole.
type Row = (u32, u64, u64, u32, u32, u32, u32, String, u32, u64, u64);

fn seen_row(record: &Record) -> Row {
    (
        record.kind,
        record.start,
        record.end,
        record.device,
        record.context,
        record.stream,
        record.correlation,
        record.name.clone(),
        record.graph,
        record.node,
        record.bytes,
    )
}

fn true_row(truth: &Truth, joined: &Joined<'_>) -> Row {
    let work = joined.work;
    let settled = joined.settled.expect("settled");
    let (start, end) = if settled.outcome == Outcome::Zeroed {
        (0, 0)
    } else {
        let clock = |time: u64| time.saturating_add_signed(settled.clock_offset);
        (clock(work.start_ns), clock(work.end_ns))
    };
    let kind = match work.kind {
        WorkKind::Kernel => KERNEL,
        WorkKind::Copy => MEMCPY,
        WorkKind::Set => MEMSET,
    };
    let name = truth.names.get(&work.name).cloned().unwrap_or_default();
    let place = (work.device, work.context, work.stream);
    (
        kind,
        start,
        end,
        place.0,
        place.1,
        place.2,
        work.correlation,
        name,
        work.graph,
        work.graph_node,
        work.bytes,
    )
}

fn assert_records_equal_truth(records: &[Record], truth: &Truth) {
    let mut seen: Vec<Row> = records.iter().map(seen_row).collect();
    let delivered = |joined: &Joined<'_>| {
        matches!(joined.outcome(), Some(Outcome::Delivered | Outcome::Zeroed))
    };
    let mut expected: Vec<Row> =
        truth.joined().filter(delivered).map(|joined| true_row(truth, &joined)).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

/// Some kernels, copies and sets on a few streams.
fn work(launches: usize) {
    let driver = gpu::driver();
    let streams: Vec<usize> = (0..4).map(|_| gpu::stream(&driver)).collect();
    let kernels = ["gemm__sim5000", "void attention<T>(int)__sim90000", "norm__sim1000"];
    let kernels: Vec<usize> = kernels.iter().map(|name| gpu::kernel(name)).collect();
    let mut memory = 0;
    assert_eq!((driver.cuMemAlloc_v2)(&mut memory, 1 << 20), 0);
    for round in 0..launches {
        let stream = streams[round % streams.len()];
        match round % 5 {
            0..=2 => assert_eq!(gpu::launch(&driver, kernels[round % 3], stream), 0),
            3 => assert_eq!((driver.cuMemsetD8Async)(memory, 1, 4096, stream), 0),
            _ => assert_eq!((driver.cuMemcpyDtoDAsync_v2)(memory, memory + 8192, 4096, stream), 0),
        }
    }
    assert_eq!((driver.cuCtxSynchronize)(), 0);
}

/// Every record says what the truth says, streams keep their order, devices do not.
pub(crate) fn records() {
    gpu::start();
    let cupti = collect::record(&[KERNEL, MEMCPY, MEMSET]);
    work(2000);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let records = collect::take().records;
    assert_eq!(records.len(), 2000);
    assert_records_equal_truth(&records, &truth());
    let mut last: HashMap<u32, u64> = HashMap::new();
    for record in &records {
        let before = last.insert(record.stream, record.start).unwrap_or(0);
        assert!(before < record.start, "stream {} out of order", record.stream);
    }
    assert!(
        records.windows(2).any(|pair| pair[1].start < pair[0].start),
        "nothing came out of order across streams"
    );
}

/// A flush brings what has ended; a forced one the rest, without an end.
pub(crate) fn flush() {
    let driver = gpu::driver();
    let stream = gpu::stream(&driver);
    let cupti = collect::record(&[KERNEL]);
    assert_eq!(gpu::launch(&driver, gpu::kernel("short__sim1000"), stream), 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    let long = gpu::kernel("long__sim400000000");
    assert_eq!(gpu::launch(&driver, long, stream), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let first = collect::take().records;
    assert_eq!(first.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["short"]);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((cupti.cuptiActivityFlushAll)(1), 0);
    let second = collect::take().records;
    assert_eq!(second.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["long"]);
    assert!(second[0].start > 0, "it was running");
    assert_eq!(second[0].end, 0);
    assert_eq!((driver.cuStreamSynchronize)(stream), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    assert!(collect::take().records.is_empty(), "it came already");
    let outcomes: Vec<_> = truth().joined().map(|joined| joined.outcome()).collect();
    assert_eq!(outcomes, [Some(Outcome::Delivered), Some(Outcome::Incomplete)]);
}

/// Full buffers come back by themselves, on another thread.
pub(crate) fn full_buffers() {
    collect::BUFFER_BYTES.store(4096, Ordering::Relaxed);
    gpu::start();
    collect::record(&[KERNEL]);
    work(400);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let mut seen = collect::seen();
        let records = &mut seen.as_mut().expect("always there").records;
        if records.len() >= 200 {
            let here = std::thread::current().id();
            assert!(records.iter().all(|record| record.thread != here));
            return;
        }
        assert!(Instant::now() < deadline, "no full buffer came back");
    }
}

/// Records without a buffer are dropped and counted, once.
pub(crate) fn refused_buffers() {
    collect::REFUSE.store(true, Ordering::Relaxed);
    gpu::start();
    let cupti = collect::record(&[KERNEL, MEMCPY, MEMSET]);
    work(100);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let mut dropped = 0;
    assert_eq!((cupti.cuptiActivityGetNumDroppedRecords)(0, 0, &mut dropped), 0);
    assert_eq!(dropped, 100);
    assert_eq!((cupti.cuptiActivityGetNumDroppedRecords)(0, 0, &mut dropped), 0);
    assert_eq!(dropped, 0);
    assert!(collect::take().records.is_empty());
    assert!(truth().joined().all(|joined| joined.outcome() == Some(Outcome::Dropped)));
}

extern "C" fn monotonic() -> u64 {
    sim_channel::clock::now()
}

/// With a callback that reads `CLOCK_MONOTONIC`, records and truth are in one clock, to the nanosecond.
pub(crate) fn timestamp_callback() {
    gpu::start();
    let cupti = collect::cupti();
    assert_eq!((cupti.cuptiActivityRegisterTimestampCallback)(monotonic), 0);
    collect::record(&[KERNEL, MEMCPY, MEMSET]);
    work(200);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let truth = truth();
    assert!(truth.settled.values().all(|settled| settled.clock_offset == 0));
    assert_records_equal_truth(&collect::take().records, &truth);
    for joined in truth.joined() {
        let call = joined.call.expect("every piece of work has its call");
        assert!(call.enter_ns < joined.work.start_ns && call.enter_ns <= call.exit_ns);
    }
}

/// Late, zeroed and dropped records: as many as the truth says, and zeroed ones only where the rule for
/// them holds. Needs `WARPLENS_SIM_LATE`, `..._ZERO`, `..._DROP`.
pub(crate) fn scenario() {
    let started = Instant::now();
    gpu::start();
    let cupti = collect::cupti();
    assert_eq!((cupti.cuptiActivityRegisterTimestampCallback)(monotonic), 0);
    collect::record(&[KERNEL, MEMCPY, MEMSET]);
    work(4000);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let at_once = collect::seen().as_ref().map_or(0, |seen| seen.records.len());
    // The longest a record is held back after its work.
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let records = collect::take().records;
    assert!(records.len() > at_once, "nothing was late");
    let truth = truth();
    assert_records_equal_truth(&records, &truth);
    let count = |outcome| truth.joined().filter(|j| j.outcome() == Some(outcome)).count();
    let (zeroed, lost) = (count(Outcome::Zeroed), count(Outcome::Dropped));
    assert!(zeroed > 10 && lost > 10, "zeroed {zeroed}, dropped {lost}, {:?}", started.elapsed());
    assert_eq!(records.len() + lost, 4000);
    assert_eq!(records.iter().filter(|record| record.start == 0).count(), zeroed);
    let mut dropped = 0;
    assert_eq!((cupti.cuptiActivityGetNumDroppedRecords)(0, 0, &mut dropped), 0);
    assert_eq!(dropped, lost);

    let mut previous: HashMap<u32, Joined<'_>> = HashMap::new();
    for joined in truth.joined() {
        let before = previous.insert(joined.work.stream, joined);
        if joined.outcome() == Some(Outcome::Zeroed) {
            let before = before.expect("a zeroed record has a launch before it in its stream");
            assert_eq!(before.outcome(), Some(Outcome::Delivered));
            let call = joined.call.expect("every piece of work has its call");
            assert!(before.work.end_ns > call.exit_ns, "the launch before ended before the exit");
        }
    }
}

/// Many threads launch, two more flush, callbacks go on and off: nothing is lost, doubled or changed.
pub(crate) fn threads() {
    const THREADS: usize = 8;
    const LAUNCHES: usize = 1500;
    let driver = gpu::driver();
    let mut context = 0;
    assert_eq!((driver.cuDevicePrimaryCtxRetain)(&mut context, 0), 0);
    let cupti = collect::subscribe(&[]);
    assert_eq!((cupti.cuptiActivityRegisterTimestampCallback)(monotonic), 0);
    collect::BUFFER_BYTES.store(8192, Ordering::Relaxed);
    collect::record(&[KERNEL, MEMSET]);
    let shared = gpu::stream(&driver);
    let mut memory = 0;
    assert_eq!((driver.cuMemAlloc_v2)(&mut memory, 4096), 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                scope.spawn(move || {
                    assert_eq!((driver.cuCtxSetCurrent)(context), 0);
                    let own = gpu::stream(&driver);
                    let kernel = gpu::kernel(&format!("kernel_{worker}__sim2000"));
                    for round in 0..LAUNCHES {
                        let stream = if round % 3 == 0 { shared } else { own };
                        match round % 7 {
                            0 => assert_eq!((driver.cuMemsetD8Async)(memory, 0, 64, stream), 0),
                            _ => assert_eq!(gpu::launch(&driver, kernel, stream), 0),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let mut on = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
                    on = 1 - on;
                    // Off and on while calls are open: the collector asserts their pairing, so only
                    // callbacks of a call that nobody makes are switched.
                    let subscriber = collect::subscriber();
                    assert_eq!((cupti.cuptiEnableCallback)(on, subscriber, 1, 17), 0);
                }
            });
        }
        for worker in workers {
            worker.join().expect("a launching thread failed");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((driver.cuCtxSynchronize)(), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let records = collect::take().records;
    assert_eq!(records.len(), THREADS * LAUNCHES);
    let truth = truth();
    assert_records_equal_truth(&records, &truth);
    let mut streams: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    for work in &truth.works {
        streams.entry(work.stream).or_default().push((work.start_ns, work.end_ns));
    }
    for (stream, mut works) in streams {
        works.sort_unstable();
        let overlap = works.windows(2).find(|pair| pair[1].0 < pair[0].1);
        assert_eq!(overlap, None, "stream {stream} does two things at once");
    }
}

/// Runtime and driver records of one launch share its id and lie inside each other.
pub(crate) fn api_records() {
    let runtime = gpu::runtime();
    let kernel = gpu::kernel("k__sim1000");
    let cupti = collect::record(&[4, 5]);
    assert_eq!(gpu::run(&runtime, kernel, 0), 0);
    assert_eq!((cupti.cuptiActivityDisable)(4), 0);
    assert_eq!((cupti.cuptiActivityDisable)(5), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    let long = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    let others = collect::take().others;
    let rows: Vec<(u8, u64, u64)> =
        others.iter().map(|bytes| (bytes[0], long(bytes, 8), long(bytes, 16))).collect();
    let [(4, inner_start, inner_end), (5, start, end)] = rows[..] else { panic!("{rows:?}") };
    assert!(start <= inner_start && inner_start <= inner_end && inner_end <= end);
}

/// Prints what a launch costs; asserts only that all launches are accounted for.
pub(crate) fn cost() {
    const LAUNCHES: u32 = 200_000;
    let runtime = gpu::runtime();
    let kernel = gpu::kernel("k__sim1");
    let mut stream = 0;
    assert_eq!((runtime.cudaStreamCreate)(&mut stream), 0);
    let measure = |what: &str| {
        let begin = Instant::now();
        for _ in 0..LAUNCHES {
            assert_eq!(gpu::run(&runtime, kernel, stream), 0);
        }
        println!("simulated: {what}: {:?} a launch", begin.elapsed() / LAUNCHES);
    };
    measure("nobody listens");
    collect::BUFFER_BYTES.store(2 << 20, Ordering::Relaxed);
    let cupti = collect::record(&[KERNEL]);
    measure("kernel records on, read by a slow reader");
    assert_eq!((runtime.cudaDeviceSynchronize)(), 0);
    assert_eq!((cupti.cuptiActivityFlushAll)(0), 0);
    assert_eq!(collect::take().records.len(), LAUNCHES as usize);
}
