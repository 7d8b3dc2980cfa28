//! Looks into a worker's ring from outside, as any debugger may: through `/proc/PID/mem`.

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt as _;

use wire::limits::{PRODUCERS, RING_SLOTS};
use wire::shim::{
    CONTROL_OFFSET, CURSORS_OFFSET, Control, Cursors, FLAG_SIMULATED, FLAG_STATS_ONLY, Header,
    Level, MAGIC, MEMFD_NAME, OffReason, PAGE, Payload, RING_OFFSET, SLOT_BYTES, SMALL_BYTES,
    STATS_OFFSET, Stats,
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
    let begin = mapping.start;
    view(&memory, begin, mapping)
}

fn view(file: &File, begin: u64, mapping: Mapping) -> Option<RingView> {
    // A full ring shows its positions on the page behind the stats; a small one ends there.
    let mut bytes = vec![0; SMALL_BYTES + PAGE];
    let length = usize::try_from(mapping.bytes()).ok()?.min(bytes.len());
    bytes.truncate(length);
    file.read_exact_at(&mut bytes, begin).ok()?;
    let view = RingView { mapping, bytes };
    (view.header().is_some_and(|header| header.magic == MAGIC)).then_some(view)
}

/// A ring whose memory stays when its process ends. The process keeps its descriptor
/// (`WARPLENS_KEEP_FD=1`). Whoever holds it may also ask for levels, as an agent does.
#[derive(Debug)]
pub struct Held {
    file: File,
    mapping: Mapping,
}

/// Holds the ring of a process; `None` while there is none.
pub fn hold(pid: u32) -> Option<Held> {
    let mapping = mappings(pid).into_iter().next()?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let name = format!("/memfd:{MEMFD_NAME}");
    let path = descriptors.flatten().map(|entry| entry.path()).find(|path| {
        std::fs::read_link(path)
            .is_ok_and(|target| target.to_string_lossy().starts_with(name.as_str()))
    })?;
    let file = File::options().read(true).write(true).open(path).ok()?;
    Some(Held { file, mapping })
}

impl Held {
    /// The first pages as they are.
    pub fn view(&self) -> Option<RingView> {
        view(&self.file, 0, self.mapping.clone())
    }

    /// Asks for a level, with a sign of life.
    ///
    /// # Errors
    /// When the memory cannot be written.
    pub fn ask(&self, level: Level, stack_rate: u32) -> std::io::Result<()> {
        let at = |offset: usize| (CONTROL_OFFSET + offset) as u64;
        let level = level as u32;
        self.file.write_all_at(&level.to_ne_bytes(), at(offset_of!(Control, level)))?;
        self.file.write_all_at(&stack_rate.to_ne_bytes(), at(offset_of!(Control, stack_rate)))?;
        let mut beat = [0; 8];
        self.file.read_exact_at(&mut beat, at(offset_of!(Control, heartbeat)))?;
        let beat = u64::from_ne_bytes(beat).wrapping_add(1);
        self.file.write_all_at(&beat.to_ne_bytes(), at(offset_of!(Control, heartbeat)))
    }

    /// The records nobody has read. A position without a record is a writer that died in between.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub fn records(&self) -> std::io::Result<Vec<Payload>> {
        let (head, tail) = self.view().map_or((0, 0), |view| view.positions());
        let mut records = Vec::new();
        for position in tail..head {
            let slot = usize::try_from(position).unwrap_or(usize::MAX) % RING_SLOTS;
            let mut bytes = [0; SLOT_BYTES];
            self.file.read_exact_at(&mut bytes, (RING_OFFSET + slot * SLOT_BYTES) as u64)?;
            let [payload @ .., stamp]: [u64; 8] = zerocopy::transmute!(bytes);
            if stamp == position.wrapping_add(1) {
                records.push(payload);
            }
        }
        Ok(records)
    }
}

/// Every mapping of a ring in a process.
pub fn mappings(pid: u32) -> Vec<Mapping> {
    process::mappings(pid, &format!("/memfd:{MEMFD_NAME}"))
}

/// Every process that maps a ring: workers with the shim, and the agents that read them.
pub fn holders() -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| !mappings(pid).is_empty()).collect()
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

    /// Bytes between two samples of the heap; 0: it is not sampled.
    pub fn heap_mean(&self) -> u64 {
        self.long(offset_of!(Stats, heap_mean))
    }

    /// How often CUPTI was left to another tool.
    pub fn yields(&self) -> u64 {
        self.long(offset_of!(Stats, yields))
    }

    /// Records CUPTI said it dropped.
    pub fn cupti_dropped(&self) -> u64 {
        self.long(offset_of!(Stats, cupti_dropped))
    }

    /// Names that found the area full.
    pub fn names_full(&self) -> u64 {
        self.long(offset_of!(Stats, names_full))
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
