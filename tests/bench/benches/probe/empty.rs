//! Kernel programs that do nothing, made here: what hangs in a process then costs what the kernel itself takes for a
//! hit, in every kernel that has BPF at all.

use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

/// `r0 = 0; exit`.
const CODE: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Where an empty program hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Entry,
    Return,
}

impl At {
    /// Name of the program, and its section, by which its kind is told.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Entry => ("at_entry", "uprobe"),
            Self::Return => ("at_return", "uretprobe"),
        }
    }
}

/// The loaded programs.
pub(crate) struct Empty {
    ebpf: Ebpf,
}

impl Empty {
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = Ebpf::load(&object()?).context("load the empty programs")?;
        for at in [At::Entry, At::Return] {
            program(&mut ebpf, at)?.load()?;
        }
        Ok(Self { ebpf })
    }

    /// Dropping what is returned detaches.
    pub(crate) fn attach(
        &mut self,
        at: At,
        pid: u32,
        path: &Path,
        offset: u64,
    ) -> Result<UProbeLink> {
        let program = program(&mut self.ebpf, at)?;
        let scope = UProbeScope::OneProcess(pid.try_into()?);
        let location = UProbeAttachLocation::AbsoluteOffset(offset);
        let id = program.attach(UProbeAttachPoint { location, cookie: None }, path, scope)?;
        Ok(program.take_link(id)?)
    }

    /// How often it ran while the kernel counted that.
    pub(crate) fn runs(&mut self, at: At) -> Result<u64> {
        Ok(program(&mut self.ebpf, at)?.info()?.run_count())
    }
}

fn program(ebpf: &mut Ebpf, at: At) -> Result<&mut UProbe> {
    let (name, _) = at.names();
    Ok(ebpf.program_mut(name).context("the object lacks a program")?.try_into()?)
}

/// What a compiler would make of them.
fn object() -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    for at in [At::Entry, At::Return] {
        let (name, section) = at.names();
        let section = object.add_section(Vec::new(), section.into(), SectionKind::Text);
        let value = object.append_section_data(section, &CODE, 8);
        object.add_symbol(Symbol {
            name: name.into(),
            value,
            size: CODE.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    object.write().context("write the empty programs")
}
