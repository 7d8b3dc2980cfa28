//! One function's unwind information: read from the file, evaluated once into rows.

use gimli::{
    BaseAddresses, EhFrame, EndianSlice, LittleEndian, RegisterRule, UnwindContext,
    UnwindContextStorage, UnwindSection as _, UnwindTableRow,
};

use super::image::Image;
use super::row::{RETURN_ADDRESS, Row};

pub(super) type Eh<'a> = EhFrame<EndianSlice<'a, LittleEndian>>;

/// Bytes of a function's entry at most. The largest of torch, Triton, cuDNN, vLLM and CPython has 20 kB.
const ENTRY_MAX: usize = 1 << 16;

/// Bytes of a common entry at most. They have some 30.
const COMMON_MAX: usize = 1 << 12;

/// Bytes read at once: nearly every entry is shorter.
const ENTRY_USUAL: usize = 128;

/// Room of the evaluation: the 17 general and 16 vector registers, twice; states remembered one
/// inside the other, of which compilers nest two.
#[derive(Debug)]
pub(super) struct Storage;

impl UnwindContextStorage<usize> for Storage {
    type Rules = [(gimli::Register, RegisterRule<usize>); 64];
    type Stack = Box<[UnwindTableRow<usize, Self>; 16]>;
}

pub(super) type Context = UnwindContext<usize, Storage>;

/// A row and the offset from the function's start it begins at; `None`: cannot be unwound.
pub(super) type Piece = (u32, Option<Row>);

/// What unwind information says of one function, in addresses of the file.
#[derive(Debug)]
pub(super) struct Function {
    /// Bytes it stands in.
    pub(super) bytes: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) pieces: Vec<Piece>,
}

/// Reads the entry at `address`. `None` where it is damaged or not understood.
pub(super) fn read(image: &Image, address: u64, context: &mut Context) -> Option<Function> {
    let mut entry = read_entry(image, address, ENTRY_MAX)?;
    let distance = u32::from_le_bytes(entry.get(4..8)?.try_into().ok()?);
    // Zero marks a common entry, which describes no function.
    let common_address =
        address.checked_add(4)?.checked_sub(u64::from(distance)).filter(|_| distance != 0)?;
    let mut section = read_entry(image, common_address, COMMON_MAX)?;
    // Both as neighbours: entries refer to each other by distance.
    let at = section.len();
    entry.get_mut(4..8)?.copy_from_slice(&u32::try_from(at + 4).ok()?.to_le_bytes());
    section.append(&mut entry);
    evaluate(&section, at, address.wrapping_sub(at as u64), context)
}

/// Evaluates the entry at offset `at` of a section that would be loaded to `base`.
fn evaluate(section: &[u8], at: usize, base: u64, context: &mut Context) -> Option<Function> {
    let bytes = section.len();
    let section = EhFrame::new(section, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(base);
    let entry = section.fde_from_offset(&bases, at.into(), Eh::cie_from_offset).ok()?;
    if entry.cie().return_address_register().0 != u16::from(RETURN_ADDRESS) {
        return None;
    }
    let (start, end) = (entry.initial_address(), entry.end_address());
    let length = u32::try_from(end.checked_sub(start)?).ok()?;
    let signal = entry.is_signal_trampoline();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut table = entry.rows(&section, &bases, context).ok()?;
    loop {
        match table.next_row() {
            Ok(Some(row)) => {
                let from = u32::try_from(row.start_address().checked_sub(start)?).ok()?;
                if row.start_address() == row.end_address() || from >= length {
                    continue;
                }
                let row = Row::of(row, &section, signal);
                if pieces.last().is_none_or(|(_, last)| *last != row) {
                    pieces.push((from, row));
                }
            }
            Ok(None) => break,
            // What was evaluated so far holds; the rest of the function cannot be unwound.
            Err(_) => {
                let (from, _) = pieces.pop()?;
                pieces.push((from, None));
                break;
            }
        }
    }
    Some(Function { bytes, start, end, pieces })
}

/// The bytes of an entry with its length in front.
fn read_entry(image: &Image, address: u64, longest: usize) -> Option<Vec<u8>> {
    let offset = image.offset(address)?;
    let mut bytes = image.read_up_to(offset, ENTRY_USUAL);
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    // All ones announce a length of 64 bits, which nobody needs.
    let length =
        usize::try_from(length).ok()?.checked_add(4).filter(|&length| length <= longest)?;
    if length > bytes.len() {
        bytes.resize(length, 0);
        image.read(offset, &mut bytes)?;
    }
    bytes.truncate(length);
    Some(bytes)
}
