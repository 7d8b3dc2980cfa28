//! Pointers that a C caller handed in: the only places where the simulator trusts them.

use std::ffi::{CStr, c_char, c_void};

/// A pointer argument that the function writes through.
#[derive(Debug)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

/// A pointer argument that the function reads through.
#[derive(Debug)]
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<T> {}

impl<T> From<&mut T> for Out<T> {
    fn from(place: &mut T) -> Self {
        Self(place)
    }
}

impl<T> From<&mut T> for In<T> {
    fn from(place: &mut T) -> Self {
        Self(place)
    }
}

impl<T: Copy> Out<T> {
    /// Stores `value`; `false` when the pointer is null.
    #[must_use]
    pub fn put(self, value: T) -> bool {
        if self.0.is_null() {
            return false;
        }
        // SAFETY: an `Out` is only ever the argument of an exported C function, whose caller
        // guarantees a writable T there, perhaps unaligned; null is excluded above.
        unsafe { self.0.write_unaligned(value) };
        true
    }

    /// Stores `value` at `index` of an array.
    pub fn put_at(self, index: usize, value: T) {
        // SAFETY: the C caller guarantees an array long enough for the count it passed, and callers
        // of this method stay below that count.
        let place = unsafe { self.0.add(index) };
        let stored = Self(place).put(value);
        debug_assert!(stored);
    }

    /// The value the caller left there.
    pub fn get(self) -> Option<T> {
        In(self.0.cast_const()).get()
    }
}

impl<T> Out<T> {
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub fn address(self) -> *mut T {
        self.0
    }

    /// The same place seen as another type.
    pub fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }
}

impl<T: Copy> In<T> {
    /// The value there; `None` when the pointer is null.
    pub fn get(self) -> Option<T> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: an `In` is only ever the argument of an exported C function, whose caller
        // guarantees an initialised T there, perhaps unaligned; null is excluded above.
        Some(unsafe { self.0.read_unaligned() })
    }

    /// The first `count` values; none when the pointer is null.
    pub fn list(self, count: usize) -> Vec<T> {
        if self.0.is_null() {
            return Vec::new();
        }
        // The C caller guarantees `count` elements, so every address is one `get` may read.
        (0..count).filter_map(|index| In(self.0.wrapping_add(index)).get()).collect()
    }
}

impl<T> In<T> {
    pub fn address(self) -> *const T {
        self.0
    }
}

impl In<c_char> {
    /// The C string there.
    pub fn text(&self) -> Option<&CStr> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the C caller guarantees a NUL-terminated string that outlives the call; the
        // borrow ends with the argument.
        Some(unsafe { CStr::from_ptr(self.0) })
    }
}

impl In<c_void> {
    /// The same place seen as another type.
    pub fn cast<U>(self) -> In<U> {
        In(self.0.cast())
    }
}
