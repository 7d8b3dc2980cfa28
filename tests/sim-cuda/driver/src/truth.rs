//! Writes down what really happens, when `WARPLENS_SIM_TRUTH` asks for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use sim_channel::lock;
use sim_truth::{Device, Entry, Name, Writer};

use crate::config;

static WRITER: OnceLock<Option<Writer>> = OnceLock::new();
/// Names given before the file was opened: kernels may be registered before `cuInit`.
static EARLY: Mutex<Vec<Name>> = Mutex::new(Vec::new());
static NAMES: AtomicU32 = AtomicU32::new(0);
static WORKS: AtomicU64 = AtomicU64::new(0);

/// Opens the file; called once devices are known.
pub(crate) fn start() {
    let mut early = lock(&EARLY);
    WRITER.get_or_init(|| {
        let directory = config::get().truth.as_ref()?;
        let writer = Writer::create(directory, std::process::id()).ok()?;
        for (ordinal, &physical) in config::get().visible.iter().enumerate() {
            let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
            writer.append(&Entry::Device(Device { ordinal, uuid: config::uuid(physical) }));
        }
        for name in early.drain(..) {
            writer.append(&Entry::Name(name));
        }
        Some(writer)
    });
}

/// The writer, if truth is wanted and this is not a forked child.
pub(crate) fn writer() -> Option<&'static Writer> {
    WRITER.get().and_then(Option::as_ref)
}

/// Gives a kernel name its number.
pub(crate) fn name(text: &str) -> u32 {
    let mut early = lock(&EARLY);
    let name = Name { id: NAMES.fetch_add(1, Ordering::Relaxed) + 1, text: text.to_owned() };
    let id = name.id;
    match WRITER.get() {
        Some(Some(writer)) => writer.append(&Entry::Name(name)),
        Some(None) => {}
        None => early.push(name),
    }
    id
}

/// Number of the next piece of work, from 1.
pub(crate) fn next_work() -> u64 {
    WORKS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Run by the dynamic linker after every exit handler, those of an injected library included:
/// what they flush is still delivered.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

extern "C" fn at_exit() {
    if crate::fork::forked() {
        return;
    }
    if let Some(writer) = writer() {
        writer.flush();
    }
}
