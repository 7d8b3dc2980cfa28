//! Feeds a session the records of a busy worker, for `time` or `perf stat` around it:
//! 40 000 records a second on four streams, half of them launches, a mark every 100 ms.
//!
//! Usage: `feed [RECORDS] [whole]`. Prints what the session made of them.
#![expect(clippy::print_stdout, reason = "an example's output")]

use analysis::event::{
    DeviceInfo, Event, Launch, LaunchKind, Mark, ProcessInfo, Sync, SyncScope, Work, WorkKind,
};
use analysis::ids::{Correlation, DeviceKey, Ns, ProcessKey, StackId};
use analysis::session::{Options, Session};

const PROCESS: ProcessKey = ProcessKey(0);
const NAMES: [&str; 4] = ["flash_fwd_kernel", "nvjet_tst", "rms_norm_kernel", "ncclDevKernel"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let records = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2_000_000_u32);
    let whole = arguments.next().is_some_and(|word| word == "whole");
    let mut session = Session::new(if whole { Options::WHOLE } else { Options::MARKED });
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
    for id in 0..records / 2 {
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
    for device in &report.devices {
        println!("{} kernels, {:?}", device.kernels, device.exclusive);
    }
    println!("{} stacks, defects: {:?}", report.stacks.len(), report.defects);
}
