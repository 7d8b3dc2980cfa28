//! Where others find CUPTI's functions: the symbol table that `dlsym` and the loader look them up in, and the slots of
//! libraries that have found them already. Both are changed in memory only, one aligned word at a time, and back again.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// A function and what is to be found in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The entry of an exported function in its library's symbol table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export {
    entry: NonNull<libc::Elf64_Sym>,
    /// What the library was moved by, and so is added to the entry's value.
    base: u64,
}

// SAFETY: the entry belongs to a library that the shim keeps open; its value is written as one atomic word.
unsafe impl Send for Export {}

const PAGE: usize = 4096;

const DT_NULL: u64 = 0;
const DT_PLTRELSZ: u64 = 2;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_PLTREL: u64 = 20;
const DT_JMPREL: u64 = 23;

/// Kinds of relocations that leave a function's plain address: absolute, global offset table, procedure linkage.
#[cfg(target_arch = "x86_64")]
const ADDRESSES: [u64; 3] = [1, 6, 7];
#[cfg(target_arch = "aarch64")]
const ADDRESSES: [u64; 3] = [257, 1025, 1026];

/// `dladdr1`: tell the symbol table's entry.
const RTLD_DL_SYMENT: c_int = 1;

impl Export {
    /// The entry of the function at `address`, which a library exports that is never closed.
    pub(crate) fn find(address: NonNull<c_void>) -> Option<Self> {
        // SAFETY: all zero is a valid Dl_info.
        let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
        let mut entry: *mut c_void = null_mut();
        // SAFETY: both are writable; with this flag the last one gets an entry of the symbol table.
        let found =
            unsafe { dladdr1(address.as_ptr(), &raw mut info, &raw mut entry, RTLD_DL_SYMENT) };
        if found == 0 {
            return None;
        }
        let export =
            Self { entry: NonNull::new(entry.cast())?, base: info.dli_fbase.addr() as u64 };
        // A library whose first address is not 0 was moved by something else than where it begins.
        (export.value().load(Ordering::Relaxed).wrapping_add(export.base)
            == address.addr().get() as u64)
            .then_some(export)
    }

    fn value(&self) -> &AtomicU64 {
        // SAFETY: an aligned word of a mapping that stays as long as the library is open, and it is never closed.
        let value = unsafe { &raw mut (*self.entry.as_ptr()).st_value };
        // SAFETY: as above; nobody else writes it but in the same way.
        unsafe { AtomicU64::from_ptr(value) }
    }

    /// Lets the entry lead to `exchange.to`, if it leads to `exchange.from`.
    fn lead(&self, exchange: Exchange) {
        let expected = exchange.from.wrapping_sub(self.base);
        if self.value().load(Ordering::Relaxed) != expected {
            return;
        }
        let value = exchange.to.wrapping_sub(self.base);
        // Symbol tables lie among what is only read.
        write(self.value(), value, true);
    }
}

/// Leads everybody from the functions to their stand-ins: the symbol tables first, then every slot.
pub(crate) fn lead_there(exports: &[(Export, Exchange)]) {
    lead(exports, |exchange| exchange);
}

/// Leads everybody back.
pub(crate) fn lead_back(exports: &[(Export, Exchange)]) {
    lead(exports, |Exchange { from, to }| Exchange { from: to, to: from });
}

fn lead(exports: &[(Export, Exchange)], direction: impl Fn(Exchange) -> Exchange) {
    let exchanges: Vec<Exchange> =
        exports.iter().map(|(_, exchange)| direction(*exchange)).collect();
    for ((export, _), exchange) in exports.iter().zip(&exchanges) {
        export.lead(*exchange);
    }
    exchange_slots(&exchanges);
}

/// Lets every slot of every library that leads to one of `from` lead to its `to`.
fn exchange_slots(exchanges: &[Exchange]) {
    let mut argument = exchanges;
    // SAFETY: `each_object` is called before this returns, with a pointer to `argument`.
    unsafe { libc::dl_iterate_phdr(Some(each_object), (&raw mut argument).cast()) };
}

/// Called under the loader's lock: no library comes or goes meanwhile.
unsafe extern "C" fn each_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes a live structure.
    let info = unsafe { &*info };
    // SAFETY: `exchange_slots` passes a live slice.
    let exchanges = unsafe { *argument.cast::<&[Exchange]>() };
    if let Some(object) = Object::of(info) {
        for table in object.relocations() {
            object.exchange(table, exchanges);
        }
    }
    0
}

/// One loaded object.
struct Object {
    base: u64,
    dynamic: *const Dynamic,
    /// What the loader made read-only after it had filled it.
    read_only: std::ops::Range<u64>,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Dynamic {
    tag: u64,
    value: u64,
}

/// A table of relocations: where, and how many bytes.
#[derive(Clone, Copy)]
struct Table {
    address: u64,
    bytes: u64,
}

impl Object {
    fn of(info: &libc::dl_phdr_info) -> Option<Self> {
        if info.dlpi_phdr.is_null() {
            return None;
        }
        // SAFETY: the loader's description of a loaded object's program headers.
        let headers =
            unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let base = info.dlpi_addr;
        let find = |kind| headers.iter().find(|header| header.p_type == kind);
        let dynamic = base.wrapping_add(find(libc::PT_DYNAMIC)?.p_vaddr);
        let page = PAGE as u64;
        let read_only = find(libc::PT_GNU_RELRO).map_or(0..0, |header| {
            let start = base.wrapping_add(header.p_vaddr);
            // Whole pages only, as the loader does it.
            start / page * page..start.wrapping_add(header.p_memsz) / page * page
        });
        let dynamic = std::ptr::with_exposed_provenance(usize::try_from(dynamic).ok()?);
        Some(Self { base, dynamic, read_only })
    }

    /// Tables of relocations with addends; the only kind on 64-bit machines.
    fn relocations(&self) -> impl Iterator<Item = Table> + use<> {
        let mut plain = Table { address: 0, bytes: 0 };
        let mut linkage = plain;
        let mut linkage_kind = 0;
        let mut entry = self.dynamic;
        loop {
            // SAFETY: the dynamic section of a loaded object, which ends with DT_NULL.
            let Dynamic { tag, value } = unsafe { *entry };
            // glibc writes addresses in place of offsets; other loaders, and the vDSO, do not.
            let address = if value < self.base { value.wrapping_add(self.base) } else { value };
            match tag {
                DT_NULL => break,
                DT_RELA => plain.address = address,
                DT_RELASZ => plain.bytes = value,
                DT_JMPREL => linkage.address = address,
                DT_PLTRELSZ => linkage.bytes = value,
                DT_PLTREL => linkage_kind = value,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        let linkage = (linkage_kind == DT_RELA).then_some(linkage);
        [Some(plain), linkage].into_iter().flatten().filter(|table| table.address != 0)
    }

    fn exchange(&self, table: Table, exchanges: &[Exchange]) {
        let Ok(start) = usize::try_from(table.address) else { return };
        let first: *const libc::Elf64_Rela = std::ptr::with_exposed_provenance(start);
        let count = usize::try_from(table.bytes).unwrap_or(0) / size_of::<libc::Elf64_Rela>();
        for index in 0..count {
            // SAFETY: within the table as the object's dynamic section has it; it is mapped as long as the object is.
            let relocation = unsafe { &*first.wrapping_add(index) };
            let (symbol, kind) = (relocation.r_info >> 32, relocation.r_info & 0xffff_ffff);
            if symbol == 0 || !ADDRESSES.contains(&kind) {
                continue;
            }
            self.exchange_slot(self.base.wrapping_add(relocation.r_offset), exchanges);
        }
    }

    fn exchange_slot(&self, address: u64, exchanges: &[Exchange]) {
        let Ok(at) = usize::try_from(address) else { return };
        if at % size_of::<u64>() != 0 {
            return;
        }
        // SAFETY: a slot the loader filled; aligned words are read and written whole by it, too.
        let slot = unsafe { AtomicU64::from_ptr(std::ptr::with_exposed_provenance_mut(at)) };
        let present = slot.load(Ordering::Relaxed);
        if let Some(exchange) = exchanges.iter().find(|exchange| exchange.from == present) {
            write(slot, exchange.to, self.read_only.contains(&address));
        }
    }
}

/// Writes a word; where its page is only read, that is lifted for the moment. What cannot be written stays.
fn write(word: &AtomicU64, value: u64, read_only: bool) {
    if !read_only {
        return word.store(value, Ordering::Release);
    }
    let page = word.as_ptr().map_addr(|address| address / PAGE * PAGE).cast::<c_void>();
    // SAFETY: a page of a loaded object, readable before, between and after.
    if unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        return;
    }
    word.store(value, Ordering::Release);
    // SAFETY: as above; what the page held besides is as it was.
    unsafe { libc::mprotect(page, PAGE, libc::PROT_READ) };
}

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}
