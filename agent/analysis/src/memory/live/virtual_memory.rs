//! Memory of the driver's virtual-memory API: it is there while a handle or a mapping holds it.
//!
//! A handle's number may name other memory as soon as its last reference is gone, though the memory that it named is
//! still mapped. So memory has a number of its own here.

use std::collections::{BTreeMap, HashMap};

use super::{Block, Unseen};
use crate::ids::Ns;

/// Pieces of memory at most, and mappings, and handles by address: PyTorch's expandable segments are made of pieces of 2 and 20 MiB, and 65 536 of
/// 2 MiB are 128 GiB.
const PIECES: usize = 1 << 16;

/// Memory that is there, and what holds it.
#[derive(Clone, Copy, Debug)]
struct Piece {
    block: Block,
    /// Handles, not references: a handle has one or more.
    handles: u32,
    mappings: u32,
}

/// A handle that was not released as often as it was given out.
#[derive(Clone, Copy, Debug)]
struct Handle {
    piece: u64,
    references: u32,
    since: Ns,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    bytes: u64,
    piece: u64,
    since: Ns,
}

/// Bytes by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub by_both: u64,
    /// Released, and mapped still: what sleep that forgets to unmap leaves.
    pub by_mapping_alone: u64,
    /// Mapped nowhere, and not released.
    pub by_handle_alone: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct VirtualMemory {
    next: u64,
    pieces: HashMap<u64, Piece>,
    handles: HashMap<u64, Handle>,
    mappings: BTreeMap<u64, Mapping>,
}

/// Each call gives the memory that nothing holds after it.
impl VirtualMemory {
    pub(super) fn created(&mut self, handle: u64, block: Block, unseen: &mut Unseen) -> Vec<Block> {
        let before = self.forget(handle, unseen);
        if self.pieces.len() < PIECES {
            let number = self.next;
            self.next += 1;
            let since = block.born;
            self.handles.insert(handle, Handle { piece: number, references: 1, since });
            self.pieces.insert(number, Piece { block, handles: 1, mappings: 0 });
        } else {
            unseen.no_room += 1;
        }
        before
    }

    /// A handle that is given out for other memory was released, whatever was seen.
    fn forget(&mut self, handle: u64, unseen: &mut Unseen) -> Vec<Block> {
        let Some(before) = self.handles.remove(&handle) else {
            return Vec::new();
        };
        unseen.frees += 1;
        self.without_handle(before.piece)
    }

    fn without_handle(&mut self, piece: u64) -> Vec<Block> {
        if let Some(piece) = self.pieces.get_mut(&piece) {
            piece.handles = piece.handles.saturating_sub(1);
        }
        Vec::from_iter(self.end(piece))
    }

    pub(super) fn retained(
        &mut self,
        handle: u64,
        address: u64,
        since: Ns,
        unseen: &mut Unseen,
    ) -> Vec<Block> {
        let below = self.mappings.range(..=address).next_back();
        let within = below.filter(|(start, mapping)| address - **start < mapping.bytes);
        let Some(piece) = within.map(|(_, mapping)| mapping.piece) else {
            unseen.unknown += 1;
            return Vec::new();
        };
        let room = self.handles.len() < PIECES;
        match self.handles.get_mut(&handle) {
            Some(held) if held.piece == piece => {
                held.references = held.references.saturating_add(1);
                Vec::new()
            }
            None if !room => {
                unseen.no_room += 1;
                Vec::new()
            }
            _ => {
                let before = self.forget(handle, unseen);
                self.handles.insert(handle, Handle { piece, references: 1, since });
                if let Some(piece) = self.pieces.get_mut(&piece) {
                    piece.handles = piece.handles.saturating_add(1);
                }
                before
            }
        }
    }

    pub(super) fn released(&mut self, handle: u64, time: Ns, unseen: &mut Unseen) -> Vec<Block> {
        let Some(held) = self.handles.get_mut(&handle) else {
            unseen.unknown += 1;
            return Vec::new();
        };
        if held.since > time {
            // Given out again before the thread that released it came to say so.
            unseen.frees = unseen.frees.saturating_sub(1);
            return Vec::new();
        }
        held.references = held.references.saturating_sub(1);
        let Handle { piece, references, .. } = *held;
        if references > 0 {
            return Vec::new();
        }
        self.handles.remove(&handle);
        self.without_handle(piece)
    }

    pub(super) fn mapped(
        &mut self,
        address: u64,
        bytes: u64,
        handle: u64,
        since: Ns,
        unseen: &mut Unseen,
    ) -> Vec<Block> {
        // What was mapped there until now is not any more.
        let (before, unmapped) = self.unmap(address, bytes, since);
        unseen.frees += unmapped;
        let piece = self.handles.get(&handle).map(|handle| handle.piece);
        match piece.and_then(|number| Some((number, self.pieces.get_mut(&number)?))) {
            None => unseen.unknown += 1,
            Some(_) if self.mappings.len() >= PIECES => unseen.no_room += 1,
            Some((number, piece)) => {
                piece.mappings += 1;
                self.mappings.insert(address, Mapping { bytes, piece: number, since });
            }
        }
        before
    }

    pub(super) fn unmapped(
        &mut self,
        address: u64,
        bytes: u64,
        time: Ns,
        unseen: &mut Unseen,
    ) -> Vec<Block> {
        let later = self.within(address, bytes).filter(|(_, mapping)| mapping.since > time).count();
        let (ended, unmapped) = self.unmap(address, bytes, time);
        if later > 0 {
            // Mapped again before the thread that unmapped it came to say so.
            unseen.frees = unseen.frees.saturating_sub(later as u64);
        } else {
            unseen.unknown += u64::from(unmapped == 0);
        }
        ended
    }

    /// Mappings that begin there.
    fn within(&self, address: u64, bytes: u64) -> impl Iterator<Item = (u64, &Mapping)> {
        let within = self.mappings.range(address..address.saturating_add(bytes));
        within.map(|(start, mapping)| (*start, mapping))
    }

    /// Memory that ended, and how many mappings did: those that begin within, as a mapping is unmapped whole, and that
    /// are not younger than the call, which is of `time`.
    fn unmap(&mut self, address: u64, bytes: u64, time: Ns) -> (Vec<Block>, u64) {
        let within = self.within(address, bytes).filter(|(_, mapping)| mapping.since <= time);
        let starts: Vec<u64> = within.map(|(start, _)| start).collect();
        let (mut ended, mut unmapped) = (Vec::new(), 0);
        for start in starts {
            let Some(mapping) = self.mappings.remove(&start) else { continue };
            unmapped += 1;
            if let Some(piece) = self.pieces.get_mut(&mapping.piece) {
                piece.mappings = piece.mappings.saturating_sub(1);
            }
            ended.extend(self.end(mapping.piece));
        }
        (ended, unmapped)
    }

    /// Takes memory out that nothing holds.
    fn end(&mut self, number: u64) -> Option<Block> {
        let piece = self.pieces.get(&number)?;
        let held = piece.handles > 0 || piece.mappings > 0;
        if held { None } else { self.pieces.remove(&number).map(|piece| piece.block) }
    }

    /// Bytes by what holds them.
    pub(super) fn held(&self) -> Held {
        let mut held = Held::default();
        for piece in self.pieces.values() {
            let by = match (piece.handles > 0, piece.mappings > 0) {
                (true, true) => &mut held.by_both,
                (false, _) => &mut held.by_mapping_alone,
                (true, false) => &mut held.by_handle_alone,
            };
            *by = by.saturating_add(piece.block.bytes);
        }
        held
    }
}
