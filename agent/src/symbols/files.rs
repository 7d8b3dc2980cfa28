//! Mapped files, opened once each, and the names that were found in them.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Sym, Symbolized, Symbolizer};

use crate::capture::{Frame, Language};
use crate::proc::Mapping;

use super::entry;

/// Files kept open. A vLLM worker maps about 200, and workers of one image share them; half of
/// the usual limit of 1024 descriptors.
const FILES_MAX: usize = 512;

/// Largest file whose debug information is read, because it costs memory and time in proportion. vLLM's
/// extension for CPUs has 214 MB, 83 of them `.debug_info`: naming 50 functions all over it takes
/// 0.5 s and 12 MB once, all of it 60 MB.
const DEBUG_INFORMATION_MAX: u64 = 256 << 20;

/// Names kept, over all files. At about 200 bytes each 50 MB; then they are looked up afresh.
const NAMES_MAX: usize = 1 << 18;

/// An opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId(usize);

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Name as its first process maps it.
    name: String,
    debug_information: bool,
}

/// Every file that code was seen in.
#[derive(Debug)]
pub(super) struct Files {
    symbolizer: Symbolizer,
    open: Vec<OpenFile>,
    by_inode: HashMap<(u64, u64), FileId>,
    names: HashMap<(FileId, u64), Vec<Frame>>,
    refused: u64,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            // Files are identified by their inode and stay open: nothing needs to be checked again.
            symbolizer: Symbolizer::builder()
                .enable_auto_reload(false)
                .enable_code_info(true)
                .enable_inlined_fns(true)
                .build(),
            open: Vec::new(),
            by_inode: HashMap::new(),
            names: HashMap::new(),
            refused: 0,
        }
    }
}

impl Files {
    /// The file behind a mapping, or `None` (counted) where it cannot be opened.
    pub(super) fn open(&mut self, pid: u32, mapping: &Mapping) -> Option<FileId> {
        let opened = self.try_open(pid, mapping);
        self.refused += u64::from(opened.is_none());
        opened
    }

    fn try_open(&mut self, pid: u32, mapping: &Mapping) -> Option<FileId> {
        let (file, metadata) = mapping.open(pid).ok()?;
        let key = (metadata.dev(), metadata.ino());
        if let Some(&id) = self.by_inode.get(&key) {
            return Some(id);
        }
        if self.open.len() >= FILES_MAX {
            return None;
        }
        let id = FileId(self.open.len());
        self.open.push(OpenFile {
            file,
            name: mapping.file_name().to_owned(),
            debug_information: metadata.len() <= DEBUG_INFORMATION_MAX,
        });
        self.by_inode.insert(key, id);
        Some(id)
    }

    /// Files that could not be opened.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// The frames at each file offset, innermost inlined function first, never empty.
    pub(super) fn resolve(&mut self, id: FileId, offsets: &[u64]) -> Vec<Vec<Frame>> {
        if self.names.len() + offsets.len() > NAMES_MAX {
            self.names.clear();
        }
        let mut unknown: Vec<u64> = offsets
            .iter()
            .copied()
            .filter(|&offset| !self.names.contains_key(&(id, offset)))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        let named = self.look_up(id, &unknown);
        self.names.extend(unknown.into_iter().map(|offset| (id, offset)).zip(named));
        offsets
            .iter()
            .map(|&offset| self.names.get(&(id, offset)).cloned().unwrap_or_default())
            .collect()
    }

    fn look_up(&self, id: FileId, offsets: &[u64]) -> Vec<Vec<Frame>> {
        let Some(open) = self.open.get(id.0).filter(|_| !offsets.is_empty()) else {
            return Vec::new();
        };
        // One before: the call itself, whose function and line are what a return address means.
        let calls: Vec<u64> = offsets.iter().map(|offset| offset.saturating_sub(1)).collect();
        let exact = self.symbolize(open, offsets);
        let before = self.symbolize(open, &calls);
        offsets
            .iter()
            .zip(exact.into_iter().zip(before))
            .map(|(&offset, (exact, before))| {
                let at_entry = exact.as_ref().is_some_and(|symbol| symbol.offset == 0);
                let symbol = if at_entry { exact } else { before };
                match symbol {
                    Some(symbol) => frames(&symbol, &open.name),
                    None => vec![self.unnamed(open, offset)],
                }
            })
            .collect()
    }

    /// Symbols at file offsets; `None` where the file has none.
    fn symbolize(&self, open: &OpenFile, offsets: &[u64]) -> Vec<Option<Sym<'_>>> {
        let mut source = Elf::new(format!("/proc/self/fd/{}", open.file.as_raw_fd()));
        source.debug_syms = open.debug_information;
        match self.symbolizer.symbolize(&Source::Elf(source), Input::FileOffset(offsets)) {
            Ok(symbols) => symbols
                .into_iter()
                .map(|symbol| match symbol {
                    Symbolized::Sym(symbol) => Some(symbol),
                    Symbolized::Unknown(_) => None,
                })
                .collect(),
            // No ELF file, or one that does not parse: its offsets are all that can be said.
            Err(_) => offsets.iter().map(|_| None).collect(),
        }
    }

    /// A frame for code no symbol covers: the C library's thread entries where the code shows
    /// them, the offset elsewhere.
    fn unnamed(&self, open: &OpenFile, offset: u64) -> Frame {
        let exit_at = |target: u64| {
            self.symbolize(open, &[target])
                .into_iter()
                .flatten()
                .any(|symbol| symbol.offset == 0 && symbol.name == "exit")
        };
        let function = entry::recognise(&open.file, &open.name, offset, exit_at)
            .map_or_else(|| format!("{}+0x{offset:x}", open.name), str::to_owned);
        Frame { function, module: Some(open.name.clone()), ..Frame::default() }
    }
}

/// Frames of one symbol. blazesym gives the outermost function and the calls inlined into it from
/// the outside in, each with the place that called it; frames want their own place.
fn frames(symbol: &Sym<'_>, module: &str) -> Vec<Frame> {
    let names =
        std::iter::once(&symbol.name).chain(symbol.inlined.iter().map(|inlined| &inlined.name));
    let places = std::iter::once(symbol.code_info.as_deref())
        .chain(symbol.inlined.iter().map(|inlined| inlined.code_info.as_ref()));
    let mut frames: Vec<Frame> = names
        .zip(places)
        .map(|(name, place)| Frame {
            language: Language::Native,
            // glibc's internal alias of a function that has a public name.
            function: name.strip_prefix("__GI_").unwrap_or(name).to_owned(),
            module: Some(module.to_owned()),
            file: place.map(|place| place.to_path().display().to_string()),
            line: place.and_then(|place| place.line),
        })
        .collect();
    frames.reverse();
    frames
}
