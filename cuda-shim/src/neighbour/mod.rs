//! Another user of CUPTI in this process: torch's profiler, Triton's Proton, whatever calls CUPTI by name.
//!
//! In most versions a process has one subscription, one pair of buffer functions and one clock, so that two tools cannot
//! both have CUPTI. The other one was asked for by somebody and goes first. While the shim uses CUPTI, who looks for its
//! functions finds stand-ins ([`doors`]); at the first call of one the shim gives everything up, within that call, and
//! comes back when the other holds nothing and has been quiet for a while. While the shim is dormant nothing is changed.

mod doors;
mod presence;
mod relay;

pub(crate) use doors::Doors;
pub(crate) use relay::{give_back, set_guest};

use presence::Presence;

/// The one other user a process is likely to have; several are taken for one.
pub(crate) static PRESENCE: Presence = Presence::new();

/// Whether another tool registered buffers of its own, and so may own one that is not the shim's.
pub(crate) fn owns_buffers() -> bool {
    !PRESENCE.buffers().1.is_null()
}
