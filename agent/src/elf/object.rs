//! What an ELF file says about itself as a whole: its segments, one section, and the symbols of
//! functions and data that somebody asks for.

use object::elf::{EM_X86_64, FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{ElfFile, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ReadRef};

/// Symbols kept of one file: a bound for a file that somebody made to hurt.
const SYMBOLS_MAX: usize = 1 << 12;

/// A loaded segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Address as the file states it, before relocation.
    pub address: u64,
    pub executable: bool,
}

/// A symbol or section: where it lies before relocation, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub address: u64,
    pub size: u64,
}

/// What [`super::sections`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    pub segments: Vec<Segment>,
    pub section: Option<Extent>,
}

const PAGE: u64 = 4096;

const OTHER_MACHINE: &str = "it is for another machine than x86-64";

impl Object {
    /// What to add to the file's addresses where it is mapped: `mapped` is an executable mapping that
    /// begins at this offset of the file.
    pub fn bias(&self, mapped: u64, offset: u64) -> Option<u64> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.executable && segment.offset / PAGE == offset / PAGE)?;
        // Below zero for a file that is mapped below its own addresses: so wrapping.
        Some(mapped.wrapping_sub(segment.address & !(PAGE - 1)))
    }
}

/// Reads headers alone: symbol tables of large libraries are not touched.
pub(super) fn sections<'d, R: ReadRef<'d>>(data: R, section: &str) -> Result<Object, String> {
    let header = FileHeader64::<Endianness>::parse(data).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    if header.e_machine(endian) != EM_X86_64 {
        return Err(OTHER_MACHINE.to_owned());
    }
    let segments = header
        .program_headers(endian, data)
        .map_err(|error| error.to_string())?
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .map(|segment| Segment {
            offset: segment.p_offset(endian),
            address: segment.p_vaddr(endian),
            executable: segment.p_flags(endian) & PF_X == PF_X,
        })
        .collect();
    // A file may have no section headers, or damaged ones: then it has no such section.
    let section = header.sections(endian, data).ok().and_then(|sections| {
        let (_, found) = sections.section_by_name(endian, section.as_bytes())?;
        Some(Extent { address: found.sh_addr(endian), size: found.sh_size(endian) })
    });
    Ok(Object { segments, section })
}

/// Defined symbols whose name is `wanted`: the dynamic ones first, then those of the full table,
/// which a stripped file does not have.
pub(super) fn symbols<'d, R: ReadRef<'d>>(
    data: R,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Extent)>, String> {
    let file = parse(data)?;
    let mut found: Vec<(String, Extent)> = Vec::new();
    for symbol in file.dynamic_symbols().chain(file.symbols()) {
        if !symbol.is_definition() {
            continue;
        }
        let Some(name) = symbol.name().ok().filter(|name| wanted(name)) else {
            continue;
        };
        if found.len() >= SYMBOLS_MAX {
            break;
        }
        found.push((name.to_owned(), Extent { address: symbol.address(), size: symbol.size() }));
    }
    Ok(found)
}

fn parse<'d, R: ReadRef<'d>>(data: R) -> Result<ElfFile<'d, FileHeader64<Endianness>, R>, String> {
    let file = ElfFile::<'d, FileHeader64<Endianness>, R>::parse(data)
        .map_err(|error| error.to_string())?;
    if file.elf_header().e_machine(file.endian()) != EM_X86_64 {
        return Err(OTHER_MACHINE.to_owned());
    }
    Ok(file)
}
