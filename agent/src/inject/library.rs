//! Functions of the C library of another process.

use std::collections::BTreeMap;

use crate::elf;
use crate::proc::Mapping;

use super::error::InjectError;

/// What is called in the other process.
const NAMES: [&str; 5] = ["dlopen", "dlsym", "dlerror", "memfd_create", "close"];

/// Addresses in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Library {
    pub(super) dlopen: u64,
    pub(super) dlsym: u64,
    pub(super) dlerror: u64,
    pub(super) memfd_create: u64,
    pub(super) close: u64,
}

impl Library {
    pub(super) fn of(pid: u32, mappings: &[Mapping]) -> Result<Self, InjectError> {
        let refused = |reason: &str| InjectError::Unsupported { pid, reason: reason.to_owned() };
        if mappings.iter().any(|mapping| mapping.file_name().starts_with("ld-musl-")) {
            return Err(refused("its C library is musl"));
        }
        // Up to 2.33 the loader's functions were in a library of their own.
        let is_library = |mapping: &&Mapping| {
            let names = ["libc.so.6", "libc-2.", "libdl.so.2", "libdl-2."];
            names.iter().any(|name| mapping.file_name().starts_with(name))
        };
        let libraries: Vec<&Mapping> =
            mappings.iter().filter(|map| map.executable).filter(is_library).collect();
        if libraries.is_empty() {
            return Err(refused("it is linked statically, or its C library is not glibc"));
        }
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for mapping in &libraries {
            let symbols = elf::find(&mapping.map_files(pid), &NAMES)
                .map_err(|error| refused(&format!("its C library cannot be read: {error}")))?;
            for (name, symbol) in symbols {
                let inside = symbol.offset.checked_sub(mapping.offset);
                let address = inside.map(|inside| mapping.start + inside);
                found.extend(address.filter(|&at| at < mapping.end).map(|address| (name, address)));
            }
        }
        let of = |name: &str| {
            let missing = || refused(&format!("its C library has no `{name}`"));
            found.get(name).copied().ok_or_else(missing)
        };
        Ok(Self {
            dlopen: of("dlopen")?,
            dlsym: of("dlsym")?,
            dlerror: of("dlerror")?,
            memfd_create: of("memfd_create")?,
            close: of("close")?,
        })
    }
}
