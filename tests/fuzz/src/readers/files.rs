//! Readers of files, texts and records.

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;

use analysis::ids::{DeviceKey, Ns, ProcessKey};
use analysis::level::breaker::{Breaker, Restart, Saved};
use http::{HeaderMap, HeaderValue, header};
use indicatif::ProgressBar;
use warplens::daemon::Config;
use warplens::daemon::access::Token;
use warplens::daemon::control::{Question, Reply};
use warplens::pipeline::{Input, Pipeline};
use warplens::recording::{FORMAT_VERSION, MAGIC, Reader};
use warplens::{
    bundle as bundles, collect, elf, foreign, kernel_log as log, output, proc, rules, symbols,
};
use wire::WIRE_VERSION;
use wire::shim::Payload;

use super::file;

const PROCESS: ProcessKey = ProcessKey(0);

/// What a worker writes into its ring, through everything that is made of it.
pub(super) fn records(input: &[u8]) {
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
pub(super) fn kernel_events(input: &[u8]) {
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
pub(super) fn recording(input: &[u8]) {
    let mut bytes = Vec::from(MAGIC);
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend(WIRE_VERSION.to_le_bytes());
    bytes.extend(zstd::encode_all(input, 1).expect("compress"));
    read_recording(file(&bytes));
}

pub(super) fn recording_file(input: &[u8]) {
    read_recording(file(input));
}

pub(super) fn chrome_trace(input: &[u8]) {
    let mut pipeline = Pipeline::marked();
    let gzip = input.starts_with(&[0x1f, 0x8b]);
    let _answer = foreign::chrome::read(file(input), gzip, &ProgressBar::hidden(), &mut |input| {
        pipeline.feed(input);
    });
    drop(pipeline.finish());
}

/// `report.json`, as `diff` reads it back.
pub(super) fn report(input: &[u8]) {
    let _answer = output::json::read(file(input));
}

pub(super) fn elf_file(input: &[u8]) {
    let _answer = elf::find_in(input, &["cuLaunchKernel", "malloc"]);
    let path = file(input);
    let _answer = elf::find(path, &["cuLaunchKernel"]);
    if let Ok(open) = File::open(path) {
        let _answer = elf::sections(&open, "fuzzed", ".text");
        let _answer = elf::symbols(&open, "fuzzed", |name| name.starts_with("_Py"));
    }
}

pub(super) fn proc_text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let maps = proc::parse_maps(&text);
    for map in &maps {
        let _shown = (map.file_name().len(), map.is_anonymous(), map.map_files(1));
    }
    let _container = proc::parse_cgroup(&text);
    let _environment = proc::Environment::parse(input);
    let _resident = proc::parse_status(&text);
    let _bytes = proc::in_heaps(&text);
}

pub(super) fn proc_arguments(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let arguments: Vec<&str> = text.split('\0').collect();
    let _title = proc::parse_title(&arguments, arguments.first().copied().unwrap_or_default());
    let _options = proc::Options::parse(&arguments);
}

pub(super) fn config(input: &[u8]) {
    if let Ok(config) = Config::load(Some(file(input))) {
        // Files of rules that it names are not this target's.
        if config.classify.rules_files.is_empty()
            && let Ok(texts) = config.rule_texts()
        {
            let _rules = rules::classifier(&texts);
        }
    }
}

pub(super) fn kernel_names(input: &[u8]) {
    static RULES: OnceLock<analysis::classify::Classifier> = OnceLock::new();
    let rules = RULES.get_or_init(|| rules::classifier(&[]).expect("the built-in rules"));
    let _class = rules.classify(&String::from_utf8_lossy(input));
}

/// An export of Nsight Systems: a database, of whatever tables.
pub(super) fn nsys_export(input: &[u8]) {
    let mut pipeline = Pipeline::marked();
    let mut sink = |input| pipeline.feed(input);
    let _answer = foreign::nsys::read(file(input), &mut sink, &mut |_done, _all| {});
    drop(pipeline.finish());
}

/// An issue report that somebody sent.
pub(super) fn bundle(input: &[u8]) {
    unpack(file(input));
}

/// What is in one: the compression around it is right.
pub(super) fn bundle_entries(input: &[u8]) {
    unpack(file(&zstd::encode_all(input, 1).expect("compress")));
}

fn unpack(path: &Path) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in /dev/shm");
    let limits = bundles::Limits { entries: 16, bytes: 1 << 20 };
    if let Ok(files) = bundles::unpack(path, folder.path(), limits) {
        // Nothing lies anywhere else.
        assert!(files.iter().all(|file| folder.path().join(file).starts_with(folder.path())));
    }
}

/// What is remembered of crashes over a restart.
pub(super) fn breaker_state(input: &[u8]) {
    if let Ok(saved) = serde_json::from_slice::<Saved>(input)
        && let Ok(mut breaker) = Breaker::restore(&saved, Ns(5), Restart::Machine)
    {
        let _bound = breaker.bound(Ns(6));
        let _again =
            Breaker::restore(&breaker.save(Ns(7)), Ns(0), Restart::Agent).expect("its own");
    }
}

/// Names of code made at run time, as the program itself tells them.
pub(super) fn perf_map(input: &[u8]) {
    let functions = symbols::parse_perf_map(input);
    assert!(functions.iter().all(|(start, end, name)| start <= end && !name.is_empty()));
}

/// What clients say to the daemon, what a daemon answers, and the token over HTTP.
pub(super) fn daemon_talk(input: &[u8]) {
    if let Ok(question) = serde_json::from_slice::<Question>(input) {
        let _text = serde_json::to_vec(&question).expect("its own");
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(input) {
        let text = serde_json::to_vec(&reply).expect("its own");
        assert_eq!(serde_json::from_slice::<Reply>(&text).ok(), Some(reply));
    }
    let (token, shown) = input.split_at(input.len() / 2);
    if let Ok(token) = Token::read(file(token))
        && let Ok(value) = HeaderValue::from_bytes(shown)
    {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        let _shown = token.is_shown(&headers);
    }
}

/// What a server answers.
pub(super) fn vllm_metrics(input: &[u8]) {
    let _reading = collect::reading(input);
}

pub(super) fn kernel_log(input: &[u8]) {
    let _error = log::xid_of_record(input);
}
