//! The simulated libcupti: subscription, callbacks, activity records, buffers.
//!
//! One crate for both majors; `cupti-12` and `cupti-13` are the libraries, which call [`start`] when
//! they are loaded. The minor version is chosen by `WARPLENS_SIM_CUPTI`. Record layouts are this
//! crate's own tables, so that whoever reads the records can be checked against them.

mod buffers;
mod clock;
mod config;
mod delivery;
mod encode;
mod entry;
mod external;
mod hide;
mod layout;
mod pending;
mod profiler;
mod result;
mod settings;
mod subscriber;
mod version;
mod worker;

/// Called by the library's constructor, before anybody can look up a symbol.
pub fn start(major: u32) {
    version::select(major, std::env::var("WARPLENS_SIM_CUPTI").ok().as_deref());
    hide::hide_newer();
}
