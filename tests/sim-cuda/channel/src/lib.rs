//! What the three simulated libraries say to each other, and the bits of C they share.
//!
//! `libcuda.so.1` owns everything and exports [`CHANNEL_SYMBOL`]; the other two find it in the
//! process (never load it) and talk through the [`Channel`] behind it. All three are built from this
//! crate, so the types need a fixed layout but no versioning; [`ABI`] catches a stale copy.

pub mod callback;
pub mod channel;
pub mod clock;
pub mod find;
pub mod frame;
pub mod random;
pub mod raw;
pub mod work;

pub use channel::{ABI, Channel, Host, Profiler, State};
pub use frame::{Effect, Frame, Site, Text};
pub use work::Work;

use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Marker that tells a simulated library from a real one.
pub const MARKER_SYMBOL: &CStr = c"warplens_simulated_cuda";

/// `extern "C" fn() -> *const Channel`, exported by the simulated libcuda.
pub const CHANNEL_SYMBOL: &CStr = c"warplens_sim_channel";

/// Locks; a panic elsewhere does not make the simulator's plain data unusable.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
