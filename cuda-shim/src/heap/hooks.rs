//! What stands in the place of the allocator's functions: each calls the function itself, with the arguments it was
//! called with, and takes some nanoseconds to decide whether to look closer. They run on the host's threads at any
//! place where that may allocate: they neither allocate nor lock nor make a system call, and touch no errno.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::block::{LIBRARY, given, kept, taken};

type Pointer = *mut c_void;

/// A function of the allocator's.
pub(super) struct Hook {
    pub(super) symbol: &'static CStr,
    pub(super) stand_in: *const c_void,
    /// The function itself, stored before anybody can come to the stand-in.
    pub(super) real: &'static AtomicPtr<c_void>,
}

// SAFETY: addresses of functions.
unsafe impl Sync for Hook {}

macro_rules! hooks {
    ($($name:ident, $symbol:literal, ($($argument:ident: $kind:ty),*) -> $result:ty, |$real:ident| $body:block)*) => {
        $(
            mod $name {
                pub(super) static REAL: super::AtomicPtr<super::c_void> =
                    super::AtomicPtr::new(super::null_mut());
            }

            extern "C" fn $name($($argument: $kind),*) -> $result {
                let address = $name::REAL.load(Ordering::Relaxed);
                // SAFETY: `find` stored the function of this name, which has this type, before a slot led here.
                let $real = unsafe {
                    std::mem::transmute::<Pointer, unsafe extern "C" fn($($kind),*) -> $result>(address)
                };
                $body
            }
        )*

        pub(super) static HOOKS: &[Hook] = &[$(Hook {
            symbol: $symbol,
            stand_in: $name as *const c_void,
            real: &$name::REAL,
        }),*];
    };
}

hooks! {
    malloc, c"malloc", (size: usize) -> Pointer, |real| {
        // SAFETY: the caller's call, as it was made; so everywhere below.
        given(LIBRARY, unsafe { real(size) }, size)
    }
    calloc, c"calloc", (count: usize, size: usize) -> Pointer, |real| {
        // SAFETY: as above.
        given(LIBRARY, unsafe { real(count, size) }, count.wrapping_mul(size))
    }
    free, c"free", (block: Pointer) -> (), |real| {
        let _was = taken(LIBRARY, block);
        // SAFETY: as above.
        unsafe { real(block) }
    }
    realloc, c"realloc", (block: Pointer, size: usize) -> Pointer, |real| {
        let was = taken(LIBRARY, block);
        // SAFETY: as above.
        let moved = unsafe { real(block, size) };
        moved_to(was, moved, size)
    }
    reallocarray, c"reallocarray", (block: Pointer, count: usize, size: usize) -> Pointer, |real| {
        let was = taken(LIBRARY, block);
        // SAFETY: as above.
        let moved = unsafe { real(block, count, size) };
        moved_to(was, moved, count.wrapping_mul(size))
    }
    memalign, c"memalign", (alignment: usize, size: usize) -> Pointer, |real| {
        // SAFETY: as above.
        given(LIBRARY, unsafe { real(alignment, size) }, size)
    }
    aligned_alloc, c"aligned_alloc", (alignment: usize, size: usize) -> Pointer, |real| {
        // SAFETY: as above.
        given(LIBRARY, unsafe { real(alignment, size) }, size)
    }
    valloc, c"valloc", (size: usize) -> Pointer, |real| {
        // SAFETY: as above.
        given(LIBRARY, unsafe { real(size) }, size)
    }
    pvalloc, c"pvalloc", (size: usize) -> Pointer, |real| {
        // SAFETY: as above.
        given(LIBRARY, unsafe { real(size) }, size)
    }
    posix_memalign, c"posix_memalign", (place: *mut Pointer, alignment: usize, size: usize) -> c_int, |real| {
        // SAFETY: as above.
        let error = unsafe { real(place, alignment, size) };
        if error == 0 {
            // SAFETY: a call that succeeded wrote it.
            given(LIBRARY, unsafe { *place }, size);
        }
        error
    }
}

/// A block was resized, and moved perhaps. Where that failed it is where it was.
#[inline]
fn moved_to(was: bool, moved: Pointer, size: usize) -> Pointer {
    if !moved.is_null() {
        return given(LIBRARY, moved, size);
    }
    if was && size != 0 {
        kept();
    }
    moved
}
