//! The interpreter of one process: its version, where it keeps its threads and frames, its lock.

mod rehearsal;

use std::io;
use std::ops::Range;

use wire::kernel::PythonLayout;

use super::code::Interpreter;
use super::error::PythonError;
use super::eval;
use super::find::{self, Object};
use super::gil::Lock;
use super::memory::{Memory, ProcessMemory};
use super::merge::Seams;
use super::offsets::Offsets;
use super::published::{self, Published};
use super::thread_slot::{self, Bound, Slot, Slots};
use super::version::Version;
use crate::elf;
use crate::proc::{self, Mapping};

#[doc(hidden)]
pub use rehearsal::rehearse;

/// Threads of an interpreter that are listed. vLLM's have fewer than a hundred.
pub(super) const THREADS_MAX: usize = 4096;

/// Threads that the thread slot is checked with.
const THREADS_CHECKED: usize = 64;

/// Where glibc's `struct pthread` has the thread's number, as far as the C library does not tell.
const TID_AT: u64 = 720;

/// The interpreter of a process, as it was when it was found. It dies with the program: behind an exec
/// every read fails, and it has to be found again.
#[derive(Debug)]
pub struct Runtime {
    pid: u32,
    version: Version,
    path: String,
    offsets: Offsets,
    memory: ProcessMemory,
    /// The main interpreter's `PyInterpreterState`.
    main: u64,
    thread_state: u64,
    lock: Lock,
    code_type: Option<u64>,
    seams: Seams,
    /// In `struct pthread`.
    tid: u64,
}

impl Runtime {
    /// Looks for CPython in a process; `None` where there is none. `function_at` gives the piece of code
    /// around an address that unwind information describes as one: without it, parts of the evaluation
    /// loop that have no symbol are not known.
    pub fn find(
        pid: u32,
        function_at: impl FnMut(u64) -> Option<Range<u64>>,
    ) -> Result<Option<Self>, PythonError> {
        let read = |what| move |source| PythonError::Read { pid, what, source };
        // Opened first: if the process executes something else meanwhile, reads fail, and nothing of
        // the one program is taken for the other's.
        let memory = ProcessMemory::open(pid).map_err(read("memory"))?;
        let maps = proc::maps(pid).map_err(read("memory map"))?;
        let Some(object) = find::interpreter(pid, &maps)? else {
            return Ok(None);
        };
        let refused = |reason: String| PythonError::Unsupported { pid, reason };
        let version = version(&memory, &object).map_err(refused)?;
        let offsets = offsets(&memory, version, object.runtime).map_err(refused)?;
        let not_ready = |what| PythonError::NotReady { pid, what };

        let main = word(&memory, object.runtime, offsets.interpreters_main)
            .filter(|&main| main != 0)
            .ok_or_else(|| not_ready("no interpreter"))?;
        let lock = Lock::find(&memory, &offsets, object.runtime, main)
            .ok_or_else(|| not_ready("no lock"))?;
        let (slots, tid) = c_library(pid, &maps, &memory).map_err(refused)?;
        let key = key(&memory, object.runtime, &offsets);
        let threads: Vec<Bound> = threads(&memory, main, &offsets, THREADS_CHECKED);
        let thread_state = match thread_slot::find(&memory, slots, key, &threads) {
            Slot::At(offset) => offset,
            Slot::NoThread => return Err(not_ready("no thread")),
            Slot::KeyTooLarge(key) => {
                return Err(refused(format!(
                    "its threads keep their state under key {key} of thread-specific data, and only the first 32 can be read"
                )));
            }
            Slot::NotFound => {
                return Err(refused(
                    "its threads do not keep their state where this C library has thread-specific data"
                        .to_owned(),
                ));
            }
        };
        let seams = seams(&memory, version, &object, function_at);
        Ok(Some(Self {
            pid,
            version,
            path: object.path,
            offsets,
            memory,
            main,
            thread_state,
            lock,
            code_type: object.code_type,
            seams,
            tid,
        }))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The interpreter's file, as the process calls it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the kernel programs need to know.
    pub fn layout(&self) -> PythonLayout {
        layout(&self.offsets, self.lock, self.thread_state)
    }

    /// Addresses of the global lock's structure: a thread that waits on a futex in it waits for the
    /// lock.
    pub fn gil(&self) -> Range<u64> {
        self.lock.range()
    }

    /// What merging with native frames needs to know.
    pub fn seams(&self) -> &Seams {
        &self.seams
    }

    pub(super) fn memory(&self) -> &ProcessMemory {
        &self.memory
    }

    pub(super) fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    pub(super) fn interpreter(&self) -> Interpreter<'_, ProcessMemory> {
        Interpreter {
            memory: &self.memory,
            version: self.version,
            offsets: &self.offsets,
            code_type: self.code_type,
        }
    }

    /// Every thread of the main interpreter, and where `struct pthread` has a thread's number.
    pub(super) fn threads(&self) -> (Vec<Bound>, u64) {
        (threads(&self.memory, self.main, &self.offsets, THREADS_MAX), self.tid)
    }
}

fn layout(offsets: &Offsets, lock: Lock, thread_state: u64) -> PythonLayout {
    let Offsets { thread, frame, .. } = offsets;
    PythonLayout {
        // Below 64 KiB: `Slots` sees to it.
        thread_state: i64::try_from(thread_state).unwrap_or(i64::MAX),
        gil_locked: lock.locked(),
        gil_holder: lock.holder(),
        frame: thread.frame,
        cframe: thread.cframe,
        code: frame.code,
        previous: frame.previous,
        instruction: frame.instruction,
        instruction_bytes: frame.instruction_bytes,
        owner: frame.owner,
        entry: frame.entry,
    }
}

fn word(memory: &impl Memory, base: u64, offset: u64) -> Option<u64> {
    memory.u64(base.checked_add(offset)?)
}

/// By what the interpreter holds; its file's name is only believed where nothing else tells.
fn version(memory: &impl Memory, object: &Object) -> Result<Version, String> {
    let mut head = [0; 16];
    let hex = if memory.read(object.runtime, &mut head) && head.starts_with(published::COOKIE) {
        memory.u64(object.runtime + 8)
    } else {
        object.version.and_then(|at| memory.u64(at))
    };
    if let Some(hex) = hex {
        return Version::of_hex(hex).ok_or_else(|| {
            format!(
                "its version is {}.{}, and 3.10 to 3.14 are known",
                hex >> 24 & 0xff,
                hex >> 16 & 0xff
            )
        });
    }
    // `Py_Version` came with 3.11, `PyIter_Send` with 3.10.
    if object.has_iter_send {
        return Ok(Version::V3_10);
    }
    named(&object.path)
        .ok_or_else(|| "its version is older than 3.10, or cannot be told".to_owned())
}

/// `python3.11`, `libpython3.12.so.1.0`.
fn named(path: &str) -> Option<Version> {
    let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (_, minor) = name.split_once("python3.")?;
    let digits = minor.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(minor.len());
    let minor: u64 = minor.get(..digits)?.parse().ok()?;
    Version::ALL.into_iter().find(|version| version.minor() == minor)
}

fn offsets(memory: &impl Memory, version: Version, runtime: u64) -> Result<Offsets, String> {
    if version < Version::V3_13 {
        return Ok(Offsets::of(version));
    }
    let mut bytes = [0; published::WORDS * 8];
    if !memory.read(runtime, &mut bytes) {
        return Err("what it publishes about itself cannot be read".to_owned());
    }
    let mut words = [0; published::WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    match published::parse(version, &words) {
        Published::Offsets(offsets) => Ok(*offsets),
        Published::FreeThreaded => {
            Err("it was built without the global lock (free-threaded)".to_owned())
        }
        Published::Malformed(reason) => {
            Err(format!("what it publishes about itself makes no sense: {reason}"))
        }
    }
}

/// `Py_tss_t` is {initialised, key}.
fn key(memory: &impl Memory, runtime: u64, offsets: &Offsets) -> Option<u32> {
    let at = runtime.checked_add(offsets.tss_key)?;
    (memory.u32(at)? == 1).then_some(())?;
    memory.u32(at + 4)
}

/// The list of threads, newest first. It may change while it is read.
fn threads(memory: &impl Memory, main: u64, offsets: &Offsets, most: usize) -> Vec<Bound> {
    let mut threads = Vec::new();
    let mut next = word(memory, main, offsets.threads_head).unwrap_or(0);
    while next != 0 && threads.len() < most {
        let Some(thread_id) = word(memory, next, offsets.thread.identity) else {
            break;
        };
        threads.push(Bound { state: next, thread_id });
        next = word(memory, next, offsets.thread.next).unwrap_or(0);
    }
    threads
}

/// Where glibc keeps thread-specific data and a thread's number, by what it tells debuggers.
fn c_library(pid: u32, maps: &[Mapping], memory: &impl Memory) -> Result<(Slots, u64), String> {
    if maps.iter().any(|mapping| mapping.file_name().starts_with("ld-musl-")) {
        return Err("its C library is musl".to_owned());
    }
    let is_library = |mapping: &&Mapping| {
        // Up to 2.33 the threads had a library of their own.
        let names = ["libc.so.6", "libc-2.", "libpthread.so.0", "libpthread-2."];
        mapping.executable && names.iter().any(|name| mapping.file_name().starts_with(name))
    };
    let told = maps
        .iter()
        .filter(is_library)
        .find_map(|mapping| debugger_data(pid, mapping, memory).ok().flatten());
    // The slot is checked with the threads themselves before it is used.
    Ok(told.unwrap_or((Slots::default(), TID_AT)))
}

fn debugger_data(
    pid: u32,
    mapping: &Mapping,
    memory: &impl Memory,
) -> io::Result<Option<(Slots, u64)>> {
    const SPECIFIC: &str = "_thread_db_pthread_specific";
    const TID: &str = "_thread_db_pthread_tid";
    let file = find::open(pid, mapping)?;
    let shape = elf::sections(&file, &mapping.path, "").map_err(io::Error::other)?;
    let symbols = elf::symbols(&file, &mapping.path, |name| name == SPECIFIC || name == TID)
        .map_err(io::Error::other)?;
    let words = |name: &str| {
        let (_, extent) = symbols.iter().find(|(other, _)| other == name)?;
        let at = shape.bias(mapping.start, mapping.offset)?.wrapping_add(extent.address);
        let word = |index: u64| memory.u32(at.checked_add(4 * index)?);
        Some([word(0)?, word(1)?, word(2)?])
    };
    let Some(slots) = words(SPECIFIC).and_then(Slots::told) else {
        return Ok(None);
    };
    let tid = words(TID).map(|[_, _, offset]| u64::from(offset)).filter(|&offset| offset < 0x10000);
    Ok(Some((slots, tid.unwrap_or(TID_AT))))
}

fn seams(
    memory: &impl Memory,
    version: Version,
    object: &Object,
    mut function_at: impl FnMut(u64) -> Option<Range<u64>>,
) -> Seams {
    let mut evaluation = Vec::new();
    for symbol in &object.evaluation {
        let whole = function_at(symbol.start).filter(|whole| whole.contains(&symbol.start));
        let first = whole.unwrap_or_else(|| symbol.clone());
        evaluation.extend(eval::parts(memory, &object.code, first, &mut function_at));
    }
    evaluation.sort_unstable_by_key(|part| (part.start, part.end));
    evaluation.dedup();
    Seams { version, evaluation, passing: object.passing.clone(), code: object.code.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_version_at_need() {
        assert_eq!(named("/usr/bin/python3.11"), Some(Version::V3_11));
        assert_eq!(named("/a/libpython3.12.so.1.0 (deleted)"), Some(Version::V3_12));
        assert_eq!(named("/a/python3.1/libpython3.so"), None);
        assert_eq!(named("/usr/bin/python3.9"), None);
        assert_eq!(named("python"), None);
    }
}
