//! Handles: opaque numbers that stand for objects, checked at every use.
//!
//! A handle holds a type tag, a generation and a slot. A destroyed, foreign or made-up handle is
//! refused (error 400) instead of being followed as a pointer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use sim_channel::lock;

use crate::error::{CuError, INVALID_HANDLE};

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 16;
/// Keeps handles 16-aligned like the pointers they stand in for.
const SHIFT: u32 = 4;

/// What a handle stands for; also its top bits, so that handles of two types never agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Context = 1,
    Stream = 2,
    Event = 3,
    Module = 4,
    Function = 5,
    Graph = 6,
    Node = 7,
    Exec = 8,
    MemoryPool = 9,
    Memory = 10,
}

/// All objects of one type.
pub(crate) struct Pool<T> {
    tag: Tag,
    slots: RwLock<Vec<Slot<T>>>,
    free: Mutex<Vec<usize>>,
    /// Live objects, for tests and messages.
    live: AtomicU64,
}

struct Slot<T> {
    generation: u64,
    object: Option<Arc<T>>,
}

impl<T> Pool<T> {
    pub(crate) const fn new(tag: Tag) -> Self {
        Self {
            tag,
            slots: RwLock::new(Vec::new()),
            free: Mutex::new(Vec::new()),
            live: AtomicU64::new(0),
        }
    }

    /// Makes an object that is told its own handle.
    pub(crate) fn insert(&self, make: impl FnOnce(usize) -> T) -> (usize, Arc<T>) {
        let reused = lock(&self.free).pop();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let index = reused.unwrap_or_else(|| {
            slots.push(Slot { generation: 0, object: None });
            slots.len() - 1
        });
        let slot = &mut slots[index];
        slot.generation = (slot.generation + 1) % (1 << GENERATION_BITS);
        let handle = self.handle(index, slot.generation);
        let object = Arc::new(make(handle));
        slot.object = Some(Arc::clone(&object));
        self.live.fetch_add(1, Ordering::Relaxed);
        (handle, object)
    }

    /// The object of a handle.
    pub(crate) fn get(&self, handle: usize) -> Result<Arc<T>, CuError> {
        let (index, generation) = self.split(handle)?;
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(index).filter(|slot| slot.generation == generation);
        slot.and_then(|slot| slot.object.clone()).ok_or(INVALID_HANDLE)
    }

    /// Makes a handle invalid; the object lives on while somebody still uses it.
    pub(crate) fn remove(&self, handle: usize) -> Result<Arc<T>, CuError> {
        let (index, generation) = self.split(handle)?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get_mut(index).filter(|slot| slot.generation == generation);
        let object = slot.and_then(|slot| slot.object.take()).ok_or(INVALID_HANDLE)?;
        drop(slots);
        lock(&self.free).push(index);
        self.live.fetch_sub(1, Ordering::Relaxed);
        Ok(object)
    }

    fn handle(&self, index: usize, generation: u64) -> usize {
        let tag = (self.tag as usize) << (SLOT_BITS + GENERATION_BITS);
        let generation = usize::try_from(generation).unwrap_or(0) << SLOT_BITS;
        (tag | generation | index) << SHIFT
    }

    fn split(&self, handle: usize) -> Result<(usize, u64), CuError> {
        let bits = handle >> SHIFT;
        let tag = bits >> (SLOT_BITS + GENERATION_BITS);
        if tag != self.tag as usize || bits << SHIFT != handle {
            return Err(INVALID_HANDLE);
        }
        let generation = (bits >> SLOT_BITS) & ((1 << GENERATION_BITS) - 1);
        Ok((bits & ((1 << SLOT_BITS) - 1), generation as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_and_foreign_handles_are_refused() {
        let pool: Pool<u32> = Pool::new(Tag::Event);
        let (first, _) = pool.insert(|_| 1);
        assert_eq!(pool.get(first).map(|value| *value), Ok(1));
        assert!(pool.remove(first).is_ok());
        let (second, _) = pool.insert(|_| 2);
        assert_ne!(first, second);
        for bad in [first, 0, 1, 2, usize::MAX, second + 1] {
            assert_eq!(pool.get(bad).err(), Some(INVALID_HANDLE), "{bad:#x}");
        }
        let other: Pool<u32> = Pool::new(Tag::Stream);
        assert_eq!(other.get(second).err(), Some(INVALID_HANDLE));
        assert_eq!(pool.live.load(Ordering::Relaxed), 1);
    }
}
