//! One API call while it is open: what its ENTER and EXIT callbacks and its truth entry need.

use std::ffi::{CStr, c_char, c_void};

/// A static C string whose address callbacks hand out.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    pub const fn new(text: &'static CStr) -> Self {
        Self(text.as_ptr())
    }

    /// A text that ends with NUL; anything else becomes the empty text.
    pub const fn of(text: &'static str) -> Self {
        match CStr::from_bytes_with_nul(text.as_bytes()) {
            Ok(text) => Self::new(text),
            Err(_) => Self::new(c""),
        }
    }

    pub fn address(self) -> *const c_char {
        self.0
    }
}

// SAFETY: a `Text` is only made from a `&'static CStr`, which any thread may read at any time.
unsafe impl Sync for Text {}
// SAFETY: as above.
unsafe impl Send for Text {}

/// What a call does that others care about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Effect {
    None,
    Kernel,
    Graph,
    Copy,
    Set,
    Sync,
}

impl Effect {
    /// Whether the call launches a kernel or a graph.
    pub fn is_launch(self) -> bool {
        matches!(self, Self::Kernel | Self::Graph)
    }
}

/// An exported function, as callbacks name it.
#[derive(Debug)]
#[repr(C)]
pub struct Site {
    /// [`crate::callback::DRIVER`] or [`crate::callback::RUNTIME`].
    pub domain: u32,
    pub cbid: u32,
    pub effect: Effect,
    pub name: Text,
}

/// An open call. Stays where it is from enter to exit: callbacks get pointers into it.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    pub site: *const Site,
    /// The arguments, in prototype order, laid out as C does.
    pub params: *const c_void,
    /// Kernel name of a launch, or null.
    pub symbol: *const c_char,
    /// The subscriber's word, kept from ENTER to EXIT.
    pub data: u64,
    pub result: i32,
    pub correlation: u32,
    /// When the call was entered, for API activity records; 0 when nobody wants to know.
    pub record_enter: u64,
}

impl Frame {
    pub fn new(site: &'static Site, params: *const c_void, symbol: *const c_char) -> Self {
        Self { site, params, symbol, data: 0, result: 0, correlation: 0, record_enter: 0 }
    }

    /// The function that was called.
    pub fn site(&self) -> &'static Site {
        // SAFETY: `new` only takes a `&'static Site`.
        unsafe { &*self.site }
    }
}
