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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SiteId {
    slot: u32,
    tenant: u32,
}

#[derive(Clone, Debug)]
struct Slot {
    tenant: u32,
    /// `None`: its tenant was made one with another.
    key: Option<Key>,
    tally: Tally,
}

/// Sites that have a tally of their own, and one tally a place for all others.
#[derive(Clone, Debug)]
pub(super) struct Sites {
    step_ns: u64,
    slots: Vec<Slot>,
    by_key: HashMap<Key, u32>,
    /// Who counts for tenants that were made one with another.
    heirs: HashMap<SiteId, SiteId>,
    rest: HashMap<Place, Tally>,
    /// Sites that gave way.
    pub(super) merged: u64,
}

impl Sites {
    pub(super) fn new(step_ns: u64) -> Self {
        Self {
            step_ns,
            slots: Vec::new(),
            by_key: HashMap::new(),
            heirs: HashMap::new(),
            rest: HashMap::new(),
            merged: 0,
        }
    }

    /// Where a block of this key is counted; `None`: with the rest of its place. `live`: bytes of that place.
    pub(super) fn site(&mut self, key: Key, live: u64) -> Option<SiteId> {
        if let Some(&slot) = self.by_key.get(&key) {
            return Some(self.id(slot));
        }
        let vacant = self.slots.iter().position(|slot| slot.key.is_none());
        let slot = match vacant {
            Some(index) => self.let_to(index, key),
            None if self.slots.len() < SITES => {
                let tally = Tally::new(self.step_ns);
                self.slots.push(Slot { tenant: 0, key: Some(key), tally });
                self.slots.len() - 1
            }
            None => self.give_way(key, live)?,
        };
        let slot = u32::try_from(slot).ok()?;
        self.by_key.insert(key, slot);
        Some(self.id(slot))
    }

    /// Makes the site with the least live bytes part of the rest.
    fn give_way(&mut self, key: Key, live: u64) -> Option<usize> {
        let sites = self.slots.iter().enumerate();
        let (index, slot) = sites.min_by_key(|(_, slot)| slot.tally.live.bytes)?;
        if slot.tally.live.bytes > live / LARGE {
            return None;
        }
        let before = slot.clone();
        if let Some(key) = before.key {
            self.by_key.remove(&key);
            self.rest(key.place).absorb(&before.tally);
        }
        self.merged = self.merged.saturating_add(1);
        Some(self.let_to(index, key))
    }

    /// The slot has another tenant.
    fn let_to(&mut self, index: usize, key: Key) -> usize {
        let slot = &mut self.slots[index];
        let tally = Tally::new(self.step_ns);
        *slot = Slot { tenant: slot.tenant.wrapping_add(1), key: Some(key), tally };
        index
    }

    /// What `from` counted counts for `into` from here on.
    pub(super) fn unite(&mut self, from: Key, into: Key) {
        let Some(old) = self.by_key.remove(&from) else { return };
        let Some(&heir) = self.by_key.get(&into) else {
            self.slots[old as usize].key = Some(into);
            self.by_key.insert(into, old);
            return;
        };
        self.heirs.insert(self.id(old), self.id(heir));
        let slot = &mut self.slots[old as usize];
        slot.key = None;
        let tally = std::mem::replace(&mut slot.tally, Tally::new(self.step_ns));
        self.slots[heir as usize].tally.join(&tally);
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
        let mut site = block.site;
        while let Some(heir) = site.and_then(|site| self.heirs.get(&site)) {
            site = Some(*heir);
        }
        let same = |id: &SiteId| self.slots[id.slot as usize].tenant == id.tenant;
        match site.filter(same) {
            Some(id) => &mut self.slots[id.slot as usize].tally,
            None => self.rest(block.place),
        }
    }

    pub(super) fn tick(&mut self, now: Ns) {
        let let_out = self.slots.iter_mut().filter(|slot| slot.key.is_some());
        let_out.for_each(|slot| slot.tally.tick(now));
        self.rest.values_mut().for_each(|tally| tally.tick(now));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Tally)> {
        self.slots.iter().filter_map(|slot| Some((slot.key?, &slot.tally)))
    }

    /// All that has no site of its own, by place.
    pub(super) fn others(&self, place: Place) -> Option<&Tally> {
        self.rest.get(&place)
    }
}
