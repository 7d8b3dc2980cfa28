//! The simulated libcudart: the runtime API on top of the simulated driver's *exported* functions.
//!
//! One crate for both majors; `runtime-12` and `runtime-13` are the libraries and call [`start`] when
//! they are loaded. A runtime call opens a frame of the runtime domain and calls the driver inside it,
//! so that both share one correlation id, as with the real libraries.

mod driver;
mod entry;
mod session;

/// Called by the library's constructor.
pub fn start(major: i32) {
    session::set_version(major);
}
