//! The readers, each from bytes that somebody else made.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use analysis::ids::{DeviceKey, Ns, ProcessKey};
use indicatif::ProgressBar;
use warplens::daemon::Config;
use warplens::pipeline::{Input, Pipeline};
use warplens::recording::{FORMAT_VERSION, MAGIC, Reader};
use warplens::{elf, foreign, output, proc, rules};
use wire::WIRE_VERSION;
use wire::shim::Payload;

/// By name.
pub const ALL: [(&str, fn(&[u8])); 11] = [
    ("records", records),
    ("kernel_events", kernel_events),
    ("recording", recording),
    ("recording_file", recording_file),
    ("chrome_trace", chrome_trace),
    ("report", report),
    ("elf", elf_file),
    ("proc_text", proc_text),
    ("proc_arguments", proc_arguments),
    ("config", config),
    ("kernel_names", kernel_names),
];

const PROCESS: ProcessKey = ProcessKey(0);

/// A file in memory that is written again for each input.
fn file(bytes: &[u8]) -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH
        .get_or_init(|| PathBuf::from(format!("/dev/shm/warplens-fuzz-{}", std::process::id())));
    File::create(path).and_then(|mut file| file.write_all(bytes)).expect("write to /dev/shm");
    path
}

/// What a worker writes into its ring, through everything that is made of it.
fn records(input: &[u8]) {
    let mut pipeline = Pipeline::marked();
    pipeline.feed(Input::Ordinal { process: PROCESS, ordinal: 0, device: DeviceKey(0) });
    pipeline.feed(Input::Attached { process: PROCESS, at: Ns(0) });
    for chunk in input.chunks(32 * size_of::<Payload>()) {
        let payloads = chunk.chunks_exact(size_of::<Payload>()).map(payload).collect();
        pipeline.feed(Input::Records { process: PROCESS, payloads });
    }
    drop(pipeline.finish());
}

/// Words of a record.
fn payload(bytes: &[u8]) -> Payload {
    let mut words: Payload = [0; 7];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    words
}

/// What the kernel programs write into their ring buffer.
fn kernel_events(input: &[u8]) {
    let mut pipeline = Pipeline::marked();
    let mut rest = input;
    while let Some((&length, tail)) = rest.split_first() {
        let (event, tail) = tail.split_at(tail.len().min(usize::from(length) * 8));
        pipeline.feed(Input::KernelEvent(event.to_vec()));
        rest = tail;
    }
    drop(pipeline.finish());
}

fn read_recording(path: &Path) {
    let Ok(mut reader) = Reader::open(path) else { return };
    let mut pipeline = Pipeline::marked();
    while let Ok(Some(input)) = reader.next_input() {
        pipeline.feed(input);
    }
    drop(pipeline.finish());
}

/// The frames of a recording; what is around them is right.
fn recording(input: &[u8]) {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend(WIRE_VERSION.to_le_bytes());
    bytes.extend(zstd::encode_all(input, 1).expect("compress"));
    read_recording(file(&bytes));
}

fn recording_file(input: &[u8]) {
    read_recording(file(input));
}

fn chrome_trace(input: &[u8]) {
    let mut pipeline = Pipeline::marked();
    let gzip = input.starts_with(&[0x1f, 0x8b]);
    let _answer = foreign::chrome::read(file(input), gzip, &ProgressBar::hidden(), &mut |input| {
        pipeline.feed(input);
    });
    drop(pipeline.finish());
}

/// `report.json`, as `diff` reads it back.
fn report(input: &[u8]) {
    let _answer = output::json::read(file(input));
}

fn elf_file(input: &[u8]) {
    let _answer = elf::find_in(input, &["cuLaunchKernel", "malloc"]);
    let path = file(input);
    let _answer = elf::find(path, &["cuLaunchKernel"]);
    if let Ok(open) = File::open(path) {
        let _answer = elf::sections(&open, "fuzzed", ".text");
        let _answer = elf::symbols(&open, "fuzzed", |name| name.starts_with("_Py"));
    }
}

fn proc_text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let maps = proc::parse_maps(&text);
    for map in &maps {
        let _shown = (map.file_name().len(), map.is_anonymous(), map.map_files(1));
    }
    let _container = proc::parse_cgroup(&text);
    let _environment = proc::Environment::parse(input);
}

fn proc_arguments(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let arguments: Vec<&str> = text.split('\0').collect();
    let _title = proc::parse_title(&arguments, arguments.first().copied().unwrap_or_default());
    let _options = proc::Options::parse(&arguments);
}

fn config(input: &[u8]) {
    if let Ok(config) = Config::load(Some(file(input))) {
        // Files of rules that it names are not this target's.
        if config.classify.rules_files.is_empty()
            && let Ok(texts) = config.rule_texts()
        {
            let _rules = rules::classifier(&texts);
        }
    }
}

fn kernel_names(input: &[u8]) {
    static RULES: OnceLock<analysis::classify::Classifier> = OnceLock::new();
    let rules = RULES.get_or_init(|| rules::classifier(&[]).expect("the built-in rules"));
    let _class = rules.classify(&String::from_utf8_lossy(input));
}
