//! Errors of devices as the NVIDIA kernel module tells them, in the kernel's log (`/dev/kmsg`).
//!
//! ```text
//! /dev/kmsg ─> Log (reads what is there, never waits) ─> record ─> xid ─> Errors: which worker it explains the end of
//! ```

mod errors;
mod log;
mod xid;

pub use errors::Errors;
pub use log::{KernelLog, LogError};
pub use xid::{PciAddress, Xid, xid_of_record};
