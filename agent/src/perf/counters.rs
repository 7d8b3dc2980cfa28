//! Counters of what one process does: cycles, instructions, context switches and the like, of all its
//! threads from the moment they are opened.
//!
//! Each thread that exists gets an event of its own for every counter, which the threads it starts
//! later inherit; child processes do not. A counter that the machine does not have is left out.
//!
//! A thread that is started while the others are being attached, by one whose turn has not come, is
//! not counted. `perf stat -p` knows no better.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use perf_event_open_sys::bindings::{
    PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS, PERF_COUNT_SW_CONTEXT_SWITCHES,
    PERF_COUNT_SW_CPU_MIGRATIONS, PERF_COUNT_SW_PAGE_FAULTS, PERF_COUNT_SW_TASK_CLOCK,
    PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, perf_event_attr,
};

use super::PerfError;
use super::error::hint;
use super::event::{COUNT_FORMAT, Counted, Event};

/// Threads of one process that are counted. A vLLM worker has fewer than 200 when it is ready; each
/// costs as many open files as there are counters.
const THREADS: usize = 256;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    Cycles,
    Instructions,
    ContextSwitches,
    PageFaults,
    Migrations,
    /// Time on a CPU, ns.
    TaskClock,
}

impl Counter {
    pub const ALL: [Self; 6] = [
        Self::Cycles,
        Self::Instructions,
        Self::ContextSwitches,
        Self::PageFaults,
        Self::Migrations,
        Self::TaskClock,
    ];

    /// The spelling in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Instructions => "instructions",
            Self::ContextSwitches => "context_switches",
            Self::PageFaults => "page_faults",
            Self::Migrations => "migrations",
            Self::TaskClock => "task_clock_ns",
        }
    }

    /// From its spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|counter| counter.as_str() == text)
    }

    /// The processor counts it, not the kernel.
    pub const fn is_hardware(self) -> bool {
        matches!(self, Self::Cycles | Self::Instructions)
    }

    fn attributes(self) -> perf_event_attr {
        let (type_, config) = match self {
            Self::Cycles => (PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES),
            Self::Instructions => (PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS),
            Self::ContextSwitches => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES),
            Self::PageFaults => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS),
            Self::Migrations => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS),
            Self::TaskClock => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK),
        };
        let mut attributes = perf_event_attr {
            type_,
            config: config.into(),
            read_format: COUNT_FORMAT,
            ..perf_event_attr::default()
        };
        attributes.set_inherit(1);
        attributes
    }

    /// Its event on one thread. Kernels before 5.13 cannot leave child processes out.
    fn open(self, tid: u32) -> io::Result<Event> {
        let mut attributes = self.attributes();
        attributes.set_inherit_thread(1);
        Event::of_thread(&mut attributes, tid).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Event::of_thread(&mut self.attributes(), tid),
            _ => Err(error),
        })
    }
}

/// A sum over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub value: u64,
    /// The hardware counted only part of the time, because others wanted its counters, too: `value` is
    /// what it would have been, in proportion.
    pub scaled: bool,
}

/// What a process did since its counters were opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Those that this machine has.
    pub counts: Vec<(Counter, Count)>,
    /// Threads that were there and are not counted.
    pub threads_left_out: u64,
}

#[derive(Debug)]
struct Open {
    counter: Counter,
    threads: Vec<Event>,
    /// Scaled figures may shrink; what is told does not.
    told: Count,
}

/// Counters of one process. Dropping them ends the count.
#[derive(Debug)]
pub struct Counters {
    open: Vec<Open>,
    threads_left_out: u64,
    /// Taken of [`FILES`].
    files: usize,
}

impl Drop for Counters {
    fn drop(&mut self) {
        FILES.fetch_sub(self.files, Ordering::Relaxed);
    }
}

/// Files that all counters of this agent hold open.
static FILES: AtomicUsize = AtomicUsize::new(0);

impl Counters {
    /// Counts from here on. Fails where nothing can be counted.
    pub fn open(pid: u32) -> Result<Self, PerfError> {
        let tids = threads(pid).map_err(|source| PerfError::Threads { pid, source })?;
        let mut open: Vec<Open> = Vec::new();
        let mut refused = None;
        // Its first thread decides what this machine has, and starts most of the others.
        for counter in Counter::ALL {
            match counter.open(pid) {
                Ok(event) => {
                    open.push(Open { counter, threads: vec![event], told: Count::default() });
                }
                Err(error) => refused = Some(error),
            }
        }
        if let (true, Some(source)) = (open.is_empty(), refused) {
            return Err(PerfError::Count { pid, source });
        }
        let mut counters = Self { open, threads_left_out: 0, files: 0 };
        counters.take_files();
        let most = files_to_hold();
        for (place, tid) in tids.into_iter().filter(|&tid| tid != pid).enumerate() {
            // The first thread is counted already.
            let full = place + 1 >= THREADS || FILES.load(Ordering::Relaxed) >= most;
            if full {
                counters.threads_left_out += 1;
            } else {
                counters.add(tid);
            }
        }
        Ok(counters)
    }

    /// All events of a thread or none: figures of different counters are compared.
    fn add(&mut self, tid: u32) {
        let events: io::Result<Vec<Event>> =
            self.open.iter().map(|open| open.counter.open(tid)).collect();
        match events {
            Ok(events) => {
                self.open.iter_mut().zip(events).for_each(|(open, event)| open.threads.push(event));
                self.take_files();
            }
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(_) => self.threads_left_out += 1,
        }
    }

    /// One of each counter.
    fn take_files(&mut self) {
        FILES.fetch_add(self.open.len(), Ordering::Relaxed);
        self.files += self.open.len();
    }

    /// What was counted so far. Never less than at the last call.
    pub fn read(&mut self) -> Reading {
        let counts = self.open.iter_mut().filter_map(|open| {
            let read: Vec<Counted> =
                open.threads.iter().filter_map(|event| event.counted().ok()).collect();
            let now = read.iter().map(scale).fold(Count::default(), |sum, count| Count {
                value: sum.value.saturating_add(count.value),
                scaled: sum.scaled || count.scaled,
            });
            open.told.value = open.told.value.max(now.value);
            open.told.scaled |= now.scaled;
            // Others may have all of the hardware's counters: then nothing is known.
            let never = read.iter().any(|counted| counted.enabled > 0)
                && read.iter().all(|counted| counted.running == 0);
            (!never).then_some((open.counter, open.told))
        });
        Reading { counts: counts.collect(), threads_left_out: self.threads_left_out }
    }
}

/// `value * enabled / running`.
fn scale(counted: &Counted) -> Count {
    let &Counted { value, enabled, running } = counted;
    if running >= enabled || running == 0 {
        // Of a thread that never ran both are 0; one that ran and was never counted adds nothing,
        // and the others' figures are all there is.
        return Count { value, scaled: running < enabled };
    }
    let scaled = u128::from(value) * u128::from(enabled) / u128::from(running);
    Count { value: u64::try_from(scaled).unwrap_or(u64::MAX), scaled: true }
}

/// Half of the files this process may have open: the agent needs others.
fn files_to_hold() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX))
}

/// Threads of a process, the first one first.
fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let mut tids = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        tids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    tids.sort_by_key(|&tid| (tid != pid, tid));
    Ok(tids)
}

/// Counters this machine or these privileges do not allow, and why. Opens each on ourselves for a
/// moment.
pub fn obstacles() -> Vec<(Counter, Option<&'static str>)> {
    let own = std::process::id();
    let look = |counter: Counter| (counter, counter.open(own).err().map(|error| hint(&error)));
    Counter::ALL.into_iter().map(look).collect()
}

#[cfg(test)]
mod tests;
