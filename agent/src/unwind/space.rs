//! What lies where in a process's memory, as far as it can be executed. Read again when an address
//! is not in it, and now and then, because code may be exchanged at the same place.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::proc::{CodeSpace, Mapping};

use super::modules::{ModuleId, Modules};
use super::trampoline;

/// Time after which the mappings are read again although nothing is missing.
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
    /// So many bytes into the kernel's page for probes.
    Trampoline(u64),
    /// Not executable, or not mapped.
    Nowhere,
    /// As [`Located::Nowhere`], but what is known may be out of date.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Code {
    /// The address of the mapping's start in the file's own terms.
    File(ModuleId, u64),
    NoFile,
    Trampoline,
}

impl Code {
    fn located(self, mapping: &Mapping, address: u64) -> Located {
        match self {
            Self::File(id, start) => Located::File(id, start.wrapping_add(address - mapping.start)),
            Self::NoFile => Located::NoFile,
            Self::Trampoline => Located::Trampoline(address - mapping.start),
        }
    }
}

/// The code of one process, as last read.
#[derive(Debug, Default)]
pub(super) struct Space {
    code: CodeSpace<Code>,
    pause: Duration,
}

impl Space {
    /// Where `address` belongs, if its mapping was come to before.
    pub(super) fn known(&self, address: u64) -> Option<Located> {
        let (mapping, code) = self.code.get(address)?;
        Some(code?.located(mapping, address))
    }

    /// Another stack is looked at: reads the mappings again when they are old.
    pub(super) fn begin(&mut self, pid: u32) {
        if self.code.age().is_none_or(|age| age > AGE_MAX.max(self.pause)) {
            self.pause = self.read(pid);
        }
    }

    /// Where `address` belongs.
    pub(super) fn locate(&mut self, pid: u32, address: u64, modules: &mut Modules) -> Located {
        let nowhere = match self.code.age() {
            Some(age) if age < self.pause => Located::Unknown,
            _ => Located::Nowhere,
        };
        let made = |mapping: &Mapping| open(pid, mapping, modules).unwrap_or(Code::NoFile);
        let found = self.code.get_or_make(address, made);
        found.map_or(nowhere, |(mapping, code)| code.located(mapping, address))
    }

    /// Makes sure that the mapping of `address` is known if there is one.
    pub(super) fn prepare(&mut self, pid: u32, address: u64) {
        if self.code.get(address).is_some() {
            return;
        }
        if self.code.age().is_none_or(|age| age > self.pause) {
            let shortest = self.read(pid);
            let helped = self.code.get(address).is_some();
            let longer = (self.pause * 2).min(AGE_MAX);
            self.pause = if helped { shortest } else { longer.max(shortest) };
        }
    }

    /// Returns for how long it should not be done again.
    fn read(&mut self, pid: u32) -> Duration {
        let begin = Instant::now();
        self.code.read(pid);
        (begin.elapsed() * PAUSE_FACTOR).max(PAUSE)
    }

    /// The files that stacks of this process went through.
    pub(super) fn modules(&self) -> impl Iterator<Item = ModuleId> {
        self.code.kept().filter_map(|code| match code {
            Code::File(id, _) => Some(*id),
            Code::NoFile | Code::Trampoline => None,
        })
    }
}

fn open(pid: u32, mapping: &Mapping, modules: &mut Modules) -> Option<Code> {
    if mapping.path == trampoline::NAME {
        return Some(Code::Trampoline);
    }
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
