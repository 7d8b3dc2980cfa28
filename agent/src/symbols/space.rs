//! What lies where in a process's memory, as far as it can be executed, and what to call it.

use std::sync::Arc;
use std::time::Duration;

use crate::proc::{CodeSpace, Mapping};

use super::files::{Files, OpenFile};
use super::perf_map::PerfMap;
use super::vdso;

/// Time after which the mappings are read again although nothing is missing: code may be exchanged at the
/// same place.
const AGE_MAX: Duration = Duration::from_secs(10);

/// What an address belongs to.
#[derive(Debug)]
pub(super) enum Place {
    File {
        file: Arc<OpenFile>,
        offset: u64,
    },
    /// Executable memory that nothing was mapped into: code made at run time.
    Anonymous,
    /// The kernel's, at an offset.
    Vdso(u64),
    /// Executable memory whose file cannot be read: what to call it.
    Named(String),
    /// Not executable, or not mapped.
    Nowhere,
}

/// The code of one process, as last read. Kept of a mapping: its opened file; `None` = cannot be opened.
#[derive(Debug, Default)]
pub(super) struct Space {
    code: CodeSpace<Option<Arc<OpenFile>>>,
    /// What the process tells of its anonymous code.
    pub(super) perf_map: PerfMap,
}

impl Space {
    /// Reads the mappings again where they are old or lack one of these addresses. `false` for a process
    /// that has ended and was never seen before.
    pub(super) fn prepare(&mut self, pid: u32, addresses: &[u64]) -> bool {
        let is_old = self.code.age().is_none_or(|age| age > AGE_MAX);
        if is_old || addresses.iter().any(|&address| self.code.get(address).is_none()) {
            self.code.read(pid);
        }
        !self.code.is_empty()
    }

    pub(super) fn place(&mut self, pid: u32, address: u64, files: &mut Files) -> Place {
        let Some((mapping, opened)) = self.code.get(address) else {
            return Place::Nowhere;
        };
        let inside = address - mapping.start;
        if mapping.is_anonymous() {
            return Place::Anonymous;
        }
        if mapping.path == vdso::NAME {
            return Place::Vdso(inside);
        }
        if mapping.inode == 0 {
            return Place::Named(format!("{}+0x{inside:x}", mapping.path));
        }
        let offset = mapping.offset.saturating_add(inside);
        let file = match opened {
            Some(file) => file.clone(),
            None => self.open(pid, address, files),
        };
        match file {
            Some(file) => Place::File { file, offset },
            None => Place::Named(format!("{}+0x{offset:x}", self.file_name(address))),
        }
    }

    fn open(&mut self, pid: u32, address: u64, files: &mut Files) -> Option<Arc<OpenFile>> {
        let opened = self.code.get_or_make(address, |mapping| files.open(pid, mapping));
        opened.and_then(|(_, file)| file.clone())
    }

    fn file_name(&self, address: u64) -> &str {
        self.code.get(address).map_or("", |(mapping, _)| Mapping::file_name(mapping))
    }
}
