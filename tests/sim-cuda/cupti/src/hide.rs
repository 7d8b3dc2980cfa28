//! Takes away the functions that the simulated version does not have yet, so that looking them up fails
//! as it does with the real library.
//!
//! Done by clearing their values in this library's own dynamic symbol table while it is being loaded:
//! the dynamic linker takes a symbol without a value for an undefined one.

use std::ffi::{CStr, c_char, c_void};

use crate::version;

/// Functions by the version that brought them; all others are in 12.0.
pub(crate) const SINCE: &[((u32, u32), &CStr)] = &[
    ((12, 2), c"cuptiGetErrorMessage"),
    ((12, 3), c"cuptiGetGraphExecId"),
    ((12, 3), c"cuptiActivityEnableDeviceGraph"),
    ((12, 5), c"cuptiActivityEnableDriverApi"),
    ((12, 5), c"cuptiActivityEnableRuntimeApi"),
    ((12, 6), c"cuptiActivityEnableAllocationSource"),
    ((12, 8), c"cuptiActivityEnableHWTrace"),
    ((12, 8), c"cuptiActivityEnableAllSyncRecords"),
    ((13, 0), c"cuptiSubscribe_v2"),
    ((13, 0), c"cuptiActivityEnableCudaEventDeviceTimestamps"),
    ((13, 2), c"cuptiActivityEnable_v2"),
    ((13, 2), c"cuptiActivityDisable_v2"),
    ((13, 2), c"cuptiActivityRegisterCallbacks_v2"),
    ((13, 2), c"cuptiActivityGetAttribute_v2"),
    ((13, 2), c"cuptiActivitySetAttribute_v2"),
    ((13, 2), c"cuptiActivityGetStructSize"),
    ((13, 2), c"cuptiActivityGetEnabledKinds"),
    ((13, 2), c"cuptiGetEnabledCallbacks"),
    ((13, 3), c"cuptiActivityGetNextRecord_v2"),
    ((13, 3), c"cuptiActivityGetNumDroppedRecords_v2"),
    ((13, 3), c"cuptiActivityPushExternalCorrelationId_v2"),
    ((13, 3), c"cuptiActivityPopExternalCorrelationId_v2"),
    ((13, 3), c"cuptiActivityEnableDriverApi_v2"),
    ((13, 3), c"cuptiActivityEnableRuntimeApi_v2"),
    ((13, 3), c"cuptiGetTimestamp_v2"),
    ((13, 3), c"cuptiIsTracingSessionRunning"),
    ((13, 4), c"cuptiGetCudaEventId"),
];

/// The symbol table of this library, as the dynamic linker sees it.
struct Symbols {
    table: *mut libc::Elf64_Sym,
    strings: *const c_char,
    count: usize,
}

/// Hides what is newer than the simulated version.
pub(crate) fn hide_newer() {
    let number = version::current().number();
    let newer: Vec<&CStr> =
        SINCE.iter().filter(|(since, _)| *since > number).map(|(_, name)| *name).collect();
    if newer.is_empty() {
        return;
    }
    if let Some(symbols) = symbols() {
        symbols.clear(&newer);
    }
}

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// One entry of the dynamic section.
#[derive(Clone, Copy)]
#[repr(C)]
struct Dynamic {
    tag: u64,
    value: u64,
}

/// The part of glibc's `struct link_map` that is documented.
#[repr(C)]
struct LinkMap {
    address: u64,
    name: *const c_char,
    dynamic: *const Dynamic,
}

fn symbols() -> Option<Symbols> {
    let mut info: libc::Dl_info = empty_info();
    let mut map: *mut c_void = std::ptr::null_mut();
    let here: fn() = hide_newer;
    // SAFETY: `info` and `map` are writable; RTLD_DL_LINKMAP (2) makes dladdr1 store a link map.
    let found = unsafe { dladdr1(here as *const c_void, &raw mut info, &raw mut map, 2) };
    if found == 0 || map.is_null() {
        return None;
    }
    // SAFETY: dladdr1 stored the link map of this loaded library, which begins like `LinkMap`.
    let map = unsafe { &*map.cast::<LinkMap>() };
    let mut symbols = Symbols { table: std::ptr::null_mut(), strings: std::ptr::null(), count: 0 };
    let mut entry = map.dynamic;
    loop {
        // SAFETY: the dynamic section ends with a DT_NULL entry, where the loop stops.
        let Dynamic { tag, value } = unsafe { *entry };
        // glibc has relocated these values to addresses.
        let address = usize::try_from(value).ok()?;
        match tag {
            0 => break,
            DT_STRTAB => symbols.strings = std::ptr::with_exposed_provenance(address),
            DT_SYMTAB => symbols.table = std::ptr::with_exposed_provenance_mut(address),
            DT_HASH => symbols.count = hash_count(std::ptr::with_exposed_provenance(address)),
            DT_GNU_HASH => {
                symbols.count = gnu_hash_count(std::ptr::with_exposed_provenance(address));
            }
            _ => {}
        }
        entry = entry.wrapping_add(1);
    }
    let whole = !symbols.table.is_null() && !symbols.strings.is_null() && symbols.count > 0;
    whole.then_some(symbols)
}

/// Symbols in a table with a classic hash: its second word.
fn hash_count(hash: *const u32) -> usize {
    // SAFETY: DT_HASH points at two counts and their tables in this loaded library.
    unsafe { *hash.wrapping_add(1) as usize }
}

/// Symbols in a table with a GNU hash: one more than the last one any chain reaches.
fn gnu_hash_count(hash: *const u32) -> usize {
    // SAFETY: DT_GNU_HASH points at bucket count, first symbol, Bloom words and shift, then Bloom
    // filter (64-bit words), buckets and chains of this loaded library.
    let at = |index: usize| unsafe { *hash.wrapping_add(index) } as usize;
    let (buckets, first, bloom) = (at(0), at(1), at(2));
    let bucket_start = 4 + 2 * bloom;
    let Some(mut last) = (0..buckets).map(|index| at(bucket_start + index)).max() else {
        return 0;
    };
    if last < first {
        return first;
    }
    while at(bucket_start + buckets + last - first) & 1 == 0 {
        last += 1;
    }
    last + 1
}

impl Symbols {
    fn clear(&self, names: &[&CStr]) {
        if !self.writable() {
            return;
        }
        for index in 0..self.count {
            // SAFETY: `index` is below the count that the hash table gave for this symbol table, and
            // its pages were made writable above. The library is still being loaded: nobody reads.
            let symbol = unsafe { &mut *self.table.wrapping_add(index) };
            let name = self.strings.wrapping_add(symbol.st_name as usize);
            // SAFETY: `st_name` is an offset into the string table of the same library.
            let name = unsafe { CStr::from_ptr(name) };
            if names.contains(&name) {
                symbol.st_value = 0;
                symbol.st_shndx = 0;
            }
        }
    }

    fn writable(&self) -> bool {
        const PAGE: usize = 4096;
        let start = self.table.addr() / PAGE * PAGE;
        let end = self.table.addr() + self.count * size_of::<libc::Elf64_Sym>();
        let length = end.next_multiple_of(PAGE) - start;
        let page = self.table.with_addr(start).cast();
        // SAFETY: whole pages of this library's own read-only segment; they stay readable, so nothing
        // else in them changes its meaning.
        unsafe { libc::mprotect(page, length, libc::PROT_READ | libc::PROT_WRITE) == 0 }
    }
}

fn empty_info() -> libc::Dl_info {
    libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    }
}

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: i32,
    ) -> i32;
}
