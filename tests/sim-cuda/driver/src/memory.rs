//! Device, managed and pinned memory: addresses, who owns them, how much is left.
//!
//! All of it comes from one reserved range of real, lazily touched memory, so that copies work. A freed
//! block's pages are given back and its addresses reused, as the real driver does.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use sim_channel::lock;

use crate::config;
use crate::error::{Cu, CuError, INVALID_VALUE, OUT_OF_MEMORY};

/// How an allocation was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Device,
    Pool,
    Managed,
    /// Pinned host memory.
    Host,
    /// An address range for the virtual-memory API; memory only where something is mapped.
    Reserved,
    /// Host memory of the application, registered.
    Registered,
}

/// An allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) family: Family,
    pub(crate) device: u32,
    pub(crate) context: usize,
}

/// A mapping of a `cuMemCreate` handle into a reserved range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub(crate) size: u64,
    pub(crate) handle: usize,
}

#[derive(Debug)]
struct Memory {
    live: BTreeMap<u64, Block>,
    mapped: BTreeMap<u64, Mapping>,
    /// Free ranges: start -> length.
    free: BTreeMap<u64, u64>,
    used: Vec<u64>,
}

/// Reserved at first use, bytes of address space; less where the system refuses as much.
const RESERVE: u64 = 2 << 40;
const RESERVE_MIN: u64 = 1 << 30;

/// Allocations of this size and more are aligned to it, as the real driver's are.
const LARGE: u64 = 2 << 20;
const SMALL_ALIGN: u64 = 512;
const PAGE: u64 = 4096;

fn memory() -> &'static Mutex<Memory> {
    static MEMORY: OnceLock<Mutex<Memory>> = OnceLock::new();
    MEMORY.get_or_init(|| {
        Mutex::new(Memory {
            live: BTreeMap::new(),
            mapped: BTreeMap::new(),
            free: reserve().into_iter().collect(),
            used: vec![0; config::get().visible.len()],
        })
    })
}

/// Start and length of the range all memory comes from.
fn reserve() -> Option<(u64, u64)> {
    let mut length = RESERVE;
    while length >= RESERVE_MIN {
        // SAFETY: a fresh anonymous mapping; no existing memory is involved. NORESERVE, because only
        // what is touched shall cost memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                usize::try_from(length).unwrap_or(0),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start != libc::MAP_FAILED {
            let start = start.expose_provenance() as u64;
            let aligned = start.next_multiple_of(LARGE);
            return Some((aligned, length - (aligned - start)));
        }
        length /= 2;
    }
    None
}

/// Allocates; counted against the device's memory unless it is host memory or a mere reservation.
pub(crate) fn allocate(
    family: Family,
    device: u32,
    context: usize,
    size: u64,
    align: u64,
) -> Result<u64, CuError> {
    if size == 0 {
        return Err(INVALID_VALUE);
    }
    let mut memory = lock(memory());
    if charged(family) {
        memory.charge(device, size)?;
    }
    let align = align.max(if size >= LARGE { LARGE } else { SMALL_ALIGN });
    let Some(address) = memory.take(size.next_multiple_of(SMALL_ALIGN), align) else {
        if charged(family) {
            memory.refund(device, size);
        }
        return Err(OUT_OF_MEMORY);
    };
    memory.live.insert(address, Block { address, size, family, device, context });
    Ok(address)
}

/// Frees the allocation that starts at `address`, if it is of one of these families.
pub(crate) fn free(address: u64, families: &[Family]) -> Result<Block, CuError> {
    let mut memory = lock(memory());
    let block = memory.live.get(&address).copied().ok_or(INVALID_VALUE)?;
    if !families.contains(&block.family) {
        return Err(INVALID_VALUE);
    }
    if block.family == Family::Reserved
        && memory.mapped.range(address..address + block.size).next().is_some()
    {
        return Err(INVALID_VALUE);
    }
    memory.live.remove(&address);
    if block.family == Family::Registered {
        return Ok(block);
    }
    if charged(block.family) {
        memory.refund(block.device, block.size);
    }
    discard(address, block.size);
    memory.give(address, block.size.next_multiple_of(SMALL_ALIGN));
    Ok(block)
}

/// Registers host memory of the application.
pub(crate) fn register(address: u64, size: u64, context: usize) -> Cu {
    let mut memory = lock(memory());
    if size == 0 || memory.live.contains_key(&address) {
        return Err(INVALID_VALUE);
    }
    let block = Block { address, size, family: Family::Registered, device: 0, context };
    memory.live.insert(address, block);
    Ok(())
}

/// Charges a device for a `cuMemCreate` handle.
pub(crate) fn charge(device: u32, size: u64) -> Cu {
    lock(memory()).charge(device, size)
}

/// Gives that back.
pub(crate) fn refund(device: u32, size: u64) {
    lock(memory()).refund(device, size);
}

/// Maps a handle into a reserved range.
pub(crate) fn map(address: u64, mapping: Mapping) -> Cu {
    let mut memory = lock(memory());
    let inside = memory.block(address).is_some_and(|block| {
        block.family == Family::Reserved && address + mapping.size <= block.address + block.size
    });
    let before = memory.mapped.range(..address + mapping.size).next_back();
    let overlaps = before.is_some_and(|(&start, other)| start + other.size > address);
    if !inside || overlaps || mapping.size == 0 {
        return Err(INVALID_VALUE);
    }
    memory.mapped.insert(address, mapping);
    Ok(())
}

/// Removes the mappings of a range; the handles they held.
pub(crate) fn unmap(address: u64, size: u64) -> Result<Vec<usize>, CuError> {
    let mut memory = lock(memory());
    let starts: Vec<u64> =
        memory.mapped.range(address..address + size).map(|(&at, _)| at).collect();
    if starts.is_empty() {
        return Err(INVALID_VALUE);
    }
    let mut handles = Vec::new();
    for start in starts {
        handles.extend(memory.mapped.remove(&start).map(|mapping| mapping.handle));
    }
    discard(address, size);
    Ok(handles)
}

/// The handle mapped at an address.
pub(crate) fn mapping(address: u64) -> Option<Mapping> {
    let memory = lock(memory());
    let (&start, &mapping) = memory.mapped.range(..=address).next_back()?;
    (address < start + mapping.size).then_some(mapping)
}

/// The allocation an address lies in.
pub(crate) fn block(address: u64) -> Option<Block> {
    lock(memory()).block(address)
}

/// Free and total bytes of a device.
pub(crate) fn info(device: u32) -> (u64, u64) {
    let total = config::get().memory;
    let used = lock(memory()).used.get(device as usize).copied().unwrap_or(0);
    (total.saturating_sub(used), total)
}

fn charged(family: Family) -> bool {
    matches!(family, Family::Device | Family::Pool | Family::Managed)
}

/// Gives the pages of a range back to the system.
fn discard(address: u64, size: u64) {
    let start = address.next_multiple_of(PAGE);
    let end = (address + size) / PAGE * PAGE;
    if start >= end {
        return;
    }
    let page =
        std::ptr::with_exposed_provenance_mut::<libc::c_void>(usize::try_from(start).unwrap_or(0));
    // SAFETY: whole pages inside a block of the range that `reserve` mapped, which nobody uses: it is
    // freed or unmapped by the caller under the lock.
    unsafe { libc::madvise(page, usize::try_from(end - start).unwrap_or(0), libc::MADV_DONTNEED) };
}

impl Memory {
    fn block(&self, address: u64) -> Option<Block> {
        let (_, block) = self.live.range(..=address).next_back()?;
        (address < block.address + block.size).then_some(*block)
    }

    fn charge(&mut self, device: u32, size: u64) -> Cu {
        let used = self.used.get_mut(device as usize).ok_or(INVALID_VALUE)?;
        if *used + size > config::get().memory {
            return Err(OUT_OF_MEMORY);
        }
        *used += size;
        Ok(())
    }

    fn refund(&mut self, device: u32, size: u64) {
        if let Some(used) = self.used.get_mut(device as usize) {
            *used = used.saturating_sub(size);
        }
    }

    /// First fit.
    fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let (start, length, at) = self.free.iter().find_map(|(&start, &length)| {
            let at = start.next_multiple_of(align);
            (at + size <= start + length).then_some((start, length, at))
        })?;
        self.free.remove(&start);
        if at > start {
            self.free.insert(start, at - start);
        }
        if at + size < start + length {
            self.free.insert(at + size, start + length - at - size);
        }
        Some(at)
    }

    /// Returns a range, joined with its free neighbours.
    fn give(&mut self, mut start: u64, mut length: u64) {
        if let Some((&before, &size)) = self.free.range(..start).next_back()
            && before + size == start
        {
            self.free.remove(&before);
            start = before;
            length += size;
        }
        if let Some(size) = self.free.remove(&(start + length)) {
            length += size;
        }
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_split_joined_and_reused() {
        let mut memory = Memory {
            live: BTreeMap::new(),
            mapped: BTreeMap::new(),
            free: BTreeMap::from([(4096, 1 << 20)]),
            used: Vec::new(),
        };
        let first = memory.take(512, 512).unwrap();
        let second = memory.take(1024, 4096).unwrap();
        let third = memory.take(512, 512).unwrap();
        assert_eq!((first, second, third), (4096, 8192, 4608));
        memory.give(first, 512);
        assert_eq!(memory.take(512, 512), Some(first));
        for (start, length) in [(first, 512), (second, 1024), (third, 512)] {
            memory.give(start, length);
        }
        assert_eq!(memory.free, BTreeMap::from([(4096, 1 << 20)]));
    }
}
