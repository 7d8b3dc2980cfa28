//! Names of places in mapped files, by their symbols and debug information.

use std::collections::HashMap;
use std::os::fd::AsRawFd as _;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Sym, Symbolized, Symbolizer};

use crate::capture::{Frame, Language};

use super::entry;
use super::files::{FileId, OpenFile};

/// Names kept, over all files. At about 200 bytes each 50 MB; then they are looked up afresh.
const NAMES_MAX: usize = 1 << 18;

/// What was named so far.
#[derive(Debug)]
pub(super) struct Names {
    symbolizer: Symbolizer,
    names: HashMap<(FileId, u64), Vec<Frame>>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            // Files are identified by their inode and stay open: nothing needs to be checked again.
            symbolizer: Symbolizer::builder()
                .enable_auto_reload(false)
                .enable_code_info(true)
                .enable_inlined_fns(true)
                .build(),
            names: HashMap::new(),
        }
    }

    /// The frames at each file offset, innermost inlined function first, never empty.
    pub(super) fn resolve(&mut self, file: &OpenFile, offsets: &[u64]) -> Vec<Vec<Frame>> {
        if self.names.len() + offsets.len() > NAMES_MAX {
            self.names.clear();
        }
        let mut unknown: Vec<u64> = offsets
            .iter()
            .copied()
            .filter(|&offset| !self.names.contains_key(&(file.id, offset)))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        let named = self.look_up(file, &unknown);
        self.names.extend(unknown.into_iter().map(|offset| (file.id, offset)).zip(named));
        offsets
            .iter()
            .map(|&offset| self.names.get(&(file.id, offset)).cloned().unwrap_or_default())
            .collect()
    }

    fn look_up(&self, open: &OpenFile, offsets: &[u64]) -> Vec<Vec<Frame>> {
        if offsets.is_empty() {
            return Vec::new();
        }
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
        let place = open.place(offset);
        match entry::recognise(&open.file, &open.name, offset, exit_at) {
            Some(function) => Frame { function: function.to_owned(), ..place },
            None => place,
        }
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
