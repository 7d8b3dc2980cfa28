//! Where a process has a ring and the probe point.

use std::fs;
use std::io;
use std::path::PathBuf;

use wire::shim::MEMFD_NAME;

use super::memory::{self, OpenError};
use crate::elf;
use crate::proc::{self, Mapping, maps};

/// A ring of a process, and how to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub pid: u32,
    /// Links to try in this order.
    pub links: Vec<PathBuf>,
}

/// The ring of `pid`, if it has one. Fails only when the process is gone or not ours to look at.
pub fn find(pid: u32) -> io::Result<Option<Location>> {
    let mapping = maps(pid)?.into_iter().find(is_ring);
    let location = mapping.map(|mapping| {
        let mut links = vec![mapping.map_files(pid)];
        links.extend(kept_descriptor(pid));
        Location { pid, links }
    });
    Ok(location.filter(|location| !is_borrowed(location)))
}

/// Whether the ring is that of another process, or was gone when it was looked at: a child of `vfork` has its parent's
/// memory until it executes a program.
fn is_borrowed(location: &Location) -> bool {
    match memory::maker(location) {
        Ok(maker) => proc::inner_number(location.pid).is_some_and(|own| own != maker),
        Err(OpenError::Open { source, .. }) => source.kind() == io::ErrorKind::NotFound,
        // Whoever uses it says what is wrong with it.
        Err(_) => false,
    }
}

fn is_ring(mapping: &Mapping) -> bool {
    mapping.file_name().strip_prefix("memfd:") == Some(MEMFD_NAME) && mapping.offset == 0
}

/// The descriptor that `WARPLENS_KEEP_FD=1` leaves open, for agents without the right to use `map_files`.
fn kept_descriptor(pid: u32) -> Option<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        fs::read_link(path).is_ok_and(|target| {
            target
                .to_string_lossy()
                .strip_prefix("/memfd:")
                .is_some_and(|rest| rest.starts_with(MEMFD_NAME))
        })
    })
}

/// The library of `pid` that defines `symbol`, as a link that opens it. Libraries whose name holds
/// `hint` are tried first, but a deployer may have called ours anything.
pub fn library_with(pid: u32, symbol: &str, hint: &str) -> io::Result<Option<PathBuf>> {
    let mut libraries: Vec<_> =
        maps(pid)?.into_iter().filter(|mapping| mapping.executable && mapping.inode != 0).collect();
    libraries.sort_by_key(|mapping| (!mapping.file_name().contains(hint), mapping.inode));
    libraries.dedup_by_key(|mapping| mapping.inode);
    let links = libraries.iter().map(|mapping| mapping.map_files(pid));
    // A file that cannot be read or is no ELF file does not define it.
    Ok(links.into_iter().find(|link| elf::defines(link, symbol).unwrap_or(false)))
}
