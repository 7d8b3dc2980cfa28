//! The readers, each from bytes that somebody else made.

mod files;
mod memory;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Feeds a reader.
pub(crate) type Feed = fn(&[u8]);

/// By name.
pub(crate) const ALL: [(&str, Feed); 25] = [
    ("ring_memory", memory::ring),
    ("shim_memory", memory::shim),
    ("activity_buffers", memory::activity),
    ("interpreter", memory::interpreter),
    ("unwind_tables", memory::unwind_tables),
    ("stack_copies", memory::stack_copies),
    ("records", files::records),
    ("kernel_events", files::kernel_events),
    ("recording", files::recording),
    ("recording_file", files::recording_file),
    ("chrome_trace", files::chrome_trace),
    ("report", files::report),
    ("elf", files::elf_file),
    ("proc_text", files::proc_text),
    ("proc_arguments", files::proc_arguments),
    ("perf_map", files::perf_map),
    ("config", files::config),
    ("kernel_names", files::kernel_names),
    ("nsys_export", files::nsys_export),
    ("bundle", files::bundle),
    ("bundle_entries", files::bundle_entries),
    ("breaker_state", files::breaker_state),
    ("daemon_talk", files::daemon_talk),
    ("vllm_metrics", files::vllm_metrics),
    ("kernel_log", files::kernel_log),
];

/// A file in memory that is written again for each input.
fn file(bytes: &[u8]) -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH
        .get_or_init(|| PathBuf::from(format!("/dev/shm/warplens-fuzz-{}", std::process::id())));
    File::create(path).and_then(|mut file| file.write_all(bytes)).expect("write to /dev/shm");
    path
}

/// The bytes of an input, taken from the front; 0 where there are none left.
struct Taken<'a>(&'a [u8]);

impl<'a> Taken<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number<const BYTES: usize>(&mut self) -> u64 {
        self.bytes(BYTES).iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }
}
