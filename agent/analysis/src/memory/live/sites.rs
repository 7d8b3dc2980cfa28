//! Allocations by the code that asked for them, in a table of fixed size.

use std::collections::HashMap;

use super::super::event::Place;
use super::Block;
use super::tally::Tally;
use crate::ids::{Ns, StackId};

/// Sites at most. A series has 16 KiB (`series::POINTS`), so 4 MiB a process; a server's live memory is that of far fewer.
pub(super) const SITES: usize = 256;

/// A newcomer takes the place of the site with the least live bytes, unless that has more than this part of what is
/// live in its place: what is large stays, whoever comes.
const LARGE: u64 = 1024;

/// Which code asks for which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) stack: Option<StackId>,
}

/// A site as a block remembers it: of a slot's tenants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SiteId {
    slot: u32,
    tenant: u32,
}

#[derive(Clone, Debug)]
struct Slot {
    tenant: u32,
    key: Key,
    tally: Tally,
}

/// Sites that have a tally of their own, and one tally a place for all others.
#[derive(Clone, Debug)]
pub(super) struct Sites {
    step_ns: u64,
    slots: Vec<Slot>,
    by_key: HashMap<Key, u32>,
    rest: HashMap<Place, Tally>,
    /// Sites that gave way.
    pub(super) merged: u64,
}

impl Sites {
    pub(super) fn new(step_ns: u64) -> Self {
        let (by_key, rest) = (HashMap::new(), HashMap::new());
        Self { step_ns, slots: Vec::new(), by_key, rest, merged: 0 }
    }

    /// Where a block of this key is counted; `None`: with the rest of its place. `live`: bytes of that place.
    pub(super) fn site(&mut self, key: Key, live: u64) -> Option<SiteId> {
        if let Some(&slot) = self.by_key.get(&key) {
            return Some(self.id(slot));
        }
        let slot = if self.slots.len() < SITES {
            let tally = Tally::new(self.step_ns);
            self.slots.push(Slot { tenant: 0, key, tally });
            u32::try_from(self.slots.len() - 1).ok()?
        } else {
            self.give_way(key, live)?
        };
        self.by_key.insert(key, slot);
        Some(self.id(slot))
    }

    /// Makes the site with the least live bytes part of the rest.
    fn give_way(&mut self, key: Key, live: u64) -> Option<u32> {
        let sites = self.slots.iter().enumerate();
        let (index, slot) = sites.min_by_key(|(_, slot)| slot.tally.live.bytes)?;
        if slot.tally.live.bytes > live / LARGE {
            return None;
        }
        let number = u32::try_from(index).ok()?;
        let slot = &mut self.slots[index];
        let next =
            Slot { tenant: slot.tenant.wrapping_add(1), key, tally: Tally::new(self.step_ns) };
        let before = std::mem::replace(slot, next);
        self.by_key.remove(&before.key);
        self.merged = self.merged.saturating_add(1);
        self.rest(before.key.place).absorb(&before.tally);
        Some(number)
    }

    fn id(&self, slot: u32) -> SiteId {
        SiteId { slot, tenant: self.slots[slot as usize].tenant }
    }

    fn rest(&mut self, place: Place) -> &mut Tally {
        let step_ns = self.step_ns;
        self.rest.entry(place).or_insert_with(|| Tally::new(step_ns))
    }

    /// Where a block is counted, which may have been made part of the rest since.
    pub(super) fn tally(&mut self, block: &Block) -> &mut Tally {
        let same = |id: &SiteId| self.slots[id.slot as usize].tenant == id.tenant;
        match block.site.filter(same) {
            Some(id) => &mut self.slots[id.slot as usize].tally,
            None => self.rest(block.place),
        }
    }

    pub(super) fn tick(&mut self, now: Ns) {
        self.slots.iter_mut().for_each(|slot| slot.tally.tick(now));
        self.rest.values_mut().for_each(|tally| tally.tick(now));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Tally)> {
        self.slots.iter().map(|slot| (slot.key, &slot.tally))
    }

    /// All that has no site of its own, by place.
    pub(super) fn others(&self, place: Place) -> Option<&Tally> {
        self.rest.get(&place)
    }
}
