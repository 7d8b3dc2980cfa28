//! Where a file's unwind information for an address stands.
//!
//! The search table stays in the file: libtorch's has 335 000 entries, and a worker maps files
//! with 1.6 million. Of every 64th entry the address is kept, so that one read of 512 bytes finds any.

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection as _};

use super::function::Eh;
use super::image::{Extent, Image};

/// Entries of the table for each address kept.
const STRIDE: usize = 64;

/// Bytes of an entry: two distances from the table's own address.
const ENTRY: usize = 8;

type Entry = [u8; ENTRY];

/// Addresses kept that one read gives: 64 KiB of the table.
const BLOCKS: usize = 128;

/// Entries of a table at most: ten times the largest seen.
const ENTRIES_MAX: u64 = 4 << 20;

/// Bytes of `.eh_frame` that are searched through where there is no table. The C library's, linked
/// into a program, has 100 kB.
const SCANNED_MAX: u64 = 4 << 20;

/// Bytes of a common entry at most. They have some 30.
const COMMON_MAX: u32 = 1 << 12;

/// What `.eh_frame_hdr` begins with, as every linker writes it: version 1; the address of
/// `.eh_frame` in 4 bytes from here; the count in 4 bytes; the table in pairs of 4 bytes from its start.
const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

#[derive(Debug)]
pub(super) enum Index {
    Table {
        address: u64,
        entries_offset: u64,
        count: usize,
        every: Vec<i32>,
    },
    /// Start of a function and address of its entry, by the former.
    Scanned(Vec<(u64, u64)>),
    /// No unwind information, or none that is understood.
    Nothing,
}

impl Index {
    pub(super) fn of(image: &Image) -> Self {
        let table = image.search_table.and_then(|extent| table(image, extent));
        table.or_else(|| scan(image)).unwrap_or(Self::Nothing)
    }

    /// Address of the entry for the last function that begins at or before `address`.
    pub(super) fn find(&self, image: &Image, address: u64) -> Option<u64> {
        match self {
            Self::Table { address: base, entries_offset, count, every } => {
                let wanted = i32::try_from(address.wrapping_sub(*base).cast_signed()).ok()?;
                let block = every.partition_point(|&start| start <= wanted).checked_sub(1)?;
                let first = block * STRIDE;
                let mut bytes = [0; STRIDE * ENTRY];
                let bytes = bytes.get_mut(..(count - first).min(STRIDE) * ENTRY)?;
                image.read(entries_offset + (first * ENTRY) as u64, bytes)?;
                let (pairs, _) = bytes.as_chunks::<ENTRY>();
                let after = pairs.partition_point(|pair| start_of(pair) <= wanted);
                let [_, _, _, _, distance @ ..] = pairs.get(after.checked_sub(1)?)?;
                Some(base.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))))
            }
            Self::Scanned(functions) => {
                let after = functions.partition_point(|&(start, _)| start <= address);
                functions.get(after.checked_sub(1)?).map(|&(_, entry)| entry)
            }
            Self::Nothing => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "they are pieces of a buffer")]
fn start_of(&[a, b, c, d, ..]: &Entry) -> i32 {
    i32::from_le_bytes([a, b, c, d])
}

fn table(image: &Image, extent: Extent) -> Option<Index> {
    let mut head = [0; 12];
    image.read(extent.offset, &mut head)?;
    let [a, b, c, d, _, _, _, _, count @ ..] = head;
    let count = u64::from(u32::from_le_bytes(count));
    if [a, b, c, d] != USUAL || count == 0 || count > ENTRIES_MAX {
        return None;
    }
    let entries_offset = extent.offset.checked_add(head.len() as u64)?;
    let count = usize::try_from(count).ok()?;
    let mut every = Vec::with_capacity(count.div_ceil(STRIDE).min(1 << 10));
    for first in (0..count).step_by(STRIDE * BLOCKS) {
        let mut bytes = vec![0; (count - first).min(STRIDE * BLOCKS) * ENTRY];
        image.read(entries_offset.checked_add((first * ENTRY) as u64)?, &mut bytes)?;
        every.extend(bytes.as_chunks::<ENTRY>().0.iter().step_by(STRIDE).map(start_of));
    }
    // An unsorted table cannot be searched.
    every.is_sorted().then_some(Index::Table {
        address: extent.address,
        entries_offset,
        count,
        every,
    })
}

fn scan(image: &Image) -> Option<Index> {
    let extent = image.frame_section().filter(|extent| extent.length <= SCANNED_MAX)?;
    let bytes = image.read_up_to(extent.offset, usize::try_from(extent.length).ok()?);
    let section = EhFrame::new(&bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(extent.address);
    let mut entries = section.entries(&bases);
    let mut functions = Vec::new();
    // A damaged entry ends it: those before it are good.
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(entry) = entry else { continue };
        // Every function parses its common entry again: a huge one would make this endless.
        let common = bytes.get(entry.cie_offset().0..).and_then(|bytes| bytes.first_chunk());
        if common.is_none_or(|&length| u32::from_le_bytes(length) > COMMON_MAX) {
            continue;
        }
        if let Ok(entry) = entry.parse(Eh::cie_from_offset) {
            let address = extent.address.wrapping_add(entry.offset() as u64);
            functions.push((entry.initial_address(), address));
        }
    }
    functions.sort_unstable();
    Some(Index::Scanned(functions))
}
