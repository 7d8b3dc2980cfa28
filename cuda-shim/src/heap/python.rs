//! Python's own allocator: small objects come from pools that it carves out of maps, and never reach the C library.
//!
//! CPython lets whoever asks exchange the functions of its allocators (`PyMem_SetAllocator`, PEP 445), and looks them up
//! with each call: their context stays what it was, so that a thread that reads the table meanwhile finds a context and a
//! function that fit, whichever of the two functions it is. Of the three domains the raw one is the C library's, which
//! [`super::hooks`] sees; what the others pass on to it is left to those, too.

use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::block::{PYTHON, given_by_python, kept, position, taken};

type Pointer = *mut c_void;

/// `PyMemAllocatorEx` of CPython's public interface, the same since 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Table {
    context: Pointer,
    /// `malloc`, `calloc`, `realloc`, `free`.
    functions: [Pointer; FUNCTIONS],
}

const FUNCTIONS: usize = 4;
const NOTHING: Table = Table { context: null_mut(), functions: [null_mut(); FUNCTIONS] };

/// `PYMEM_DOMAIN_MEM` and `PYMEM_DOMAIN_OBJ`; a generic argument below is a place in here.
const DOMAINS: [c_int; 2] = [1, 2];

/// `PyMem_GetAllocator`, `PyMem_SetAllocator`. From 3.12 on they lock; before, a table is copied.
type Get = unsafe extern "C" fn(c_int, *mut Table);
type Set = unsafe extern "C" fn(c_int, *const Table);

/// The functions themselves, stored before anybody can come to the stand-ins, and never exchanged again.
static REAL: [[AtomicPtr<c_void>; FUNCTIONS]; 2] =
    [const { [const { AtomicPtr::new(null_mut()) }; FUNCTIONS] }; 2];

fn real(domain: usize, function: usize) -> Pointer {
    REAL[domain][function].load(Ordering::Relaxed)
}

extern "C" fn py_malloc<const D: usize>(context: Pointer, size: usize) -> Pointer {
    type Malloc = unsafe extern "C" fn(Pointer, usize) -> Pointer;
    // SAFETY: the domain's function of this name, which has this type.
    let malloc = unsafe { transmute::<Pointer, Malloc>(real(D, 0)) };
    let before = position();
    // SAFETY: the caller's call, as it was made; so everywhere below.
    given_by_python(before, unsafe { malloc(context, size) }, size)
}

extern "C" fn py_calloc<const D: usize>(context: Pointer, count: usize, size: usize) -> Pointer {
    type Calloc = unsafe extern "C" fn(Pointer, usize, usize) -> Pointer;
    // SAFETY: as above.
    let calloc = unsafe { transmute::<Pointer, Calloc>(real(D, 1)) };
    let before = position();
    // SAFETY: as above.
    given_by_python(before, unsafe { calloc(context, count, size) }, count.wrapping_mul(size))
}

extern "C" fn py_realloc<const D: usize>(context: Pointer, block: Pointer, size: usize) -> Pointer {
    type Realloc = unsafe extern "C" fn(Pointer, Pointer, usize) -> Pointer;
    let was = taken(PYTHON, block);
    // SAFETY: as above.
    let realloc = unsafe { transmute::<Pointer, Realloc>(real(D, 2)) };
    let before = position();
    // SAFETY: as above.
    let moved = unsafe { realloc(context, block, size) };
    if moved.is_null() && was {
        kept();
    }
    given_by_python(before, moved, size)
}

extern "C" fn py_free<const D: usize>(context: Pointer, block: Pointer) {
    type Free = unsafe extern "C" fn(Pointer, Pointer);
    let _was = taken(PYTHON, block);
    // SAFETY: as above.
    let free = unsafe { transmute::<Pointer, Free>(real(D, 3)) };
    // SAFETY: as above.
    unsafe { free(context, block) }
}

fn stand_ins(domain: usize) -> [Pointer; FUNCTIONS] {
    let of = |functions: [*const c_void; FUNCTIONS]| functions.map(<*const c_void>::cast_mut);
    match domain {
        0 => of([
            py_malloc::<0> as *const c_void,
            py_calloc::<0> as *const c_void,
            py_realloc::<0> as *const c_void,
            py_free::<0> as *const c_void,
        ]),
        _ => of([
            py_malloc::<1> as *const c_void,
            py_calloc::<1> as *const c_void,
            py_realloc::<1> as *const c_void,
            py_free::<1> as *const c_void,
        ]),
    }
}

/// Whose functions a domain has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The stand-ins.
    Us,
    /// Those that the stand-ins call, or would, as nobody was ever stood in for.
    Real,
    /// Another's (a tracer that began or ended since): it calls the stand-ins, or nobody does, who can say.
    Another,
}

/// The allocators of the Python in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Python {
    get: Get,
    set: Set,
}

impl Python {
    /// `None` where no Python is to be found.
    pub(super) fn find() -> Option<Self> {
        let symbol = |name: &CStr| {
            // SAFETY: a NUL-terminated name.
            NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
        };
        let (get, set) = (symbol(c"PyMem_GetAllocator")?, symbol(c"PyMem_SetAllocator")?);
        // SAFETY: functions of CPython's public interface, of these types since 3.4.
        let get = unsafe { transmute::<NonNull<c_void>, Get>(get) };
        // SAFETY: as above.
        let set = unsafe { transmute::<NonNull<c_void>, Set>(set) };
        Some(Self { get, set })
    }

    fn table(self, domain: usize) -> Table {
        let mut table = NOTHING;
        // SAFETY: a writable table; neither function asks for the interpreter's lock.
        unsafe { (self.get)(DOMAINS[domain], &raw mut table) };
        table
    }

    fn owner(table: &Table, domain: usize) -> Owner {
        let known: [Pointer; FUNCTIONS] = std::array::from_fn(|function| real(domain, function));
        if table.functions == stand_ins(domain) {
            Owner::Us
        } else if known == NOTHING.functions || table.functions == known {
            Owner::Real
        } else {
            Owner::Another
        }
    }

    fn lead(self, domain: usize, table: &Table, functions: [Pointer; FUNCTIONS]) {
        let table = Table { functions, ..*table };
        // SAFETY: functions of the right types, of which each does what that of the domain did.
        unsafe { (self.set)(DOMAINS[domain], &raw const table) };
    }

    /// Whether every call comes to the stand-ins from here on. Otherwise none does.
    pub(super) fn lead_there(self) -> bool {
        for (domain, real) in REAL.iter().enumerate() {
            let table = self.table(domain);
            match Self::owner(&table, domain) {
                Owner::Us => {}
                // Not there yet.
                Owner::Real if table.functions.contains(&null_mut()) => return self.give_up(),
                Owner::Real => {
                    for (place, function) in real.iter().zip(table.functions) {
                        place.store(function, Ordering::Release);
                    }
                    self.lead(domain, &table, stand_ins(domain));
                }
                Owner::Another => return self.give_up(),
            }
        }
        true
    }

    fn give_up(self) -> bool {
        self.lead_back();
        false
    }

    /// Whether calls still come to the stand-ins, as far as can be known.
    pub(super) fn is_led(self) -> bool {
        (0..DOMAINS.len()).all(|domain| Self::owner(&self.table(domain), domain) == Owner::Us)
    }

    /// Leads everybody back who came to the stand-ins. Of another's functions nothing is changed: where they call the
    /// stand-ins, these do what they stand for.
    pub(super) fn lead_back(self) {
        for domain in 0..DOMAINS.len() {
            let table = self.table(domain);
            if Self::owner(&table, domain) == Owner::Us {
                let known = std::array::from_fn(|function| real(domain, function));
                self.lead(domain, &table, known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::UnsafeCell;

    use super::*;

    /// An interpreter's tables, as its own thread would change them.
    struct Tables(UnsafeCell<[Table; 2]>);

    // SAFETY: one test comes here, on one thread.
    unsafe impl Sync for Tables {}

    static TABLES: Tables = Tables(UnsafeCell::new([NOTHING; 2]));

    fn place(domain: c_int) -> *mut Table {
        let base = TABLES.0.get().cast::<Table>();
        base.wrapping_add(usize::try_from(domain - 1).unwrap())
    }

    unsafe extern "C" fn get(domain: c_int, to: *mut Table) {
        // SAFETY: both are live tables, of this test's thread.
        unsafe { std::ptr::copy(place(domain), to, 1) };
    }

    unsafe extern "C" fn set(domain: c_int, from: *const Table) {
        // SAFETY: as above.
        unsafe { std::ptr::copy(from, place(domain), 1) };
    }

    fn exchange(domain: c_int, functions: [usize; FUNCTIONS]) {
        let functions = functions.map(std::ptr::without_provenance_mut);
        // SAFETY: a live table.
        unsafe { set(domain, &Table { context: place(domain).cast(), functions }) };
    }

    #[test]
    fn tables_are_led_there_and_back_and_a_tracer_is_left_alone() {
        let python = Python { get, set };
        assert!(!python.lead_there(), "no interpreter yet");
        for domain in DOMAINS {
            exchange(domain, [16, 32, 48, 64]);
        }
        let own = [python.table(0), python.table(1)];
        for _ in 0..2 {
            assert!(python.lead_there() && python.is_led());
            assert!(python.lead_there(), "they are ours already");
            assert_eq!(python.table(0).context, own[0].context);
            assert_ne!(python.table(0).functions, python.table(1).functions);
            python.lead_back();
            assert_eq!([python.table(0), python.table(1)], own);
            assert!(!python.is_led());
        }
        // One that came while we were there, and perhaps calls us.
        assert!(python.lead_there());
        let ours = python.table(1);
        exchange(2, [1, 2, 3, 4]);
        let tracer = python.table(1);
        assert!(!python.is_led());
        python.lead_back();
        assert_eq!(python.table(1), tracer);
        assert_eq!(python.table(0), own[0]);
        // It may call us: to call it in turn would never end.
        assert!(!python.lead_there());
        assert_eq!([python.table(0), python.table(1)], [own[0], tracer]);
        // It goes, and leaves what it found.
        // SAFETY: a live table.
        unsafe { set(2, &raw const ours) };
        assert!(python.lead_there());
        python.lead_back();
        assert_eq!([python.table(0), python.table(1)], own);
    }
}
