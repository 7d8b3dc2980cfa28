//! What observing a worker costs, from counters that only grow.

use std::fs;
use std::path::Path;

use analysis::ids::Ns;
use analysis::level::Level;
use analysis::level::bound;
use analysis::level::budget::{Cost, Rung};

/// Bytes that CUPTI moves from the device for each record: its buffer of timestamps holds 100 000 kernels in
/// 3 200 000 bytes (`CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE`).
const BUS_BYTES_PER_RECORD: u64 = 32;

/// Counters of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In callbacks, ns.
    pub callback_ns: u64,
    /// Processor time of the shim's thread and of its completion callback on CUPTI's, ns. The callback may run on the
    /// shim's thread and is counted twice then: too much rather than too little.
    pub shim_ns: u64,
    /// Records that came from the device.
    pub records: u64,
    /// The shim's memory in the worker, bytes.
    pub shim_bytes: u64,
    /// The agent's processor time for it, ns, and memory, bytes; the governor shares them out.
    pub agent_ns: u64,
    pub agent_bytes: u64,
}

/// Between two readings, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) callbacks: u64,
    pub(super) shim: u64,
    pub(super) agent: u64,
}

/// Differences of one worker's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    last: Option<(Ns, Reading)>,
}

impl Meter {
    /// What was spent since the last reading, a second and in all; `None` for the first one. Counters lie in the worker's
    /// hands: one that runs backwards counts as one that stood.
    pub(super) fn read(&mut self, now: Ns, reading: Reading) -> Option<(Cost, Spent)> {
        let (then, before) = self.last.replace((now, reading))?;
        let elapsed = now.0.checked_sub(then.0).filter(|&elapsed| elapsed > 0)?;
        let a_second = |amount: u64| {
            let amount = u128::from(amount) * 1_000_000_000 / u128::from(elapsed);
            u64::try_from(amount).unwrap_or(u64::MAX)
        };
        let spent = Spent {
            callbacks: reading.callback_ns.saturating_sub(before.callback_ns),
            shim: reading.shim_ns.saturating_sub(before.shim_ns),
            agent: reading.agent_ns.saturating_sub(before.agent_ns),
        };
        let records = reading.records.saturating_sub(before.records);
        let cost = Cost {
            callback_ns: a_second(spent.callbacks),
            shim_ns: a_second(spent.shim),
            agent_ns: a_second(spent.agent),
            memory_bytes: reading.shim_bytes.saturating_add(reading.agent_bytes),
            bus_bytes: a_second(records.saturating_mul(BUS_BYTES_PER_RECORD)),
        };
        Some((cost, spent))
    }
}

/// A rung as operators read it.
pub(super) fn rung_text(rung: Rung) -> String {
    let mut text = bound::name(rung.level).to_owned();
    if rung.level == Level::Stacks && rung.stacks_percent < 100 {
        text = format!("{text} at {} % of the rate", rung.stacks_percent);
    }
    if let Some(duty) = rung.duty {
        let percent = duty.on_ns.saturating_mul(100) / duty.period_ns.max(1);
        text = format!("{text} for {percent} % of the time");
    }
    text
}

/// Processor time of a process's thread so far, ns: the first field of its `schedstat`.
pub fn thread_ns(pid: u32, thread: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The shim's thread in a process, by its name.
pub fn shim_thread(pid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let named = |folder: &Path| {
        fs::read(folder.join("comm")).is_ok_and(|name| name.trim_ascii_end() == b"warplens")
    };
    threads
        .filter_map(Result::ok)
        .find(|thread| named(&thread.path()))
        .and_then(|thread| thread.file_name().to_str()?.parse().ok())
}

/// Anonymous memory of this process, bytes.
pub fn own_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes.saturating_mul(1024))
}

/// Processor time of this process so far, ns.
pub fn own_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
