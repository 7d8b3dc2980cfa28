//! Kernel names, interned into the append-only area. Called in completion callbacks: no lock, no
//! allocation; under contention a name may be stored twice, which costs bytes and nothing else.
//!
//! Two tables of fixed size: pointer -> id (valid for one generation, because an unloaded
//! module's name pointers are reused) and content hash -> id (so that a new generation stores nothing twice).

use std::ffi::c_char;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wire::limits::{NAME_MAX, NAMES_BYTES};
use wire::shim::Cursors;

use crate::region::reserve;

/// Entries per table: 20 000 names at a load below two thirds.
const ENTRIES: usize = 1 << 15;
/// Probes before giving up on a table; a miss costs a second copy of the name.
const PROBES: usize = 16;
/// A writer holds this entry. No id is that large: ids are offsets / 8 of a 4 MiB area.
const BUSY: u64 = u64::MAX;
/// Bytes of a word. Names begin at words; one in front of each holds the length (u32) and zeros.
const WORD: usize = size_of::<AtomicU64>();

/// `tag` says generation and id (`generation << 32 | id`), 0 = empty, `BUSY` = being written.
#[derive(Debug, Default)]
struct Entry {
    key: AtomicU64,
    tag: AtomicU64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Names {
    area: &'static [AtomicU64],
    cursors: &'static Cursors,
    generation: AtomicU32,
    by_pointer: Box<[Entry]>,
    by_content: Box<[Entry]>,
}

impl Names {
    /// `area` holds `NAMES_BYTES` zeroed bytes. Allocates the tables.
    pub(crate) fn new(area: &'static [AtomicU64], cursors: &'static Cursors) -> Self {
        let table = || (0..ENTRIES).map(|_| Entry::default()).collect::<Box<[Entry]>>();
        // Offset 0 stays free: id 0 means "no name".
        cursors.names.position.store(WORD as u64, Ordering::Relaxed);
        Self {
            area,
            cursors,
            generation: AtomicU32::new(1),
            by_pointer: table(),
            by_content: table(),
        }
    }

    /// Forgets which pointer means which name. Called when a module is loaded or unloaded.
    pub(crate) fn forget_pointers(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The id of the NUL-terminated name at `pointer`, 0 when it is null or the area is full.
    ///
    /// # Safety
    /// `pointer` is null or a C string that stays alive during the call.
    pub(crate) unsafe fn intern(&self, pointer: *const c_char) -> u32 {
        if pointer.is_null() {
            return 0;
        }
        let generation = self.generation.load(Ordering::Acquire);
        let key = pointer as u64;
        if let Some(id) = find(&self.by_pointer, key, generation) {
            return id;
        }
        // SAFETY: the caller's promise.
        let length = unsafe { length(pointer) };
        // SAFETY: that many bytes are there.
        let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) };
        let id = self.intern_bytes(bytes);
        if id != 0 {
            insert(&self.by_pointer, key, generation, id);
        }
        id
    }

    /// The id of this name, 0 when the area is full.
    pub(crate) fn intern_bytes(&self, bytes: &[u8]) -> u32 {
        let hash = content_hash(bytes);
        if let Some(id) = find(&self.by_content, hash, 0)
            && self.holds(id, bytes)
        {
            return id;
        }
        let id = self.append(bytes);
        if id != 0 {
            insert(&self.by_content, hash, 0, id);
        }
        id
    }

    /// The entry `id` is this name.
    fn holds(&self, id: u32, bytes: &[u8]) -> bool {
        let entry = self.area.get(id as usize..).and_then(<[AtomicU64]>::split_first);
        entry.is_some_and(|(head, body)| {
            head.load(Ordering::Relaxed) == bytes.len() as u64
                && body.len() >= bytes.len().div_ceil(WORD)
                && words(bytes).zip(body).all(|(word, kept)| kept.load(Ordering::Relaxed) == word)
        })
    }

    /// Reserves and writes an entry. 0 = the area is full.
    fn append(&self, bytes: &[u8]) -> u32 {
        let size = 1 + bytes.len().div_ceil(WORD);
        let reserved = reserve(&self.cursors.names, (size * WORD) as u64, NAMES_BYTES as u64);
        let Some(offset) = reserved.and_then(|offset| usize::try_from(offset).ok()) else {
            return 0;
        };
        // The agent maps the cursor writable, too: believe it only inside the area.
        if !offset.is_multiple_of(WORD) {
            return 0;
        }
        let first = offset / WORD;
        let entry = self.area.get(first..first + size).and_then(<[AtomicU64]>::split_first);
        let Some((head, body)) = entry else { return 0 };
        for (word, place) in words(bytes).zip(body) {
            place.store(word, Ordering::Relaxed);
        }
        head.store(bytes.len() as u64, Ordering::Relaxed);
        u32::try_from(first).unwrap_or(0)
    }
}

/// Bytes in front of the NUL, [`NAME_MAX`] at most.
///
/// # Safety
/// `pointer` is a live C string.
unsafe fn length(pointer: *const c_char) -> usize {
    if cfg!(miri) {
        // Which has no strnlen.
        // SAFETY: the caller's promise: reads up to the NUL.
        return unsafe { std::ffi::CStr::from_ptr(pointer) }.count_bytes().min(NAME_MAX);
    }
    // SAFETY: the caller's promise; strnlen reads at most NAME_MAX bytes of it.
    unsafe { libc::strnlen(pointer, NAME_MAX) }
}

/// Little-endian words, the last one padded with zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(WORD).map(|chunk| {
        let mut word = [0; WORD];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a tag is two u32 halves")]
fn find(table: &[Entry], key: u64, generation: u32) -> Option<u32> {
    for entry in probe(table, key) {
        let tag = entry.tag.load(Ordering::Acquire);
        if tag == 0 {
            return None;
        }
        if tag != BUSY
            && entry.key.load(Ordering::Acquire) == key
            // Unchanged around the read of the key: the two belong together.
            && entry.tag.load(Ordering::Acquire) == tag
            && (tag >> 32) as u32 == generation
        {
            return Some((tag & u64::from(u32::MAX)) as u32);
        }
    }
    None
}

/// Takes the first free or outdated entry, or none: a full neighbourhood only means a slower lookup.
fn insert(table: &[Entry], key: u64, generation: u32, id: u32) {
    for entry in probe(table, key) {
        let tag = entry.tag.load(Ordering::Acquire);
        if tag == BUSY || (tag != 0 && (tag >> 32) as u32 == generation) {
            continue;
        }
        if entry.tag.compare_exchange(tag, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            entry.key.store(key, Ordering::Release);
            entry.tag.store(u64::from(generation) << 32 | u64::from(id), Ordering::Release);
            return;
        }
    }
}

fn probe(table: &[Entry], key: u64) -> impl Iterator<Item = &Entry> {
    let start = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
    (0..PROBES).map(move |step| &table[(start + step) % ENTRIES])
}

/// FNV-1a over 8-byte words; equality of bytes is checked besides.
fn content_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    for word in words(bytes) {
        hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    fn names() -> Names {
        let area = (0..NAMES_BYTES / WORD).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        // SAFETY: all-zero bytes are a valid Cursors, which holds only atomics.
        let cursors: Box<Cursors> = Box::new(unsafe { std::mem::zeroed() });
        Names::new(Box::leak(area), Box::leak(cursors))
    }

    fn intern(names: &Names, text: &CString) -> u32 {
        // SAFETY: a CString is a live C string.
        unsafe { names.intern(text.as_ptr()) }
    }

    #[test]
    fn same_content_at_two_addresses_is_one_name() {
        let names = names();
        let (first, second) = (CString::new("gemm").unwrap(), CString::new("gemm").unwrap());
        let id = intern(&names, &first);
        assert_ne!(id, 0);
        assert_eq!(intern(&names, &second), id);
        assert!(names.holds(id, b"gemm"));
        assert!(!names.holds(id, b"gem") && !names.holds(id, b"gemv"));
    }

    #[test]
    fn a_reused_pointer_is_a_new_name_after_a_module_change() {
        let names = names();
        let mut buffer = *b"first\0";
        // SAFETY: NUL-terminated and alive.
        let first = unsafe { names.intern(buffer.as_ptr().cast()) };
        buffer.copy_from_slice(b"other\0");
        names.forget_pointers();
        // SAFETY: as above.
        let second = unsafe { names.intern(buffer.as_ptr().cast()) };
        assert!(names.holds(first, b"first"));
        assert!(names.holds(second, b"other"));
    }

    #[test]
    fn a_full_area_answers_zero_and_keeps_what_it_has() {
        let names = names();
        let kept = intern(&names, &CString::new("kept").unwrap());
        // Alive together: a freed name's address would be taken for the name it held.
        let long: Vec<_> =
            (0..600).map(|index| CString::new(format!("{index:0>8000}")).unwrap()).collect();
        let refused = long.iter().filter(|text| intern(&names, text) == 0).count();
        assert!(refused > 50, "{refused} refused");
        assert_eq!(intern(&names, &CString::new("kept").unwrap()), kept);
    }

    #[test]
    fn threads_agree_on_content() {
        let names = names();
        let (kernels, rounds) = if cfg!(miri) { (6, 1) } else { (500, 20) };
        let texts: Vec<_> =
            (0..kernels).map(|index| CString::new(format!("kernel_{index}")).unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        for text in &texts {
                            let id = intern(&names, text);
                            assert!(names.holds(id, text.as_bytes()));
                        }
                        names.forget_pointers();
                    }
                });
            }
        });
    }

    #[test]
    fn a_hostile_cursor_cannot_make_us_write_outside() {
        let names = names();
        for position in [u64::MAX, u64::MAX - 7, NAMES_BYTES as u64 - 1, 3] {
            names.cursors.names.position.store(position, Ordering::Relaxed);
            assert_eq!(names.append(b"x"), 0, "{position}");
            assert!(!names.holds(u32::MAX, b"x"));
        }
    }
}
