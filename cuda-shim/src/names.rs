//! Kernel names, interned into the append-only area. Called in completion callbacks: no lock, no
//! allocation; under contention a name may be stored twice, which costs bytes and nothing else.
//!
//! Two tables of fixed size: pointer -> id (valid for one generation, because an unloaded
//! module's name pointers are reused) and content hash -> id (so that a new generation stores nothing twice).

use std::ffi::c_char;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use wire::limits::{NAME_MAX, NAMES_BYTES};
use wire::shim::Cursors;

/// Entries per table: 20 000 names at a load below two thirds.
const ENTRIES: usize = 1 << 15;
/// Probes before giving up on a table; a miss costs a second copy of the name.
const PROBES: usize = 16;
/// A writer holds this entry. No id is that large: ids are offsets / 8 of a 4 MiB area.
const BUSY: u64 = u64::MAX;
/// Bytes in front of every name: length (u32) and a zero word.
const ENTRY_HEAD: usize = 8;

/// `tag` says generation and id (`generation << 32 | id`), 0 = empty, `BUSY` = being written.
#[derive(Debug, Default)]
struct Entry {
    key: AtomicU64,
    tag: AtomicU64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Names {
    area: *mut u8,
    cursors: &'static Cursors,
    generation: AtomicU32,
    by_pointer: Box<[Entry]>,
    by_content: Box<[Entry]>,
}

// SAFETY: `area` is only written in ranges reserved by an atomic counter and read after an
// acquire of the entry that published them.
unsafe impl Send for Names {}
// SAFETY: as above.
unsafe impl Sync for Names {}

impl Names {
    /// `area` points to `NAMES_BYTES` zeroed bytes that live as long as the process. Allocates the tables.
    pub(crate) fn new(area: NonNull<u8>, cursors: &'static Cursors) -> Self {
        let table = || (0..ENTRIES).map(|_| Entry::default()).collect::<Box<[Entry]>>();
        // Offset 0 stays free: id 0 means "no name".
        cursors.names.position.store(ENTRY_HEAD as u64, Ordering::Relaxed);
        Self {
            area: area.as_ptr(),
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
        // SAFETY: the caller's promise; strnlen reads at most NAME_MAX bytes of it.
        let length = unsafe { libc::strnlen(pointer, NAME_MAX) };
        // SAFETY: strnlen found that many bytes.
        let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) };
        let id = self.intern_bytes(bytes);
        if id != 0 {
            insert(&self.by_pointer, key, generation, id);
        }
        id
    }

    fn intern_bytes(&self, bytes: &[u8]) -> u32 {
        let hash = content_hash(bytes);
        if let Some(id) = find(&self.by_content, hash, 0)
            && self.stored(id) == Some(bytes)
        {
            return id;
        }
        let id = self.append(bytes);
        if id != 0 {
            insert(&self.by_content, hash, 0, id);
        }
        id
    }

    /// The bytes of a name this process stored.
    fn stored(&self, id: u32) -> Option<&[u8]> {
        let offset = id as usize * 8;
        if offset + ENTRY_HEAD > NAMES_BYTES {
            return None;
        }
        // SAFETY: inside the area, 8-byte aligned; written before its id was published.
        let length = unsafe { self.head(offset).read() } as usize;
        if length > NAMES_BYTES - offset - ENTRY_HEAD {
            return None;
        }
        // SAFETY: as above, and the length stays inside the area.
        Some(unsafe {
            std::slice::from_raw_parts(self.area.wrapping_add(offset + ENTRY_HEAD), length)
        })
    }

    #[expect(clippy::cast_ptr_alignment, reason = "entries begin at multiples of 8")]
    fn head(&self, offset: usize) -> *mut u32 {
        self.area.wrapping_add(offset).cast::<u32>()
    }

    /// Reserves and writes an entry. 0 = the area is full.
    fn append(&self, bytes: &[u8]) -> u32 {
        let size = (ENTRY_HEAD + bytes.len()).next_multiple_of(8);
        let used = &self.cursors.names.position;
        let reserved = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |offset| {
            let end = offset.checked_add(size as u64)?;
            (end <= NAMES_BYTES as u64).then_some(end)
        });
        let Ok(offset) = reserved else { return 0 };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        // The agent maps the cursor writable, too: believe it only inside the area.
        if offset % 8 != 0 || offset.checked_add(size).is_none_or(|end| end > NAMES_BYTES) {
            return 0;
        }
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let entry = self.area.wrapping_add(offset);
        // SAFETY: [offset, offset + size) lies in the area and was reserved by us alone.
        unsafe {
            entry.wrapping_add(ENTRY_HEAD).copy_from(bytes.as_ptr(), bytes.len());
        };
        // SAFETY: as above; offset is a multiple of 8.
        unsafe { self.head(offset).write(length) };
        u32::try_from(offset / 8).unwrap_or(0)
    }
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
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    fn names() -> Names {
        let area = Box::leak(vec![0_u64; NAMES_BYTES / 8].into_boxed_slice());
        // SAFETY: all-zero bytes are a valid Cursors, which holds only atomics.
        let cursors: Box<Cursors> = Box::new(unsafe { std::mem::zeroed() });
        Names::new(NonNull::new(area.as_mut_ptr().cast()).unwrap(), Box::leak(cursors))
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
        assert_eq!(names.stored(id), Some(&b"gemm"[..]));
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
        assert_eq!(names.stored(first), Some(&b"first"[..]));
        assert_eq!(names.stored(second), Some(&b"other"[..]));
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
        let texts: Vec<_> =
            (0..500).map(|index| CString::new(format!("kernel_{index}")).unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        for text in &texts {
                            let id = intern(&names, text);
                            assert_eq!(names.stored(id), Some(text.as_bytes()));
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
        }
    }
}
