//! Names of the code that the kernel maps into every process: 2 % of a vLLM worker's samples end in
//! it. It is the same in all processes of 64 bits, so that ours is looked at.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{Endianness, Object as _, ObjectSymbol as _};

use crate::proc;

/// Bytes at most; it has two pages.
const LENGTH_MAX: u64 = 64 << 10;

/// Its name in `maps`.
pub(super) const NAME: &str = "[vdso]";

/// Functions, by their start.
#[derive(Debug, Default)]
pub(super) struct Vdso(Vec<(u64, u64, String)>);

impl Vdso {
    pub(super) fn of_this_process() -> Self {
        Self(functions().unwrap_or_default())
    }

    /// The function at an offset; several names of one are as good as each other.
    pub(super) fn function(&self, offset: u64) -> &str {
        self.0
            .iter()
            .find(|(start, end, _)| (*start..*end).contains(&offset))
            .map_or(NAME, |(_, _, name)| name)
    }
}

fn functions() -> Option<Vec<(u64, u64, String)>> {
    let maps = proc::maps(std::process::id()).ok()?;
    let mapping = maps.iter().find(|mapping| mapping.path == NAME)?;
    let length = mapping.end.checked_sub(mapping.start).filter(|&length| length <= LENGTH_MAX)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, mapping.start).ok()?;
    let file = ElfFile::<FileHeader64<Endianness>>::parse(&*bytes).ok()?;
    let functions =
        file.dynamic_symbols().filter(|symbol| symbol.size() > 0).filter_map(|symbol| {
            let name = symbol.name().ok()?.to_owned();
            Some((symbol.address(), symbol.address().checked_add(symbol.size())?, name))
        });
    let mut functions: Vec<_> = functions.collect();
    // `__vdso_` names the kernel's function, its alias the C library's: the former says where one is.
    functions.sort_by_key(|(_, _, name)| !name.starts_with("__vdso_"));
    Some(functions)
}
