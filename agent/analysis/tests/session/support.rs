//! A stream of events as a shim would send it, made by hand, and the names it uses.

use std::collections::BTreeMap;

use analysis::event::{
    DeviceInfo, Event, Launch, LaunchKind, Mark, ProcessInfo, Sync, SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, DeviceKey, Ns, ProcessKey, StackId};
use analysis::report::{DeviceReport, Exclusive, IdleCause, Report, UnobservedReason};
use analysis::session::{Options, Session};

/// One kernel name per group of priority; ids 1 to 4.
pub(crate) const NAMES: [&str; 4] = [
    "void flash::flash_fwd_kernel<64>(flash::Params)",
    "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN",
    "void vllm::rms_norm_kernel<c10::Half>(c10::Half*)",
    "ncclDevKernel_AllReduce_bf16_RING(ncclDevKernelArgsStorage<4096ul>)",
];
pub(crate) const ATTENTION: u32 = 1;
pub(crate) const GEMM: u32 = 2;
pub(crate) const NORM: u32 = 3;
pub(crate) const NCCL: u32 = 4;

pub(crate) const DEVICE: DeviceKey = DeviceKey(0);
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Introduces `process` on ordinal 0 = [`DEVICE`].
pub(crate) fn introduce(process: u32) -> Vec<Event> {
    let key = ProcessKey(process);
    let info = ProcessInfo { pid: 1000 + process, ..ProcessInfo::default() };
    let mut events = vec![
        Event::Device {
            device: DEVICE,
            info: DeviceInfo { index: 0, uuid: Some("SIM-0".to_owned()), simulated: true },
        },
        Event::Process { process: key, info },
        Event::Ordinal { process: key, ordinal: 0, device: DEVICE },
    ];
    for (id, name) in (1..).zip(NAMES) {
        events.push(Event::Name { process: key, id, name: name.to_owned() });
    }
    events
}

pub(crate) fn mark(process: u32, armed: u64, flush: u64) -> Event {
    mark_with(process, armed, flush, 0, false)
}

pub(crate) fn mark_with(process: u32, armed: u64, flush: u64, lost: u64, last: bool) -> Event {
    Event::Mark(Mark {
        process: ProcessKey(process),
        flush: Ns(flush),
        armed: Ns(armed),
        lost,
        last,
    })
}

pub(crate) fn launch(process: u32, correlation: u32, enter: u64) -> Launch {
    Launch {
        process: ProcessKey(process),
        correlation: Correlation(correlation),
        kind: LaunchKind::Kernel,
        enter: Ns(enter),
        exit: None,
        thread: 0,
        function: 0,
        sampled: None,
    }
}

pub(crate) fn sampled(process: u32, correlation: u32, enter: u64, weight: u32) -> Event {
    Event::Launch(Launch { sampled: Some(weight), ..launch(process, correlation, enter) })
}

pub(crate) fn graph_launch(process: u32, correlation: u32, enter: u64) -> Event {
    Event::Launch(Launch { kind: LaunchKind::Graph, ..launch(process, correlation, enter) })
}

pub(crate) fn stack(process: u32, correlation: u32, stack: u32) -> Event {
    Event::LaunchStack {
        process: ProcessKey(process),
        correlation: Correlation(correlation),
        stack: StackId(stack),
    }
}

pub(crate) fn kernel(process: u32, correlation: u32, name: u32, start: u64, end: u64) -> Work {
    Work {
        process: ProcessKey(process),
        ordinal: 0,
        context: 1,
        stream: 7,
        correlation: Correlation(correlation),
        graph: 0,
        graph_node: 0,
        source_node: 0,
        grid_x: 0,
        start: Ns(start),
        end: Ns(end),
        kind: WorkKind::Kernel { name },
    }
}

pub(crate) fn context_sync(process: u32, enter: u64, exit: u64) -> Event {
    Event::Sync(Sync {
        process: ProcessKey(process),
        context: 1,
        scope: SyncScope::Context,
        enter: Ns(enter),
        exit: Ns(exit),
        thread: 0,
        succeeded: true,
    })
}

/// Launch at `enter` and its kernel.
pub(crate) fn ran(
    process: u32,
    correlation: u32,
    name: u32,
    enter: u64,
    start: u64,
    end: u64,
) -> [Event; 2] {
    [
        Event::Launch(launch(process, correlation, enter)),
        Event::Work(kernel(process, correlation, name, start, end)),
    ]
}

/// The sums that must hold in every report.
pub(crate) fn check_sums(report: &Report) {
    for device in &report.devices {
        let window = device.window.end.0 - device.window.start.0;
        assert_eq!(sum(&device.exclusive), window, "device {device:?}");
        let decided: u64 = device.idle_cause.values().sum();
        assert_eq!(decided + device.idle_undecided, device.exclusive.idle);
        for gap in &device.gaps {
            assert!(gap.start < gap.end, "{gap:?}");
            assert_eq!(gap.parts.last().map(|part| part.end), Some(gap.end), "{gap:?}");
            let ends: Vec<_> = gap.parts.iter().map(|part| part.end).collect();
            assert!(ends.is_sorted() && ends[0] > gap.start, "{gap:?}");
        }
        assert_eq!(device.unobserved.values().sum::<u64>(), device.exclusive.unobserved);
        assert_eq!(device.totals.iter().map(|t| t.count).sum::<u64>(), device.kernels);
    }
    for worker in &report.workers {
        let window = report.devices[worker.device].window;
        assert_eq!(sum(&worker.exclusive), window.end.0 - window.start.0, "worker {worker:?}");
    }
    for (position, device) in report.devices.iter().enumerate() {
        for (cause, total) in &device.idle_cause {
            let hanging = report.idle_stacks.iter();
            let hanging = hanging.filter(|idle| (idle.device, idle.cause) == (position, *cause));
            if report.names.is_empty() {
                continue;
            }
            assert_eq!(hanging.map(|idle| idle.total).sum::<u64>(), *total, "{cause:?}");
        }
        let rows = report.host_stacks.iter().filter(|row| row.device == position);
        let mut late: BTreeMap<ProcessKey, u64> = BTreeMap::new();
        for row in rows {
            *late.entry(row.process).or_default() += row.total;
        }
        for (process, total) in late {
            let hanging = report.idle_stacks.iter().filter(|idle| {
                (idle.device, idle.cause, idle.process)
                    == (position, IdleCause::HostBound, Some(process))
            });
            assert_eq!(hanging.map(|idle| idle.total).sum::<u64>(), total, "{process:?}");
        }
        let of_device = || report.stacks.iter().filter(move |time| time.device == position);
        for total in &device.totals {
            let hanging: u64 =
                of_device().filter(|time| time.name == total.name).map(|time| time.total).sum();
            assert_eq!(hanging, total.total, "{}", report.names[total.name.0 as usize]);
        }
        let kernels: u64 = report
            .workers
            .iter()
            .filter(|worker| worker.device == position)
            .map(|worker| worker.kernels)
            .sum();
        assert_eq!(kernels, device.kernels);
    }
}

pub(crate) fn sum(exclusive: &Exclusive) -> u64 {
    let Exclusive { attention, gemm, communication, other, idle, unobserved } = *exclusive;
    attention + gemm + communication + other + idle + unobserved
}

/// The only device.
pub(crate) fn only(report: &Report) -> &DeviceReport {
    assert_eq!(report.devices.len(), 1);
    &report.devices[0]
}

/// When the streams made by hand are armed.
pub(crate) const ARMED: u64 = 10 * SECOND;

pub(crate) fn fed(events: impl IntoIterator<Item = Event>) -> Session {
    let mut session = Session::new(Options::MARKED);
    for event in events {
        session.ingest(event);
    }
    session
}

pub(crate) fn report(session: &Session) -> Report {
    let report = session.report();
    check_sums(&report);
    report
}

/// `events` of process 0 after arming, drained at once.
pub(crate) fn drained(events: impl IntoIterator<Item = Event>) -> Session {
    let start = introduce(0).into_iter().chain([context_sync(0, ARMED, ARMED)]);
    fed(start.chain(events))
}

pub(crate) fn at(ms: u64) -> u64 {
    ARMED + ms * MS
}

pub(crate) fn unobserved(report: &Report) -> Vec<(UnobservedReason, u64)> {
    only(report).unobserved.iter().map(|(&reason, &ns)| (reason, ns)).collect()
}
