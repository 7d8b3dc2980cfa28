//! What can be wrong with the data, how much of it, and what that does to the result.
//!
//! A [`Defect`] is a value, never a failure. Equal ones merge by adding their counts, and a
//! [`DefectLog`] keeps a bounded number of different ones.

use std::fmt;

/// Tables of a session that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Events of one process waiting for its next mark.
    Events,
    /// Work records of one device waiting for the watermark.
    Pending,
    /// Launches of one process without their record.
    Launches,
    /// Sampled launches of one process waiting for their stack.
    Samples,
    /// Streams of one device.
    Streams,
    /// Executed graphs of one process.
    Graphs,
    /// Distinct kernel names.
    Names,
    /// Kernel name ids of one process.
    NameIds,
    /// Distinct (process, kernel, graph) on one device.
    Cells,
    /// Distinct stacks under one (process, kernel, graph).
    Stacks,
    /// Devices one process numbers.
    Ordinals,
    /// Context-wide synchronisations of one process.
    Syncs,
    /// Waits of the threads of one process.
    Threads,
    /// Samples and sleeps of the threads of one process, with their stacks.
    Whereabouts,
    /// Stacks in which one process was while the host was late.
    HostStacks,
    /// Names of host ranges.
    Ranges,
    /// Graph table entries of one process.
    GraphEntries,
}

impl Table {
    const fn contents(self) -> &'static str {
        match self {
            Self::Events => "events waiting for a mark",
            Self::Pending => "work records waiting for the watermark",
            Self::Launches => "launches waiting for their record",
            Self::Samples => "sampled launches waiting for their stack",
            Self::Streams => "streams",
            Self::Graphs => "executed graphs",
            Self::Names => "kernel names",
            Self::NameIds => "kernel name ids",
            Self::Cells => "kernel and graph pairs",
            Self::Stacks => "stacks of one kernel",
            Self::Ordinals => "device ordinals",
            Self::Syncs => "context synchronisations",
            Self::Threads => "waits of threads",
            Self::HostStacks => "stacks of a late host",
            Self::Whereabouts => "samples and sleeps of threads",
            Self::Ranges => "host ranges",
            Self::GraphEntries => "graph nodes",
        }
    }

    const fn consequence(self) -> &'static str {
        match self {
            Self::Events | Self::Pending => {
                "these records are missing and the time they may cover is unobserved"
            }
            Self::Launches => "their kernels are counted, but neither held for nor sampled",
            Self::Samples => "the stacks of these launches are missing",
            Self::Streams => "their records are counted together as one stream",
            Self::Graphs => "their launches settle only after three marks",
            Self::Names | Self::NameIds => "these kernels are counted under one stand-in name",
            Self::Cells => "their time is counted without telling graphs apart",
            Self::Stacks => "their time is spread over the other stacks of the same kernel",
            Self::HostStacks => "their time is spread over the other stacks of the same process",
            Self::Ordinals => "work on these devices is not counted",
            Self::Threads => "idle time they would explain counts as host_bound",
            Self::Whereabouts => {
                "idle time they would name the code of stands under no stack of the thread"
            }
            Self::Ranges => "their GPU time stands under no range",
            Self::GraphEntries => "kernels of these nodes are shown without their capture stack",
            Self::Syncs => "they do not serve as proof that the device is drained",
        }
    }
}

/// Something wrong with our data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A ring record of a kind this version does not know.
    UnknownRecord { kind: u16, count: u64 },
    /// A ring record with a field no writer of this version produces.
    MalformedRecord { kind: u16, field: &'static str, count: u64 },
    /// A graph table entry of a kind this version does not know.
    UnknownGraphEntry { kind: u32, count: u64 },
    /// Bytes of a kernel event too short for its type.
    ShortKernelEvent { length: usize, count: u64 },
    /// A kernel event of a kind this version does not know.
    UnknownKernelEvent { kind: u32, count: u64 },
    /// Events of a process that was never introduced.
    UnknownProcess { count: u64 },
    /// Work on a device ordinal the process never tied to a device.
    UnknownDevice { pid: u32, ordinal: u32, count: u64 },
    /// Kernels whose name id has no name.
    UnnamedKernel { pid: u32, count: u64 },
    /// A table was full.
    Full { table: Table, capacity: usize, count: u64 },
    /// Records without usable timestamps.
    InvalidRecord { pid: u32, count: u64 },
    /// Records that did not arrive, by the ring's or CUPTI's own count.
    LostRecord { pid: u32, count: u64 },
    /// The loss counters were not zero when observation began.
    LostBefore { pid: u32, count: u64 },
    /// Work that started before time already attributed.
    LateRecord { pid: u32, count: u64, lost_ns: u64 },
    /// Launches still without their record after the hold limit, or when the process ended.
    UnfinishedLaunch { pid: u32, count: u64 },
    /// Copies that showed no record within the hold limit: of nothing, or between host buffers.
    CopyUnseen { pid: u32, count: u64 },
    /// The device was not proven drained within the limit after arming.
    DrainAssumed { pid: u32, device: u32, count: u64 },
    /// A mark with an earlier time than the one before.
    MarkBackwards { pid: u32, count: u64 },
    /// Records without any mark for longer than the hold limit.
    NoMark { pid: u32, count: u64 },
    /// Sampled launches whose stack never came.
    StackMissing { pid: u32, count: u64 },
    /// Stacks of launches that never came.
    StackUnmatched { pid: u32, count: u64 },
    /// Samples of threads of time whose causes had been decided.
    LateSample { pid: u32, count: u64 },
    /// The asked end lies before time already attributed.
    LimitPassed { by_ns: u64, count: u64 },
    /// Different defects beyond what the log holds.
    Further { count: u64 },
}

impl Defect {
    /// How often it happened.
    pub fn count(&self) -> u64 {
        let mut copy = *self;
        *copy.parts().0
    }

    /// The count, and a second sum where there is one.
    fn parts(&mut self) -> (&mut u64, Option<&mut u64>) {
        match self {
            Self::UnknownRecord { kind: _, count }
            | Self::MalformedRecord { kind: _, field: _, count }
            | Self::UnknownGraphEntry { kind: _, count }
            | Self::ShortKernelEvent { length: _, count }
            | Self::UnknownKernelEvent { kind: _, count }
            | Self::UnknownProcess { count }
            | Self::UnknownDevice { pid: _, ordinal: _, count }
            | Self::UnnamedKernel { pid: _, count }
            | Self::Full { table: _, capacity: _, count }
            | Self::InvalidRecord { pid: _, count }
            | Self::LostRecord { pid: _, count }
            | Self::LostBefore { pid: _, count }
            | Self::UnfinishedLaunch { pid: _, count }
            | Self::CopyUnseen { pid: _, count }
            | Self::DrainAssumed { pid: _, device: _, count }
            | Self::MarkBackwards { pid: _, count }
            | Self::NoMark { pid: _, count }
            | Self::StackMissing { pid: _, count }
            | Self::StackUnmatched { pid: _, count }
            | Self::LateSample { pid: _, count }
            | Self::LimitPassed { by_ns: _, count }
            | Self::Further { count } => (count, None),
            Self::LateRecord { pid: _, count, lost_ns } => (count, Some(lost_ns)),
        }
    }

    /// The defect without its sums: what decides whether two are the same.
    fn identity(&self) -> Self {
        let mut identity = *self;
        let (count, sum) = identity.parts();
        *count = 0;
        if let Some(sum) = sum {
            *sum = 0;
        }
        identity
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRecord { kind, count } => write!(
                f,
                "{count} ring records had the unknown kind {kind}: skipped; shim and agent are probably of different versions"
            ),
            Self::MalformedRecord { kind, field, count } => write!(
                f,
                "{count} ring records of kind {kind} had an impossible `{field}`: skipped; the worker's memory may be corrupt"
            ),
            Self::UnknownGraphEntry { kind, count } => write!(
                f,
                "{count} entries of a graph table had the unknown kind {kind}: skipped; kernels of these nodes are shown without their capture stack"
            ),
            Self::ShortKernelEvent { length, count } => write!(
                f,
                "{count} kernel events were cut off at {length} bytes: skipped; their stacks are missing"
            ),
            Self::UnknownKernelEvent { kind, count } => {
                write!(f, "{count} kernel events had the unknown kind {kind}: skipped")
            }
            Self::UnknownProcess { count } => write!(
                f,
                "{count} events came from a process that was never introduced: skipped, their work is not counted"
            ),
            Self::UnknownDevice { pid, ordinal, count } => write!(
                f,
                "{count} work records of process {pid} were on device ordinal {ordinal}, which it never tied to a device: not counted"
            ),
            Self::UnnamedKernel { pid, count } => write!(
                f,
                "{count} kernels of process {pid} came without a name: their time is counted as class other"
            ),
            Self::Full { table, capacity, count } => write!(
                f,
                "{count} entries found the table of {} full (capacity {capacity}): {}",
                table.contents(),
                table.consequence()
            ),
            Self::InvalidRecord { pid, count } => write!(
                f,
                "{count} work records of process {pid} had no usable timestamps: the gaps they may have run in are unobserved"
            ),
            Self::LostRecord { pid, count } => write!(
                f,
                "{count} records of process {pid} were lost: the gaps they may have run in are unobserved"
            ),
            Self::LostBefore { pid, count } => write!(
                f,
                "{count} records of process {pid} were lost before its first mark, when is unknown: the gaps up to that mark are unobserved"
            ),
            Self::LateRecord { pid, count, lost_ns } => write!(
                f,
                "{count} work records of process {pid} came after their time was attributed: {lost_ns} ns of them are missing from the split"
            ),
            Self::CopyUnseen { pid, count } => write!(
                f,
                "{count} copies of process {pid} showed no record within 5 s: taken for copies that put nothing on the device"
            ),
            Self::UnfinishedLaunch { pid, count } => write!(
                f,
                "{count} launches of process {pid} had no work record within the hold limit: the gaps they may have run in are unobserved"
            ),
            Self::DrainAssumed { pid, device, count } => write!(
                f,
                "process {pid} did not prove device {device} drained after arming ({count} times): work launched before may be missing from what follows"
            ),
            Self::MarkBackwards { pid, count } => {
                write!(f, "{count} marks of process {pid} went backwards in time: ignored")
            }
            Self::NoMark { pid, count } => write!(
                f,
                "process {pid} sent {count} records but no mark within the hold limit: its device is counted without waiting for it"
            ),
            Self::StackMissing { pid, count } => write!(
                f,
                "{count} sampled launches of process {pid} came without their stack: their share is spread over the stacks that came"
            ),
            Self::StackUnmatched { pid, count } => {
                write!(f, "{count} launch stacks of process {pid} belong to no launch: left out")
            }
            Self::LateSample { pid, count } => write!(
                f,
                "{count} CPU samples of process {pid} came after the idle time they lie in was explained: they do not name its code"
            ),
            Self::LimitPassed { by_ns, count } => write!(
                f,
                "{count} devices were already {by_ns} ns past the asked end: their windows end later"
            ),
            Self::Further { count } => {
                write!(f, "{count} further defects of other kinds are not listed")
            }
        }
    }
}

/// Different defects kept. Arbitrary, only bounds memory and the reader's patience.
const DEFECTS: usize = 256;

/// The defects of a session, equal ones merged.
#[derive(Debug, Default)]
pub struct DefectLog {
    entries: Vec<Defect>,
    further: u64,
}

impl DefectLog {
    /// Adds one; a full log counts it.
    pub fn add(&mut self, mut defect: Defect) {
        let identity = defect.identity();
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.identity() == identity) {
            let (count, sum) = entry.parts();
            let (more, more_sum) = defect.parts();
            *count = count.saturating_add(*more);
            if let (Some(sum), Some(more)) = (sum, more_sum) {
                *sum = sum.saturating_add(*more);
            }
        } else if self.entries.len() < DEFECTS {
            self.entries.push(defect);
        } else {
            self.further = self.further.saturating_add(defect.count());
        }
    }

    /// Everything so far, in order of first appearance.
    pub fn list(&self) -> Vec<Defect> {
        let mut list = self.entries.clone();
        if self.further > 0 {
            list.push(Defect::Further { count: self.further });
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFECTS, Defect, DefectLog};

    #[test]
    fn equal_defects_merge_and_others_stay_apart() {
        let mut log = DefectLog::default();
        log.add(Defect::LateRecord { pid: 1, count: 1, lost_ns: 5 });
        log.add(Defect::LateRecord { pid: 2, count: 1, lost_ns: 1 });
        log.add(Defect::LateRecord { pid: 1, count: 2, lost_ns: 7 });
        assert_eq!(
            log.list(),
            [
                Defect::LateRecord { pid: 1, count: 3, lost_ns: 12 },
                Defect::LateRecord { pid: 2, count: 1, lost_ns: 1 },
            ]
        );
    }

    #[test]
    fn a_full_log_counts_what_it_cannot_list() {
        let mut log = DefectLog::default();
        let capacity = u32::try_from(DEFECTS).unwrap();
        for pid in 0..capacity + 3 {
            log.add(Defect::InvalidRecord { pid, count: 2 });
        }
        let list = log.list();
        assert_eq!(list.len(), DEFECTS + 1);
        assert_eq!(list.last(), Some(&Defect::Further { count: 6 }));
    }

    #[test]
    fn a_sentence_says_what_how_much_and_what_follows() {
        let defect = Defect::LateRecord { pid: 7, count: 3, lost_ns: 40 };
        assert_eq!(
            defect.to_string(),
            "3 work records of process 7 came after their time was attributed: 40 ns of them are missing from the split"
        );
    }
}
