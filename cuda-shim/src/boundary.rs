//! Keeps Rust panics from unwinding into CUDA. A caught panic turns the shim off for good.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use wire::shim::OffReason;

use crate::gate::ALIVE;
use crate::teller::Teller;

/// Runs `body`; on a panic returns `fallback`, counts it and closes the gate.
pub(crate) fn at_boundary<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            // Dropping an arbitrary payload may panic again; leaking a few bytes may not.
            let _leaked = ManuallyDrop::new(payload);
            // In a forked child the gate is shut already and there is no stats page.
            if let Some(teller) = Teller::get().filter(|teller| teller.gate.has(ALIVE)) {
                teller.gate.close();
                let stats = teller.region.stats();
                stats.panics.fetch_add(1, Ordering::Relaxed);
                stats.off_reason.store(OffReason::Panicked as u32, Ordering::Relaxed);
            }
            fallback
        }
    }
}

/// Replaces this library's panic hook, which would write to the host's stderr. The library carries
/// its own copy of the standard library, so a Rust host's hook stays as it is.
pub(crate) fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}
