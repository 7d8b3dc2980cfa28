//! An ELF file as far as unwinding needs it: where its segments lie, where its unwind information
//! is. Read piecewise and not mapped: whoever owns the file may cut it short, and a mapping would
//! then kill the agent. Nothing in it is trusted.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use object::LittleEndian;
use object::elf::{
    EM_X86_64, FileHeader64, PF_X, PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64, SectionHeader64,
};
use object::pod::{self, Pod};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

/// Headers of either kind looked at. Libraries have about 10 segments and 40 sections; files
/// compiled without linking a section for each function, but those are not run.
const HEADERS_MAX: usize = 512;

/// Bytes of section names looked at.
const NAMES_MAX: u64 = 1 << 16;

const ENDIAN: LittleEndian = LittleEndian;

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Source {
    File(File),
    /// The kernel's vdso, which is no file.
    Memory(Box<[u8]>),
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    offset: u64,
    address: u64,
    /// Bytes that come from the file.
    filled: u64,
    executable: bool,
}

/// A piece of the file and the address it is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) length: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Image {
    source: Source,
    segments: Vec<Segment>,
    /// Address of the first instruction of a program.
    pub(super) entry: u64,
    /// `.eh_frame_hdr`.
    pub(super) search_table: Option<Extent>,
}

impl Image {
    /// `None` where it is no ELF file for this machine.
    pub(super) fn new(source: Source) -> Option<Self> {
        let mut image = Self { source, segments: Vec::new(), entry: 0, search_table: None };
        let header = image.header()?;
        image.entry = header.e_entry(ENDIAN);
        let count = usize::from(header.e_phnum(ENDIAN));
        for header in image.headers::<ProgramHeader64<LittleEndian>>(
            header.e_phoff(ENDIAN),
            count,
            header.e_phentsize(ENDIAN),
        )? {
            let (offset, address) = (header.p_offset(ENDIAN), header.p_vaddr(ENDIAN));
            let filled = header.p_filesz(ENDIAN);
            match header.p_type(ENDIAN) {
                PT_LOAD => image.segments.push(Segment {
                    offset,
                    address,
                    filled,
                    executable: header.p_flags(ENDIAN).contains(PF_X),
                }),
                PT_GNU_EH_FRAME => {
                    image.search_table = Some(Extent { offset, address, length: filled });
                }
                _ => {}
            }
        }
        Some(image)
    }

    fn header(&self) -> Option<FileHeader64<LittleEndian>> {
        let mut bytes = [0; size_of::<FileHeader64<LittleEndian>>()];
        self.read(0, &mut bytes)?;
        let (header, _) = pod::from_bytes::<FileHeader64<LittleEndian>>(&bytes).ok()?;
        (header.is_supported() && header.e_machine(ENDIAN) == EM_X86_64).then_some(*header)
    }

    fn headers<T: Pod>(&self, offset: u64, count: usize, size: u16) -> Option<Vec<T>> {
        if usize::from(size) != size_of::<T>() || count > HEADERS_MAX {
            return None;
        }
        let mut bytes = vec![0; count * size_of::<T>()];
        self.read(offset, &mut bytes)?;
        pod::slice_from_all_bytes(&bytes).ok().map(<[T]>::to_vec)
    }

    /// `.eh_frame` by the section headers, for files without a search table.
    pub(super) fn frame_section(&self) -> Option<Extent> {
        let header = self.header()?;
        let sections = self.headers::<SectionHeader64<LittleEndian>>(
            header.e_shoff(ENDIAN),
            usize::from(header.e_shnum(ENDIAN)),
            header.e_shentsize(ENDIAN),
        )?;
        let names = sections.get(usize::from(header.e_shstrndx(ENDIAN).0))?;
        let length = names.sh_size(ENDIAN).min(NAMES_MAX);
        let names = self.read_up_to(names.sh_offset(ENDIAN), usize::try_from(length).unwrap_or(0));
        sections.iter().find_map(|section| {
            let name = names.get(usize::try_from(section.sh_name(ENDIAN)).ok()?..)?;
            name.starts_with(b".eh_frame\0").then(|| Extent {
                offset: section.sh_offset(ENDIAN),
                address: section.sh_addr(ENDIAN),
                length: section.sh_size(ENDIAN),
            })
        })
    }

    /// The address in the file's own terms of the byte that a mapping of `offset` begins with.
    pub(super) fn mapped_address(&self, offset: u64) -> Option<u64> {
        let page = |value: u64| value & !0xfff;
        let executable = || self.segments.iter().filter(|segment| segment.executable);
        // Segments share pages of the file: the one that begins on this page is meant. A mapping
        // that was cut in two begins in the middle of one.
        executable()
            .find(|segment| page(segment.offset) == offset)
            .or_else(|| {
                executable().find(|segment| {
                    offset
                        .checked_sub(page(segment.offset))
                        .is_some_and(|inside| inside < segment.filled.saturating_add(0xfff))
                })
            })
            .map(|segment| segment.address.wrapping_add(offset.wrapping_sub(segment.offset)))
    }

    /// Where the file holds what is loaded to `address`.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.filled).then(|| segment.offset.checked_add(inside))?
        })
    }

    /// Fills `buffer`; `None` where the file ends before.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        match &self.source {
            Source::File(file) => file.read_exact_at(buffer, offset).ok(),
            Source::Memory(bytes) => {
                let bytes = bytes.get(usize::try_from(offset).ok()?..)?.get(..buffer.len())?;
                buffer.copy_from_slice(bytes);
                Some(())
            }
        }
    }

    /// Up to `length` bytes, fewer at the end of the file.
    pub(super) fn read_up_to(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        let got = match &self.source {
            Source::File(file) => file.read_at(&mut buffer, offset).unwrap_or(0),
            Source::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = bytes.get(from..).unwrap_or(&[]);
                let got = bytes.len().min(length);
                buffer[..got].copy_from_slice(&bytes[..got]);
                got
            }
        };
        buffer.truncate(got);
        buffer
    }
}
