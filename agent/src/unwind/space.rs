//! What lies where in a process's memory, as far as it can be executed. Read again when an address
//! is not in it, and now and then, because code may be exchanged at the same place.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::proc::{self, Mapping};

use super::modules::{ModuleId, Modules};

/// Time after which the mappings are read again although nothing is missing. Reading a vLLM worker's
/// 2 000 takes 2 ms.
const AGE_MAX: Duration = Duration::from_secs(10);

/// Time after which they are read again because an address is in none: doubled each time that it did
/// not help, up to the other. A stack that went astray must not cost much each time.
const PAUSE: Duration = Duration::from_millis(50);

/// The same, as a multiple of what reading took: 2 % of the time at most, however many there are.
const PAUSE_FACTOR: u32 = 50;

/// Bytes of the vdso at most; it has two pages.
const VDSO_MAX: u64 = 64 << 10;

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Located {
    /// A file, and the address in its own terms.
    File(ModuleId, u64),
    /// Executable memory without a file, or with one that has no unwind information.
    NoFile,
    /// Not executable, or not mapped.
    Nowhere,
    /// As [`Located::Nowhere`], but what is known may be out of date.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Code {
    /// Nothing was found there yet.
    Unopened,
    /// The address of the mapping's start in the file's own terms.
    File(ModuleId, u64),
    NoFile,
}

/// The executable mappings of one process, as last read.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Sorted by address.
    mappings: Vec<(Mapping, Code)>,
    read_at: Option<Instant>,
    pause: Duration,
}

impl Space {
    /// Where `address` belongs, if its mapping was come to before.
    pub(super) fn known(&self, address: u64) -> Option<Located> {
        let (mapping, code) = self.mappings.get(self.position(address)?)?;
        match *code {
            Code::File(id, start) => {
                Some(Located::File(id, start.wrapping_add(address - mapping.start)))
            }
            Code::NoFile => Some(Located::NoFile),
            Code::Unopened => None,
        }
    }

    /// Another stack is looked at: reads the mappings again when they are old.
    pub(super) fn begin(&mut self, pid: u32) {
        if self.read_at.is_none_or(|at| at.elapsed() > AGE_MAX.max(self.pause)) {
            self.pause = self.read(pid);
        }
    }

    /// Where `address` belongs.
    pub(super) fn locate(&mut self, pid: u32, address: u64, modules: &mut Modules) -> Located {
        let Some(index) = self.position(address) else {
            return if self.read_at.is_some_and(|at| at.elapsed() < self.pause) {
                Located::Unknown
            } else {
                Located::Nowhere
            };
        };
        let Some((mapping, code)) = self.mappings.get_mut(index) else {
            return Located::Nowhere;
        };
        if let Code::Unopened = code {
            *code = open(pid, mapping, modules).unwrap_or(Code::NoFile);
        }
        match *code {
            Code::File(id, start) => Located::File(id, start.wrapping_add(address - mapping.start)),
            Code::NoFile | Code::Unopened => Located::NoFile,
        }
    }

    /// Makes sure that the mapping of `address` is known if there is one.
    pub(super) fn prepare(&mut self, pid: u32, address: u64) {
        if self.position(address).is_some() {
            return;
        }
        if self.read_at.is_none_or(|at| at.elapsed() > self.pause) {
            let shortest = self.read(pid);
            let helped = self.position(address).is_some();
            let longer = (self.pause * 2).min(AGE_MAX);
            self.pause = if helped { shortest } else { longer.max(shortest) };
        }
    }

    fn position(&self, address: u64) -> Option<usize> {
        let after = self.mappings.partition_point(|(mapping, _)| mapping.start <= address);
        let index = after.checked_sub(1)?;
        self.mappings.get(index).filter(|(mapping, _)| address < mapping.end).map(|_| index)
    }

    /// Returns for how long it should not be done again.
    fn read(&mut self, pid: u32) -> Duration {
        let begin = Instant::now();
        let mut mappings = proc::maps(pid).unwrap_or_default();
        let end = Instant::now();
        self.read_at = Some(end);
        let pause = (end.duration_since(begin) * PAUSE_FACTOR).max(PAUSE);
        mappings.retain(|mapping| mapping.executable);
        // A process that is ending has no mappings any more, and its last stacks are still to come.
        if mappings.is_empty() {
            return pause;
        }
        mappings.sort_by_key(|mapping| mapping.start);
        let mut before = std::mem::take(&mut self.mappings).into_iter().peekable();
        self.mappings = mappings
            .into_iter()
            .map(|mapping| {
                while before.next_if(|(old, _)| old.start < mapping.start).is_some() {}
                let same = before.next_if(|(old, _)| *old == mapping);
                (mapping, same.map_or(Code::Unopened, |(_, code)| code))
            })
            .collect();
        pause
    }

    /// The files that stacks of this process went through.
    pub(super) fn modules(&self) -> impl Iterator<Item = ModuleId> {
        self.mappings.iter().filter_map(|(_, code)| match code {
            Code::File(id, _) => Some(*id),
            Code::Unopened | Code::NoFile => None,
        })
    }
}

fn open(pid: u32, mapping: &Mapping, modules: &mut Modules) -> Option<Code> {
    let id = if mapping.path == "[vdso]" {
        let length = mapping.end.checked_sub(mapping.start).filter(|&length| length <= VDSO_MAX)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
        memory.read_exact_at(&mut bytes, mapping.start).ok()?;
        modules.vdso(bytes.into())?
    } else {
        let (file, metadata) = mapping.open(pid).ok()?;
        modules.open(file, &metadata)?
    };
    Some(Code::File(id, modules.mapped_address(id, mapping.offset)?))
}
