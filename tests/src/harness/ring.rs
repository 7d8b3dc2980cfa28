//! Looks into a worker's ring from outside, as any debugger may: through `/proc/PID/mem`.

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt as _;

use wire::limits::PRODUCERS;
use wire::shim::{
    CURSORS_OFFSET, Cursors, FLAG_SIMULATED, FLAG_STATS_ONLY, Header, MAGIC, MEMFD_NAME, OffReason,
    PAGE, SMALL_BYTES, STATS_OFFSET, Stats,
};
use zerocopy::FromBytes as _;

use crate::harness::process::{self, Mapping};

/// The first pages of a ring, copied once.
#[derive(Debug)]
pub struct RingView {
    pub mapping: Mapping,
    bytes: Vec<u8>,
}

/// The ring of a process; `None` while it has none or its header is not written yet.
pub fn look(pid: u32) -> Option<RingView> {
    let mapping = mappings(pid).into_iter().next()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    // A full ring shows its positions on the page behind the stats; a small one ends there.
    let mut bytes = vec![0; SMALL_BYTES + PAGE];
    let length = usize::try_from(mapping.bytes()).ok()?.min(bytes.len());
    bytes.truncate(length);
    memory.read_exact_at(&mut bytes, mapping.start).ok()?;
    let view = RingView { mapping, bytes };
    (view.header().is_some_and(|header| header.magic == MAGIC)).then_some(view)
}

/// Every mapping of a ring in a process.
pub fn mappings(pid: u32) -> Vec<Mapping> {
    process::mappings(pid, &format!("/memfd:{MEMFD_NAME}"))
}

impl RingView {
    /// The header as it stands there.
    pub fn header(&self) -> Option<Header> {
        Header::read_from_prefix(&self.bytes).ok().map(|(header, _rest)| header)
    }

    /// The ring has no records area.
    pub fn stats_only(&self) -> bool {
        self.header().is_some_and(|header| header.flags & FLAG_STATS_ONLY != 0)
    }

    /// The shim knows that the CUDA in its process is simulated.
    pub fn simulated(&self) -> bool {
        self.header().is_some_and(|header| header.flags & FLAG_SIMULATED != 0)
            || self.word(offset_of!(Stats, simulated)) == 1
    }

    /// Level in force.
    pub fn level(&self) -> u32 {
        self.word(offset_of!(Stats, level))
    }

    /// Why the shim is off; `None` for a number without meaning.
    pub fn off_reason(&self) -> Option<OffReason> {
        OffReason::from_word(self.word(offset_of!(Stats, off_reason)))
    }

    /// CUPTI's error behind it.
    pub fn cupti_error(&self) -> u32 {
        self.word(offset_of!(Stats, cupti_error))
    }

    /// Launch calls that succeeded.
    pub fn launches(&self) -> u64 {
        self.long(offset_of!(Stats, launches))
    }

    /// Launch calls that failed.
    pub fn launches_failed(&self) -> u64 {
        self.long(offset_of!(Stats, launches_failed))
    }

    /// Activity records the shim saw in completed buffers.
    pub fn activities(&self) -> u64 {
        self.long(offset_of!(Stats, activities))
    }

    /// Records that found the ring full, or no buffer, or were dropped by CUPTI.
    pub fn lost(&self) -> u64 {
        let producers = (0..PRODUCERS).map(|index| self.long(offset_of!(Stats, lost) + 8 * index));
        producers.sum::<u64>()
            + self.long(offset_of!(Stats, activities_discarded))
            + self.long(offset_of!(Stats, cupti_dropped))
    }

    /// Next position to write and next position to read.
    pub fn positions(&self) -> (u64, u64) {
        let at = |offset| self.from(CURSORS_OFFSET + offset).map_or(0, u64::from_ne_bytes);
        (at(offset_of!(Cursors, head)), at(offset_of!(Cursors, tail)))
    }

    /// Entries of the graph table, and words of capture stacks beside it.
    pub fn graph_tables(&self) -> (u64, u64) {
        let at = |offset| self.from(CURSORS_OFFSET + offset).map_or(0, u64::from_ne_bytes);
        (at(offset_of!(Cursors, graphs)), at(offset_of!(Cursors, captures)))
    }

    /// Panics caught at the boundary.
    pub fn panics(&self) -> u64 {
        self.long(offset_of!(Stats, panics))
    }

    fn word(&self, offset: usize) -> u32 {
        self.at(offset).map_or(0, u32::from_ne_bytes)
    }

    fn long(&self, offset: usize) -> u64 {
        self.at(offset).map_or(0, u64::from_ne_bytes)
    }

    fn at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.from(STATS_OFFSET + offset)
    }

    fn from<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..)?.first_chunk().copied()
    }
}
