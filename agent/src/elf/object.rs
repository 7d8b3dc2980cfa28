//! What an ELF file says about itself as a whole: its segments, one section, and the symbols of
//! functions and data that somebody asks for.

use object::elf::{
    EM_X86_64, FileHeader64, PF_X, PT_LOAD, SHN_LORESERVE, SHN_UNDEF, SHN_XINDEX, SHT_DYNSYM,
    SHT_SYMTAB, SectionType, Sym64,
};
use object::read::StringTable;
use object::read::elf::{
    FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _,
};
use object::{Endianness, ReadRef};

/// Symbols kept of one file: a bound for a file that somebody made to hurt.
const SYMBOLS_MAX: usize = 1 << 12;

/// A loaded segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Address as the file states it, before relocation.
    pub address: u64,
    /// Bytes in memory.
    pub size: u64,
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
        let segment = self.executable_at(offset)?;
        // Below zero for a file that is mapped below its own addresses: so wrapping.
        Some(mapped.wrapping_sub(segment.address & !(PAGE - 1)))
    }

    /// The executable segment that a mapping at this offset of the file begins with.
    pub fn executable_at(&self, offset: u64) -> Option<&Segment> {
        let mut executable = self.segments.iter().filter(|segment| segment.executable);
        executable.find(|segment| segment.offset / PAGE == offset / PAGE)
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
            size: segment.p_memsz(endian),
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
    let tables = Tables::parse(data)?;
    let endian = tables.endian;
    let mut found: Vec<(String, Extent)> = Vec::new();
    for (symbol, name) in tables.named(SHT_DYNSYM).chain(tables.named(SHT_SYMTAB)) {
        // Undefined ones, and those that are numbers and no places.
        let section = symbol.st_shndx(endian);
        if section == SHN_UNDEF || section.0 >= SHN_LORESERVE && section != SHN_XINDEX {
            continue;
        }
        let Some(name) = str::from_utf8(name).ok().filter(|name| wanted(name)) else {
            continue;
        };
        if found.len() >= SYMBOLS_MAX {
            break;
        }
        let extent = Extent { address: symbol.st_value(endian), size: symbol.st_size(endian) };
        found.push((name.to_owned(), extent));
    }
    Ok(found)
}

/// The symbol tables of a file for this machine.
pub(super) struct Tables<'d, R: ReadRef<'d>> {
    pub(super) header: &'d Header,
    pub(super) endian: Endianness,
    sections: SectionTable<'d, Header, R>,
    data: R,
}

type Header = FileHeader64<Endianness>;
type Symbol = Sym64<Endianness>;

impl<'d, R: ReadRef<'d>> Tables<'d, R> {
    pub(super) fn parse(data: R) -> Result<Self, String> {
        let text = |error: object::Error| error.to_string();
        let header = Header::parse(data).map_err(text)?;
        let endian = header.endian().map_err(text)?;
        if header.e_machine(endian) != EM_X86_64 {
            return Err(OTHER_MACHINE.to_owned());
        }
        let sections = header.sections(endian, data).map_err(text)?;
        Ok(Self { header, endian, sections, data })
    }

    /// The symbols of the table of this kind with their names; none where it is missing or damaged. The names
    /// are read as a whole: one by one they would be as many reads.
    pub(super) fn named(&self, kind: SectionType) -> impl Iterator<Item = (&'d Symbol, &'d [u8])> {
        let endian = self.endian;
        let table = || {
            let table = self.sections.symbols(endian, self.data, kind).ok()?;
            let strings = self.sections.section(table.string_section()).ok()?;
            let strings = strings.data(endian, self.data).ok()?;
            Some((table, StringTable::new(strings, 0, strings.len() as u64)))
        };
        table().into_iter().flat_map(move |(table, strings)| {
            let named =
                move |symbol: &'d Symbol| Some((symbol, symbol.name(endian, strings).ok()?));
            table.iter().filter_map(named)
        })
    }
}
