//! Which of a process's mapped files is its Python, and where it keeps what.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::error::PythonError;
use super::names;
use crate::elf::{self, Extent};
use crate::proc::Mapping;

/// Files whose headers are read: a vLLM worker maps about 200.
const FILES_MAX: usize = 1024;

/// Of those, files whose symbols are read. A virtual environment's program and its library are two.
const LIKELY_MAX: usize = 16;

/// CPython puts `_PyRuntime` into a section of its own from 3.11 on.
const SECTION: &str = ".PyRuntime";

/// Bytes of code of the interpreter's, mapped.
const RANGES_MAX: usize = 64;

/// The file that holds the interpreter.
#[derive(Debug)]
pub(super) struct Object {
    /// As the process calls it.
    pub(super) path: String,
    /// Address of `_PyRuntime`.
    pub(super) runtime: u64,
    /// Where its code is mapped.
    pub(super) code: Vec<Range<u64>>,
    /// Addresses of what it exports, as far as it does.
    pub(super) version: Option<u64>,
    /// `PyIter_Send`, which came with 3.10, is there.
    pub(super) has_iter_send: bool,
    pub(super) code_type: Option<u64>,
    /// The function of the evaluation loop, and with a loop of tail calls each of its pieces.
    pub(super) evaluation: Vec<Range<u64>>,
    /// Functions that only pass calls on, by address.
    pub(super) passing: Vec<Range<u64>>,
}

/// The interpreter among these mappings. The file is known by what it holds, not by its name; the
/// name only says where to look first.
pub(super) fn interpreter(pid: u32, maps: &[Mapping]) -> Result<Option<Object>, PythonError> {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let exe = exe.as_deref().and_then(|path| path.to_str());
    let mut files = files(maps);
    // Stable: among equals the program itself comes first, as in the memory map.
    files.sort_by_key(|mapping| !named(mapping));
    let mut refused = None;
    let mut left = LIKELY_MAX;
    for mapping in files.into_iter().take(FILES_MAX) {
        let named = named(mapping);
        let likely = named || exe == Some(mapping.path.as_str());
        match object(pid, mapping, maps, likely, &mut left) {
            Ok(Some(object)) => return Ok(Some(object)),
            Err(error) if named => refused = refused.or(Some(error)),
            // Other people's files need not be ours to open, nor ELF.
            Ok(None) | Err(_) => {}
        }
    }
    // A file called python that cannot be opened may be it: that is no proof that there is none.
    refused.map_or(Ok(None), Err)
}

/// `python3.12`, `libpython3.12.so.1.0`; not `_json.cpython-312-x86_64-linux-gnu.so`, of which a
/// process maps dozens.
fn named(mapping: &Mapping) -> bool {
    let name = mapping.file_name();
    name.strip_prefix("lib").unwrap_or(name).starts_with("python")
}

/// The first executable mapping of each file.
fn files(maps: &[Mapping]) -> Vec<&Mapping> {
    let mut seen = HashSet::new();
    maps.iter()
        .filter(|mapping| mapping.executable && mapping.inode != 0)
        .filter(|mapping| seen.insert((mapping.inode, mapping.path.as_str())))
        .collect()
}

fn object(
    pid: u32,
    mapping: &Mapping,
    maps: &[Mapping],
    likely: bool,
    left: &mut usize,
) -> Result<Option<Object>, PythonError> {
    let failed = |source| PythonError::Object { pid, source };
    let name = mapping.path.as_str();
    let file = open(pid, mapping)
        .map_err(|source| failed(elf::ElfError::Open { path: name.to_owned(), source }))?;
    let shape = elf::sections(&file, name, SECTION).map_err(failed)?;
    if !likely && shape.section.is_none() {
        return Ok(None);
    }
    let Some(bias) = shape.bias(mapping.start, mapping.offset) else {
        return Ok(None);
    };
    let Some(fewer) = left.checked_sub(1) else {
        return Ok(None);
    };
    *left = fewer;
    let symbols = elf::symbols(&file, name, wanted).map_err(failed)?;
    let at = |extent: Extent| {
        let start = bias.wrapping_add(extent.address);
        start..start.saturating_add(extent.size)
    };
    let one = |name: &str| symbols.iter().find(|(other, _)| other == name).map(|(_, at)| *at);
    let Some(runtime) = one("_PyRuntime").or(shape.section) else {
        return Ok(None);
    };
    let ranges = |choose: &dyn Fn(&str) -> bool| {
        let chosen = symbols.iter().filter(|(name, extent)| choose(name) && extent.size > 0);
        let mut ranges: Vec<Range<u64>> = chosen.map(|(_, extent)| at(*extent)).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup();
        ranges
    };
    let code = maps
        .iter()
        .filter(|other| other.executable && other.inode == mapping.inode && other.path == name)
        .map(|other| other.start..other.end)
        .take(RANGES_MAX)
        .collect();
    Ok(Some(Object {
        path: name.to_owned(),
        runtime: at(runtime).start,
        code,
        version: one("Py_Version").map(|extent| at(extent).start),
        has_iter_send: one("PyIter_Send").is_some(),
        code_type: one("PyCode_Type").map(|extent| at(extent).start),
        evaluation: ranges(&evaluates),
        passing: ranges(&names::passes_calls),
    }))
}

fn wanted(name: &str) -> bool {
    ["_PyRuntime", "Py_Version", "PyIter_Send", "PyCode_Type"].contains(&name)
        || evaluates(name)
        || names::passes_calls(name)
}

/// The evaluation loop, its cold part, or a piece of one that is made of tail calls.
fn evaluates(name: &str) -> bool {
    let bare = name.split('.').next().unwrap_or(name);
    bare == names::EVALUATION || bare.starts_with("_TAIL_CALL_")
}

/// The mapped file itself, whatever lies at its path in our mount namespace.
pub(super) fn open(pid: u32, mapping: &Mapping) -> io::Result<File> {
    let path = mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path);
    let candidates = [mapping.map_files(pid), PathBuf::from(format!("/proc/{pid}/root{path}"))];
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for path in candidates {
        match open_regular(&path, mapping.inode) {
            Ok(file) => return Ok(file),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Opening a device or a pipe may block or act, so a look comes first.
fn open_regular(path: &std::path::Path, inode: u64) -> io::Result<File> {
    let is_it = |metadata: &fs::Metadata| metadata.is_file() && metadata.ino() == inode;
    if !is_it(&fs::metadata(path)?) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    if !is_it(&file.metadata()?) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::parse_maps;

    #[test]
    fn an_extension_module_is_no_interpreter_by_its_name() {
        let is_named = |path: &str| {
            let maps = parse_maps(&format!("1000-2000 r-xp 00000000 fe:00 42 {path}"));
            named(&maps[0])
        };
        for path in ["/usr/bin/python3.12", "/a/libpython3.12.so.1.0 (deleted)", "/b/python"] {
            assert!(is_named(path), "{path}");
        }
        for path in ["/a/_json.cpython-312-x86_64-linux-gnu.so", "/a/libtorch_python.so", "/x/ld"] {
            assert!(!is_named(path), "{path}");
        }
    }

    #[test]
    fn a_file_is_looked_into_once() {
        let maps = parse_maps(
            "1000-2000 r-xp 00000000 fe:00 42 /a\n3000-4000 r-xp 00002000 fe:00 42 /a\n5000-6000 r-xp 00000000 fe:00 43 /a\n7000-8000 rw-p 00000000 fe:00 44 /b\n8000-9000 r-xp 00000000 00:00 0\n",
        );
        let starts: Vec<u64> = files(&maps).iter().map(|mapping| mapping.start).collect();
        assert_eq!(starts, [0x1000, 0x5000]);
    }
}
