//! What was told once and is needed for as long as its process has records in the window: descriptions, names, graph
//! tables, the stacks of captures, symbols. Kept beside the ring, under a limit of its own, and forgotten with the
//! last record of its process.

use std::collections::{BTreeMap, VecDeque};

use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{DeviceKey, Ns, ProcessKey, Thread};

use super::pack::{Frames, Packed, Press};
use crate::pipeline::Input;

/// What a log holds uncompressed at most: a full node's hundred processes then take some megabytes.
const LOG_RAW: usize = 32 << 10;

/// Devices and processes kept. A node has tens; only bounds memory.
const DEVICES_MAX: usize = 4096;
const PROCESSES_MAX: usize = 4096;

/// Devices and threads one process may name: the pipeline's own bounds are wider, a worker has a few.
const ORDINALS_MAX: usize = 64;
const THREADS_MAX: usize = 1024;

/// The latest sentences kept, and the longest.
const NOTES_MAX: usize = 64;
const NOTE_BYTES: usize = 1024;

/// Estimated bytes of a process without its log.
const PROCESS_BYTES: usize = 512;

/// One process as it must be introduced.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) info: ProcessInfo,
    /// When it was met.
    pub(super) met: Ns,
    /// Its ring is read.
    pub(super) attached: bool,
    pub(super) ordinals: Vec<(u32, DeviceKey)>,
    /// Those of them without a context.
    pub(super) unopened: Vec<u32>,
    /// Kernel's numbers of the shim's threads.
    pub(super) threads: BTreeMap<u32, Thread>,
    /// Names, graph entries, capture stacks, symbols, in the order in which they came.
    pub(super) log: Vec<Packed>,
}

#[derive(Debug)]
struct Kept {
    standing: Standing,
    frames: Frames,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Table {
    limit: usize,
    bytes: usize,
    refused: u64,
    devices: BTreeMap<DeviceKey, DeviceInfo>,
    processes: BTreeMap<ProcessKey, Kept>,
    notes: VecDeque<String>,
}

impl Table {
    /// Takes at most `limit` bytes, but for descriptions, which are bounded by their number.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            refused: 0,
            devices: BTreeMap::new(),
            processes: BTreeMap::new(),
            notes: VecDeque::new(),
        }
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        let raw: usize = self.processes.values().map(|kept| kept.frames.len()).sum();
        self.bytes + raw + self.processes.len() * PROCESS_BYTES
    }

    /// Inputs that found no room. Only grows.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn device(&mut self, device: DeviceKey, info: DeviceInfo) {
        if self.devices.len() < DEVICES_MAX || self.devices.contains_key(&device) {
            self.devices.insert(device, info);
        } else {
            self.refused += 1;
        }
    }

    pub(super) fn process(&mut self, process: ProcessKey, info: &ProcessInfo, now: Ns) {
        if let Some(kept) = self.processes.get_mut(&process) {
            kept.standing.info.clone_from(info);
        } else if self.processes.len() < PROCESSES_MAX {
            let standing = Standing {
                info: info.clone(),
                met: now,
                attached: false,
                ordinals: Vec::new(),
                unopened: Vec::new(),
                threads: BTreeMap::new(),
                log: Vec::new(),
            };
            self.processes.insert(process, Kept { standing, frames: Frames::default() });
        } else {
            self.refused += 1;
        }
    }

    pub(super) fn attached(&mut self, process: ProcessKey) {
        if let Some(kept) = self.processes.get_mut(&process) {
            kept.standing.attached = true;
        }
    }

    pub(super) fn ordinal(&mut self, process: ProcessKey, ordinal: u32, device: DeviceKey) {
        if let Some(kept) = self.processes.get_mut(&process) {
            kept.standing.unopened.retain(|unopened| *unopened != ordinal);
            if kept.standing.ordinals.contains(&(ordinal, device)) {
                return;
            }
            if kept.standing.ordinals.len() < ORDINALS_MAX {
                kept.standing.ordinals.push((ordinal, device));
            } else {
                self.refused += 1;
            }
        }
    }

    pub(super) fn unopened(&mut self, process: ProcessKey, ordinal: u32) {
        if let Some(kept) = self.processes.get_mut(&process)
            && kept.standing.unopened.len() < ORDINALS_MAX
        {
            kept.standing.unopened.push(ordinal);
        }
    }

    /// The shim's thread number `thread` of the process of this number is `tid`.
    pub(super) fn thread(&mut self, pid: u32, thread: u32, tid: Thread) {
        let Some(process) = self.of_pid(pid) else {
            return;
        };
        if let Some(kept) = self.processes.get_mut(&process) {
            let threads = &mut kept.standing.threads;
            if threads.len() < THREADS_MAX || threads.contains_key(&thread) {
                threads.insert(thread, tid);
            }
        }
    }

    /// The process that had this number last.
    pub(super) fn of_pid(&self, pid: u32) -> Option<ProcessKey> {
        let mut found = self.processes.iter().rev();
        found.find(|(_, kept)| kept.standing.info.pid == pid).map(|(&process, _)| process)
    }

    /// Appends to the log of a process.
    pub(super) fn log(&mut self, process: ProcessKey, input: &Input, press: &mut Press) {
        let Some(kept) = self.processes.get_mut(&process) else {
            return;
        };
        let before = kept.frames.len();
        kept.frames.push(input);
        // What is compressed is what counts: a graph table shrinks to a tenth.
        if kept.frames.len() < LOG_RAW {
            return;
        }
        match kept.frames.pack(press) {
            Some(packed) if self.bytes + packed.len() <= self.limit => {
                self.bytes += packed.len();
                kept.standing.log.push(packed);
            }
            Some(_) | None => self.refused += 1,
        }
        kept.frames.clear();
        if before == 0 {
            kept.frames = Frames::default();
        }
    }

    pub(super) fn note(&mut self, note: &str) {
        if self.notes.iter().any(|known| known == note) || note.len() > NOTE_BYTES {
            return;
        }
        if self.notes.len() >= NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(note.to_owned());
    }

    /// Nothing of the process is in the window any more.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        if let Some(kept) = self.processes.remove(&process) {
            let log: usize = kept.standing.log.iter().map(Packed::len).sum();
            self.bytes = self.bytes.saturating_sub(log);
        }
    }

    pub(super) fn devices(&self) -> BTreeMap<DeviceKey, DeviceInfo> {
        self.devices.clone()
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.iter().cloned().collect()
    }

    /// Every process with its whole log.
    pub(super) fn processes(&self, press: &mut Press) -> BTreeMap<ProcessKey, Standing> {
        let standing = self.processes.iter().map(|(&process, kept)| {
            let mut standing = kept.standing.clone();
            standing.log.extend(kept.frames.pack(press));
            (process, standing)
        });
        standing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pid: u32) -> ProcessInfo {
        ProcessInfo { pid, title: "w".to_owned(), ..ProcessInfo::default() }
    }

    fn name(id: u32) -> Input {
        // Nothing that compresses well.
        let text: String = (0..200_u32)
            .map(|n| {
                char::from(b'!' + u8::try_from((id ^ n).wrapping_mul(2_654_435_761) >> 26).unwrap())
            })
            .collect();
        Input::Name { process: ProcessKey(0), id, name: text }
    }

    #[test]
    fn a_log_has_its_limit_and_goes_with_its_process() {
        let (mut table, mut press) = (Table::new(100_000), Press::new());
        table.process(ProcessKey(0), &info(7), Ns(5));
        table.process(ProcessKey(0), &ProcessInfo { title: "later".to_owned(), ..info(7) }, Ns(9));
        for id in 0..5_000 {
            table.log(ProcessKey(0), &name(id), &mut press);
            assert!(table.bytes() <= 100_000 + LOG_RAW + 300 + PROCESS_BYTES, "{}", table.bytes());
        }
        assert!(table.refused() > 0);
        let processes = table.processes(&mut press);
        let standing = &processes[&ProcessKey(0)];
        assert_eq!((standing.met, standing.info.title.as_str()), (Ns(5), "later"));
        assert!(standing.log.len() > 1);
        table.forget(ProcessKey(0));
        assert_eq!(table.bytes(), 0);
    }

    #[test]
    fn of_two_processes_with_one_number_the_later_has_it() {
        let mut table = Table::new(0);
        table.process(ProcessKey(1), &info(7), Ns(1));
        table.process(ProcessKey(2), &info(7), Ns(2));
        assert_eq!(table.of_pid(7), Some(ProcessKey(2)));
        assert_eq!(table.of_pid(8), None);
    }

    #[test]
    fn sentences_are_kept_once_and_not_without_end() {
        let mut table = Table::new(0);
        for number in 0..200 {
            table.note(&format!("note {}", number % 100));
        }
        let notes = table.notes();
        assert_eq!((notes.len(), notes[0].as_str()), (NOTES_MAX, "note 36"));
    }
}
