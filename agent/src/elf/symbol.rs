//! Dynamic symbols and their place in the file.

use std::collections::BTreeMap;

use object::ReadRef;
use object::elf::{SHN_UNDEF, SHT_DYNSYM};
use object::read::elf::{FileHeader as _, ProgramHeader as _, Sym as _};

use super::object::Tables;

/// Bytes of code looked at: more than the leading nops of a probe point and one instruction.
pub(super) const CODE_BYTES: usize = 16;

/// A symbol the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Address as the file states it, before relocation.
    pub address: u64,
    /// Offset in the file: where a probe goes.
    pub offset: u64,
    /// The first bytes there; zeros beyond the end of the segment.
    pub code: [u8; CODE_BYTES],
}

/// Finds `names` among the dynamic symbols. The first definition of a name counts. A symbol that
/// no loaded segment holds in the file has no offset and is left out.
pub(super) fn find<'n, 'd, R: ReadRef<'d>>(
    data: R,
    names: &[&'n str],
) -> Result<BTreeMap<&'n str, Symbol>, String> {
    let tables = Tables::parse(data)?;
    let endian = tables.endian;
    let headers = tables.header.program_headers(endian, data).map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for (symbol, name) in tables.named(SHT_DYNSYM) {
        let address = symbol.st_value(endian);
        if address == 0 && symbol.st_shndx(endian) == SHN_UNDEF {
            continue;
        }
        let Some(&wanted) = names.iter().find(|wanted| wanted.as_bytes() == name) else {
            continue;
        };
        let place = headers.iter().find_map(|header| {
            let (start, filled) = (header.p_vaddr(endian), header.p_filesz(endian));
            let inside = address.checked_sub(start).filter(|&inside| inside < filled)?;
            if header.p_type(endian) != object::elf::PT_LOAD {
                return None;
            }
            Some((header.p_offset(endian).checked_add(inside)?, filled - inside))
        });
        let Some((offset, left)) = place else {
            continue;
        };
        let mut code = [0; CODE_BYTES];
        let length = left.min(CODE_BYTES as u64);
        if let Ok(bytes) = data.read_bytes_at(offset, length) {
            code[..bytes.len()].copy_from_slice(bytes);
        }
        found.entry(wanted).or_insert(Symbol { address, offset, code });
    }
    Ok(found)
}
