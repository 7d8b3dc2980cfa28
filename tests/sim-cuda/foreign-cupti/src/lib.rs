//! A second libcupti over the simulated driver, written from the public interface alone: it shares nothing with
//! `sim-cupti` but the channel to the driver. What the interface leaves open, `WARPLENS_SIM_FOREIGN` decides:
//! a list of [`habit`]s and a seed. It has no soname; a test names its path.
//!
//! It keeps what the interface promises: a record handed back is whole, a flush brings everything that
//! had ended (unless a habit says late), what it drops it counts. What became of each piece of work
//! stands in the driver's truth file.

mod abi;
mod callback;
mod delivery;
mod habit;
mod place;
mod record;

use std::sync::OnceLock;

use sim_channel::{Channel, find};

/// The channel to the simulated driver; makes this library its profiler.
fn channel() -> Option<&'static Channel> {
    static CHANNEL: OnceLock<Option<&'static Channel>> = OnceLock::new();
    *CHANNEL.get_or_init(|| {
        let channel = find::channel()?;
        let profiler = std::ptr::from_ref(&callback::PROFILER).cast_mut();
        channel.profiler.store(profiler, std::sync::atomic::Ordering::Release);
        Some(channel)
    })
}
