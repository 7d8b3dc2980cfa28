//! The mapped files, opened once each whatever process maps them, and the rows of their functions
//! as far as stacks went through them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use super::code::{self, Known};
use super::function::{self, Context};
use super::image::{Image, Source};
use super::index::Index;
use super::row::Row;

/// Files kept open. Stacks of a vLLM worker go through 30 to 50 of the 200 files it maps; beside the
/// 512 that naming may keep, and the rest, this stays below the usual limit of 1024 descriptors.
const MODULES_MAX: usize = 384;

/// Pieces of functions kept, 8 bytes each. A busy vLLM server's stacks go through some 5 000
/// functions of 10 pieces.
const PIECES_MAX: usize = 1 << 18;

/// Different rows kept. A library has up to 1 400, and most are the same everywhere.
const ROWS_MAX: usize = 1 << 14;

/// Bytes of unwind information evaluated for one stack at most. A stack of 60 functions that were never
/// seen needs 6 kB; files made to keep us busy would give 64 kB for each frame.
const BYTES_MAX: usize = 256 << 10;

/// Different images of the vdso kept: a process may write to its own.
const VDSO_MAX: usize = 8;

/// Bytes from a program's first instruction on that belong to where it begins.
const ENTRY_BYTES: u64 = 64;

/// A file. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ModuleId(u32);

impl ModuleId {
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// A row among all that are kept; `None` in its place: cannot be unwound.
type RowNumber = Option<u32>;

#[derive(Debug)]
struct Kept {
    end: u64,
    /// Offset from the function's start and row, by the former.
    pieces: Box<[(u32, RowNumber)]>,
}

#[derive(Debug)]
struct Module {
    image: Image,
    index: Index,
    /// By their start, in addresses of the file.
    functions: BTreeMap<u64, Kept>,
}

/// What unwind information says of an address.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Row(Arc<Row>),
    /// It is within the first instructions of a program, where nobody returns to.
    Entry,
    Nothing,
}

/// Every file that stacks went through.
#[derive(Debug, Default)]
pub(super) struct Modules {
    next: u32,
    by_id: HashMap<ModuleId, Module>,
    by_inode: HashMap<(u64, u64), ModuleId>,
    vdso: Vec<(Box<[u8]>, ModuleId)>,
    rows: Rows,
    context: ContextBox,
    /// Bytes that may still be evaluated for this stack.
    bytes_left: usize,
    /// Times that everything evaluated was let go because there was no more room.
    pub(super) flushed: u64,
    /// Times that a file was not opened because too many were.
    pub(super) refused: u64,
    /// Functions whose unwind information is damaged or uses what is not supported.
    pub(super) damaged: u64,
}

#[derive(Debug)]
struct ContextBox(Box<Context>);

impl Default for ContextBox {
    fn default() -> Self {
        Self(Box::new(Context::new_in()))
    }
}

impl Modules {
    /// Another stack is looked at.
    pub(super) fn begin(&mut self) {
        self.bytes_left = BYTES_MAX;
    }

    /// The file, if it is one that code can be in.
    pub(super) fn open(&mut self, file: File, metadata: &Metadata) -> Option<ModuleId> {
        let key = (metadata.dev(), metadata.ino());
        if let Some(&id) = self.by_inode.get(&key) {
            return Some(id);
        }
        if self.by_id.len() >= MODULES_MAX {
            self.refused += 1;
            return None;
        }
        let id = self.add(Image::new(Source::File(file))?);
        self.by_inode.insert(key, id);
        Some(id)
    }

    /// The kernel's vdso as a process has it: one for all processes of the same kind.
    pub(super) fn vdso(&mut self, bytes: Box<[u8]>) -> Option<ModuleId> {
        if let Some((_, id)) = self.vdso.iter().find(|(known, _)| *known == bytes) {
            return Some(*id);
        }
        if self.vdso.len() >= VDSO_MAX {
            self.refused += 1;
            return None;
        }
        let id = self.add(Image::new(Source::Memory(bytes.clone()))?);
        self.vdso.push((bytes, id));
        Some(id)
    }

    fn add(&mut self, image: Image) -> ModuleId {
        let id = ModuleId(self.next);
        self.next = self.next.wrapping_add(1);
        let index = Index::of(&image);
        self.by_id.insert(id, Module { image, index, functions: BTreeMap::new() });
        id
    }

    /// Lets go of files that no process uses, when there are many.
    pub(super) fn sweep(&mut self, used: impl Iterator<Item = ModuleId>) {
        if self.by_id.len() <= MODULES_MAX / 2 {
            return;
        }
        let used: HashSet<ModuleId> = used.collect();
        self.by_inode.retain(|_, id| used.contains(id));
        self.vdso.retain(|(_, id)| used.contains(id));
        self.by_id.retain(|id, _| used.contains(id));
    }

    /// The address in the file's own terms of the byte that a mapping of `offset` begins with.
    pub(super) fn mapped_address(&self, id: ModuleId, offset: u64) -> Option<u64> {
        self.by_id.get(&id)?.image.mapped_address(offset)
    }

    /// Start and end of the function at an address of the file.
    pub(super) fn function(&mut self, id: ModuleId, address: u64) -> Option<(u64, u64)> {
        self.evaluated(id, address)?;
        let (&start, kept) = self.by_id.get(&id)?.functions.range(..=address).next_back()?;
        (address < kept.end).then_some((start, kept.end))
    }

    /// Bytes of the file from an address on.
    pub(super) fn read(&self, id: ModuleId, address: u64, length: usize) -> Vec<u8> {
        let image = self.by_id.get(&id).map(|module| &module.image);
        image
            .and_then(|image| Some(image.read_up_to(image.offset(address)?, length)))
            .unwrap_or_default()
    }

    /// What the code at an address of the file tells by itself.
    pub(super) fn recognise(&self, id: ModuleId, address: u64) -> Option<Arc<Row>> {
        let code = self.read(id, address, code::BYTES);
        let row = match code::recognise(&code)? {
            Known::Stub => Row::of_entry(),
            Known::SignalReturn => Row::of_signal_return(),
        };
        Some(Arc::new(row))
    }

    /// What holds at an address of the file.
    pub(super) fn find(&mut self, id: ModuleId, address: u64) -> Found {
        if let Some(row) = self.evaluated(id, address) {
            return row.and_then(|row| self.rows.get(row)).map_or(Found::Nothing, Found::Row);
        }
        // What programs begin in has no unwind information in some C libraries.
        let entry = self.by_id.get(&id).map_or(0, |module| module.image.entry);
        let inside = address.checked_sub(entry).filter(|_| entry != 0);
        if inside.is_some_and(|inside| inside < ENTRY_BYTES) {
            Found::Entry
        } else {
            Found::Nothing
        }
    }

    /// The row at an address, evaluating its function if that was not done; `None`: no unwind
    /// information describes the address.
    fn evaluated(&mut self, id: ModuleId, address: u64) -> Option<RowNumber> {
        let module = self.by_id.get(&id)?;
        if let Some(row) = module.kept(address) {
            return Some(row);
        }
        let entry = module.index.find(&module.image, address)?;
        let function = match function::read(&module.image, entry, &mut self.context.0) {
            Some(function) if function.bytes <= self.bytes_left => function,
            Some(_) | None => {
                self.damaged += 1;
                return None;
            }
        };
        self.bytes_left -= function.bytes;
        if !(function.start..function.end).contains(&address) {
            return None;
        }
        if self.rows.pieces + function.pieces.len() > PIECES_MAX
            || self.rows.by_number.len() + function.pieces.len()
                > ROWS_MAX.max(function.pieces.len())
        {
            self.flush();
        }
        self.rows.pieces += function.pieces.len();
        let pieces = function
            .pieces
            .into_iter()
            .map(|(from, row)| (from, row.map(|row| self.rows.number(row))))
            .collect();
        let module = self.by_id.get_mut(&id)?;
        // Functions that overlap would be found in turns.
        let kept = Kept { end: function.end, pieces };
        module.functions.insert(function.start, kept);
        module.kept(address)
    }

    /// Lets go of everything evaluated.
    fn flush(&mut self) {
        self.flushed += 1;
        self.rows = Rows::default();
        for module in self.by_id.values_mut() {
            module.functions.clear();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Pieces of functions and different rows kept.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.rows.pieces, self.rows.by_number.len())
    }
}

impl Module {
    fn kept(&self, address: u64) -> Option<RowNumber> {
        let (&start, kept) = self.functions.range(..=address).next_back()?;
        if address >= kept.end {
            return None;
        }
        let inside = u32::try_from(address - start).ok()?;
        let after = kept.pieces.partition_point(|&(from, _)| from <= inside);
        let (_, row) = kept.pieces.get(after.checked_sub(1)?)?;
        Some(*row)
    }
}

/// Different rows, each once.
#[derive(Debug, Default)]
struct Rows {
    by_number: Vec<Arc<Row>>,
    numbers: HashMap<Arc<Row>, u32>,
    /// Pieces of functions that refer to them.
    pieces: usize,
}

impl Rows {
    fn number(&mut self, row: Row) -> u32 {
        if let Some(&number) = self.numbers.get(&row) {
            return number;
        }
        let number = u32::try_from(self.by_number.len()).unwrap_or(u32::MAX);
        let row = Arc::new(row);
        self.by_number.push(Arc::clone(&row));
        self.numbers.insert(row, number);
        number
    }

    fn get(&self, number: u32) -> Option<Arc<Row>> {
        self.by_number.get(usize::try_from(number).ok()?).cloned()
    }
}
