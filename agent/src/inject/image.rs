//! The program that a process executes, as long as it executes that one.

use crate::proc::{self, Mapping};

use super::error::InjectError;
use super::memory::Memory;

/// What addresses in a process are worth: they mean nothing in the program that it executes next.
#[derive(Debug)]
pub(super) struct Image {
    /// Opened before anything was read: a kernel binds it to the memory of this program, and it reads nothing of the
    /// next one's.
    pub(super) memory: Memory,
    /// As they were at the beginning.
    pub(super) mappings: Vec<Mapping>,
}

impl Image {
    pub(super) fn of(pid: u32) -> Result<Self, InjectError> {
        let failed = |source| InjectError::Process { pid, source };
        let memory = Memory::of(pid, pid).map_err(failed)?;
        Ok(Self { memory, mappings: proc::maps(pid).map_err(failed)? })
    }

    /// Whether the process still executes it.
    pub(super) fn is_there(&self) -> bool {
        let code = self.mappings.iter().find(|mapping| mapping.executable);
        code.is_some_and(|code| !self.memory.read(code.start, 1).is_empty())
    }

    /// Whether it is another one by now, or its loader has not brought in its libraries: what was found out says nothing
    /// of what it will be.
    pub(super) fn is_changing(&self) -> bool {
        let names = || self.mappings.iter().map(Mapping::file_name);
        let has_loader = |name: &str| name.starts_with("ld-") && !name.starts_with("ld-musl-");
        let starts = names().any(has_loader) && !names().any(|name| name.starts_with("libc"));
        starts || !self.is_there()
    }
}
