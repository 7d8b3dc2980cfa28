//! Where code of ours can lie in another process without new memory that may be executed, which policies forbid:
//! between the end of a library's code and the end of its last page, where nothing is.

use crate::elf;
use crate::proc::Mapping;

use super::arch;
use super::memory::Memory;

/// Bytes of the code's alignment.
const ALIGNMENT: u64 = 16;

const PAGE: u64 = 4096;

/// A place for [`arch::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cave {
    pub(super) address: u64,
    /// The code is there already.
    pub(super) written: bool,
}

/// The C library's, if it has room, or else the first library's that has.
pub(super) fn find(pid: u32, mappings: &[Mapping], memory: &Memory) -> Option<Cave> {
    let mut candidates: Vec<&Mapping> = mappings.iter().filter(|map| may_hold(map)).collect();
    candidates.sort_by_key(|map| !map.file_name().starts_with("libc"));
    candidates.into_iter().find_map(|mapping| {
        let (file, _) = mapping.open(pid).ok()?;
        let object = elf::sections(&file, &mapping.path, "").ok()?;
        let segment = object.executable_at(mapping.offset)?;
        let inside = segment.offset.checked_sub(mapping.offset)?.checked_add(segment.size)?;
        in_gap(mapping.start.checked_add(inside)?, mapping.end, memory)
    })
}

/// Code that belongs to a file on disk and to this process alone, once it writes there.
fn may_hold(mapping: &Mapping) -> bool {
    mapping.executable
        && !mapping.writable
        && !mapping.shared
        && mapping.inode != 0
        && mapping.path.starts_with('/')
        && !mapping.path.starts_with("/memfd:")
}

/// At the end of `[begin, end)`, where there is room and nothing but zeros, or the code.
fn in_gap(begin: u64, end: u64, memory: &Memory) -> Option<Cave> {
    let code = arch::code();
    let address = end.checked_sub(code.len() as u64)? & !(ALIGNMENT - 1);
    if address < begin || end - begin >= PAGE {
        return None;
    }
    let there = memory.read(address, code.len());
    let written = there == code;
    let empty = there.len() == code.len() && there.iter().all(|&byte| byte == 0);
    (written || empty).then_some(Cave { address, written })
}
