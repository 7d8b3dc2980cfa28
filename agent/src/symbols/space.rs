//! What lies where in a process's memory, as far as it can be executed.

use std::collections::HashMap;

use crate::proc::{self, Mapping};

use super::files::{FileId, Files};
use super::perf_map::PerfMap;
use super::vdso;

/// What an address belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    File {
        file: FileId,
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

/// The executable mappings of one process, as last read.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Start of the process, to notice that its number was given to another.
    start_time: Option<u64>,
    /// Sorted by address.
    mappings: Vec<Mapping>,
    /// Opened file of a mapping, by its start, end, offset and inode; `None` = cannot be opened.
    opened: HashMap<(u64, u64, u64, u64), Option<FileId>>,
    /// What the process tells of its anonymous code.
    pub(super) perf_map: PerfMap,
}

impl Space {
    /// Reads the mappings again while the process lives. `false` when it has ended and was never
    /// seen before.
    pub(super) fn refresh(&mut self, pid: u32) -> bool {
        let start_time = proc::start_time(pid);
        if start_time.is_some() && start_time != self.start_time {
            *self = Self { start_time, ..Self::default() };
        }
        // A process that is ending still has its number, and no mappings any more.
        if let Ok(mut mappings) = proc::maps(pid) {
            mappings.retain(|mapping| mapping.executable);
            if !mappings.is_empty() {
                mappings.sort_by_key(|mapping| mapping.start);
                self.mappings = mappings;
                let kept = &self.mappings;
                self.opened.retain(|key, _| kept.iter().any(|mapping| identity(mapping) == *key));
            }
        }
        !self.mappings.is_empty()
    }

    pub(super) fn place(&mut self, pid: u32, address: u64, files: &mut Files) -> Place {
        let behind = self.mappings.partition_point(|mapping| mapping.start <= address);
        let Some(mapping) = behind.checked_sub(1).and_then(|index| self.mappings.get(index)) else {
            return Place::Nowhere;
        };
        if address >= mapping.end {
            return Place::Nowhere;
        }
        let inside = address - mapping.start;
        if mapping.is_anonymous() {
            return Place::Anonymous;
        }
        if mapping.path == vdso::NAME {
            return Place::Vdso(inside);
        }
        let offset = mapping.offset.saturating_add(inside);
        if mapping.inode == 0 {
            return Place::Named(format!("{}+0x{inside:x}", mapping.path));
        }
        match *self.opened.entry(identity(mapping)).or_insert_with(|| files.open(pid, mapping)) {
            Some(file) => Place::File { file, offset },
            None => Place::Named(format!("{}+0x{offset:x}", mapping.file_name())),
        }
    }
}

fn identity(mapping: &Mapping) -> (u64, u64, u64, u64) {
    (mapping.start, mapping.end, mapping.offset, mapping.inode)
}
