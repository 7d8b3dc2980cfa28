//! What code lies where in a process's memory, as last read, and what was found out about each mapping.

use std::time::{Duration, Instant};

use super::maps::{Mapping, maps};

/// The executable mappings of one process, each with what its reader keeps of it. Reading those of a vLLM
/// worker, which has 2 000 of all kinds, takes 2 ms.
#[derive(Debug)]
pub struct CodeSpace<T> {
    /// Sorted by address.
    mappings: Vec<(Mapping, Option<T>)>,
    read_at: Option<Instant>,
}

impl<T> Default for CodeSpace<T> {
    fn default() -> Self {
        Self { mappings: Vec::new(), read_at: None }
    }
}

impl<T> CodeSpace<T> {
    /// Reads the mappings again. What is kept of one stays while it is there unchanged.
    pub fn read(&mut self, pid: u32) {
        let mut mappings = maps(pid).unwrap_or_default();
        self.read_at = Some(Instant::now());
        mappings.retain(|mapping| mapping.executable);
        // A process that is ending has no mappings any more, and its last addresses are still to come.
        if mappings.is_empty() {
            return;
        }
        mappings.sort_by_key(|mapping| mapping.start);
        let mut before = std::mem::take(&mut self.mappings).into_iter().peekable();
        self.mappings = mappings
            .into_iter()
            .map(|mapping| {
                while before.next_if(|(old, _)| old.start < mapping.start).is_some() {}
                let same = before.next_if(|(old, _)| *old == mapping);
                (mapping, same.and_then(|(_, kept)| kept))
            })
            .collect();
    }

    /// Since the mappings were read; `None` before the first time.
    pub fn age(&self) -> Option<Duration> {
        self.read_at.map(|at| at.elapsed())
    }

    /// No executable mapping is known.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// The mapping of `address`, and what is kept of it.
    pub fn get(&self, address: u64) -> Option<(&Mapping, Option<&T>)> {
        let (mapping, kept) = self.mappings.get(self.position(address)?)?;
        Some((mapping, kept.as_ref()))
    }

    /// As [`CodeSpace::get`], with what is kept put there by `make` if it is not yet.
    pub fn get_or_make(
        &mut self,
        address: u64,
        make: impl FnOnce(&Mapping) -> T,
    ) -> Option<(&Mapping, &T)> {
        let index = self.position(address)?;
        let (mapping, kept) = self.mappings.get_mut(index)?;
        let kept = kept.get_or_insert_with(|| make(mapping));
        Some((mapping, kept))
    }

    /// What is kept of all mappings.
    pub fn kept(&self) -> impl Iterator<Item = &T> {
        self.mappings.iter().filter_map(|(_, kept)| kept.as_ref())
    }

    fn position(&self, address: u64) -> Option<usize> {
        let after = self.mappings.partition_point(|(mapping, _)| mapping.start <= address);
        let index = after.checked_sub(1)?;
        self.mappings.get(index).filter(|(mapping, _)| address < mapping.end).map(|_| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> u64 {
        let function: fn() -> u64 = here;
        function as usize as u64
    }

    #[test]
    fn what_is_kept_of_a_mapping_survives_another_reading() {
        let mut space = CodeSpace::default();
        assert!(space.is_empty() && space.age().is_none());
        space.read(std::process::id());
        let (mapping, kept) = space.get(here()).unwrap();
        assert!(mapping.start <= here() && here() < mapping.end && kept.is_none());
        assert_eq!(space.get_or_make(here(), |_| 7).unwrap().1, &7);
        assert_eq!(space.get(0x10), None);
        assert_eq!(space.get_or_make(0x10, |_| 8), None);
        space.read(std::process::id());
        assert_eq!(space.get_or_make(here(), |_| 9).unwrap().1, &7);
        assert_eq!(space.kept().collect::<Vec<_>>(), [&7]);
        // It has ended: what was seen stays.
        space.read(1 << 23);
        assert_eq!(space.get(here()).unwrap().1, Some(&7));
    }
}
