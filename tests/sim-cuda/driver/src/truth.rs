//! Writes down what really happens, when `WARPLENS_SIM_TRUTH` asks for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sim_truth::{Device, Entry, Name, Writer};

use crate::config;

static WRITER: OnceLock<Option<Writer>> = OnceLock::new();
static NAMES: AtomicU32 = AtomicU32::new(0);
static WORKS: AtomicU64 = AtomicU64::new(0);

/// Opens the file; called once devices are known.
pub(crate) fn start() {
    WRITER.get_or_init(|| {
        let directory = config::get().truth.as_ref()?;
        let writer = Writer::create(directory, std::process::id()).ok()?;
        for (ordinal, &physical) in config::get().visible.iter().enumerate() {
            let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
            writer.append(&Entry::Device(Device {
                ordinal,
                uuid: config::uuid(physical),
            }));
        }
        // SAFETY: `at_exit` is a plain function of this library, which is never unloaded.
        unsafe { libc::atexit(at_exit) };
        Some(writer)
    });
}

/// The writer, if truth is wanted and this is not a forked child.
pub(crate) fn writer() -> Option<&'static Writer> {
    WRITER.get().and_then(Option::as_ref)
}

/// Gives a kernel name its number.
pub(crate) fn name(text: &str) -> u32 {
    let id = NAMES.fetch_add(1, Ordering::Relaxed) + 1;
    if let Some(writer) = writer() {
        writer.append(&Entry::Name(Name {
            id,
            text: text.to_owned(),
        }));
    }
    id
}

/// Number of the next piece of work, from 1.
pub(crate) fn next_work() -> u64 {
    WORKS.fetch_add(1, Ordering::Relaxed) + 1
}

extern "C" fn at_exit() {
    if crate::fork::forked() {
        return;
    }
    if let Some(writer) = writer() {
        writer.flush();
    }
}
