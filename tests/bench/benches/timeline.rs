//! What it costs to turn a busy worker's records into a split of time with causes, stacks and steps:
//! ten million of them, 40 000 records a second on four streams, half of them launches, a mark every
//! 100 ms. Each mode runs in a process of its own, so that its peak memory is its own.

use std::process::Command;
use std::time::Instant;

use analysis::event::{
    DeviceInfo, Event, Launch, LaunchKind, Mark, ProcessInfo, Sync, SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, DeviceKey, Ns, ProcessKey, StackId};
use analysis::session::{Options, Session};
use anyhow::{Context, Result, ensure};
use warplens_bench::{figure, peak_rss_mib, per};

const RECORDS: u32 = 10_000_000;
const PROCESS: ProcessKey = ProcessKey(0);
const NAMES: [&str; 4] = ["flash_fwd_kernel", "nvjet_tst", "rms_norm_kernel", "ncclDevKernel"];

fn main() -> Result<()> {
    match std::env::args().find(|word| MODES.contains(&word.as_str())) {
        Some(mode) => run(&mode),
        None => MODES.iter().try_for_each(|mode| {
            let status = Command::new(std::env::current_exe()?).arg(mode).status()?;
            ensure!(status.success(), "the bench of `{mode}` ended with {status}");
            Ok(())
        }),
    }
}

/// Live rings and recordings; foreign traces.
const MODES: [&str; 2] = ["marked", "whole"];

fn run(mode: &str) -> Result<()> {
    let before = peak_rss_mib()?;
    let begin = Instant::now();
    let options = if mode == "whole" { Options::WHOLE } else { Options::MARKED };
    let mut session = Session::new(options);
    let device = DeviceKey(0);
    session.ingest(Event::Device { device, info: DeviceInfo::default() });
    session.ingest(Event::Process { process: PROCESS, info: ProcessInfo::default() });
    session.ingest(Event::Ordinal { process: PROCESS, ordinal: 0, device });
    for (id, name) in (1..).zip(NAMES) {
        session.ingest(Event::Name { process: PROCESS, id, name: name.to_owned() });
    }
    session.ingest(Event::Sync(Sync {
        process: PROCESS,
        context: 1,
        scope: SyncScope::Context,
        enter: Ns(1),
        exit: Ns(1),
        thread: 0,
        succeeded: true,
    }));
    let mut now = 1_000;
    for id in 0..RECORDS / 2 {
        now += 50_000;
        let correlation = Correlation(id);
        let sampled = (id % 256 == 0).then_some(256);
        session.ingest(Event::Launch(Launch {
            process: PROCESS,
            correlation,
            kind: LaunchKind::Kernel,
            enter: Ns(now),
            exit: None,
            thread: 0,
            function: u64::from(id % 4),
            sampled,
        }));
        if sampled.is_some() {
            let stack = StackId(id % 1024);
            session.ingest(Event::LaunchStack { process: PROCESS, correlation, stack });
        }
        let start = now + u64::from(id % 7) * 1_000;
        session.ingest(Event::Work(Work {
            process: PROCESS,
            ordinal: 0,
            context: 1,
            stream: id % 4,
            correlation,
            graph: 0,
            graph_node: 0,
            source_node: 0,
            grid_x: 0,
            start: Ns(start),
            end: Ns(start + 40_000),
            kind: WorkKind::Kernel { name: 1 + id % 4 },
        }));
        if id % 2_000 == 1_999 {
            session.ingest(Event::Mark(Mark {
                process: PROCESS,
                flush: Ns(now),
                armed: Ns(1),
                lost: 0,
                last: false,
            }));
        }
    }
    session.finish();
    let report = session.report();
    let device = report.devices.first().context("no device")?;
    ensure!(device.kernels > u64::from(RECORDS / 2 - 4_000), "{} kernels", device.kernels);
    let elapsed = u64::try_from(begin.elapsed().as_nanos())?;
    figure(&format!("timeline/{mode}"), per(elapsed, u64::from(RECORDS)), "ns/record");
    figure(&format!("timeline/{mode}-memory"), peak_rss_mib()? - before, "MiB");
    Ok(())
}
