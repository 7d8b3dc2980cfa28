//! What is written comes back; what was changed, cut or never ours is told, each by its name.

use std::fs;
use std::path::{Path, PathBuf};

use analysis::event::{DeviceInfo, ProcessInfo, Service};
use analysis::ids::{DeviceKey, Ns, ProcessKey, Thread};
use analysis::memory::Resident;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::capture::{Frame, Language};
use crate::perf::{Count, Counter, Reading};
use crate::pipeline::{Input, Start, Symbol};

fn service() -> Service {
    Service {
        model: "org/m".to_owned(),
        engine: "0".to_owned(),
        container: "c".repeat(64),
        pod: "llm-0".to_owned(),
        namespace: "serving".to_owned(),
    }
}

fn inputs() -> Vec<Input> {
    let process = ProcessKey(3);
    vec![
        Input::Start(Start {
            command: "record".to_owned(),
            source: "node".to_owned(),
            started_unix: Some(17),
            cpu_hz: 99,
            memory_step_ns: 50_000_000,
        }),
        Input::Device {
            device: DeviceKey(1),
            info: DeviceInfo { index: 1, uuid: Some("SIM-1".to_owned()), simulated: true },
        },
        Input::Process {
            process,
            info: ProcessInfo {
                pid: 42,
                title: "VLLM::Worker_TP0".to_owned(),
                role: "worker".to_owned(),
                rank: "TP0".to_owned(),
                server: 40,
                service: service(),
            },
        },
        Input::Ordinal { process, ordinal: 0, device: DeviceKey(1) },
        Input::Name { process, id: 9, name: "kernel<\u{e9}>".to_owned() },
        Input::Records {
            process,
            payloads: (0..40_000).map(|n| [n, 1, 2, 3, 4, 5, u64::MAX]).collect(),
        },
        Input::Graphs {
            process,
            first: 7,
            entries: (0..20).map(|n| [n, 1, 2, 3, u64::MAX]).collect(),
        },
        Input::CaptureStack { process, entries: vec![7, 9], addresses: vec![u64::MAX, 1, 2] },
        Input::KernelEvent(vec![1, 2, 3]),
        Input::Symbols {
            process,
            symbols: vec![Symbol {
                address: 0x1234,
                frames: vec![Frame {
                    language: Language::Native,
                    function: "f".to_owned(),
                    module: Some("m".to_owned()),
                    file: None,
                    line: Some(3),
                }],
            }],
        },
        Input::Counters {
            process: ProcessKey(7),
            reading: Reading {
                counts: vec![
                    (Counter::PageFaults, Count { value: 12, scaled: false }),
                    (Counter::Cycles, Count { value: u64::MAX, scaled: true }),
                ],
                threads_left_out: 3,
            },
        },
        Input::Resident {
            process,
            at: Ns(75),
            resident: Resident { anonymous: 1, file: 2, shared: 3, heap: Some(4), headroom: None },
        },
        Input::PagesGone { process, at: Ns(76), pages: vec![0x1000, u64::MAX] },
        Input::ThreadName { process, thread: Thread(43), name: "ZMQbg/IO/0".to_owned() },
        Input::Note("a note".to_owned()),
        Input::Ended { process, at: Ns(77) },
        Input::Clock(Ns(76)),
        Input::Limit(Ns(78)),
    ]
}

fn write(folder: &TempDir, inputs: &[Input]) -> PathBuf {
    let path = folder.path().join(FILE_NAME);
    let mut writer = Writer::create(&path).unwrap();
    for input in inputs {
        writer.write(input).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn read(path: &Path) -> Result<Vec<Input>, ReadError> {
    let mut reader = Reader::open(path)?;
    let mut inputs = Vec::new();
    while let Some(input) = reader.next_input()? {
        inputs.push(input);
    }
    Ok(inputs)
}

/// Records are split into frames; joined again they must be what was written.
fn joined(inputs: Vec<Input>) -> Vec<Input> {
    let mut out: Vec<Input> = Vec::new();
    for input in inputs {
        match (out.last_mut(), input) {
            (
                Some(Input::Records { process, payloads }),
                Input::Records { process: next, payloads: more },
            ) if *process == next => payloads.extend(more),
            (_, input) => out.push(input),
        }
    }
    out
}

#[test]
fn what_is_written_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &inputs());
    assert_eq!(joined(read(&path).unwrap()), inputs());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn an_unfinished_recording_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&folder.path().join(FILE_NAME)).unwrap();
    for input in inputs() {
        writer.write(&input).unwrap();
    }
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_truncation_is_called_one() {
    let folder = tempfile::tempdir().unwrap();
    let short: Vec<Input> =
        inputs().into_iter().filter(|input| !matches!(input, Input::Records { .. })).collect();
    let whole = fs::read(write(&folder, &short)).unwrap();
    let cut = folder.path().join("cut");
    for length in 0..whole.len() {
        fs::write(&cut, &whole[..length]).unwrap();
        match (length, read(&cut)) {
            (0, Err(ReadError::Empty { .. })) => {}
            (1.., Err(ReadError::Truncated { offset, .. })) => assert_eq!(offset, length as u64),
            (_, other) => panic!("{length} of {} bytes: {other:?}", whole.len()),
        }
    }
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(write(&folder, &inputs())).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let mut longer = whole.clone();
    longer.push(0);
    let path = folder.path().join("x");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert_eq!(message, format!("{}: {expected}", path.display()));
    };
    check(b"", "empty file (0 bytes): record again");
    check(b"{\"traceEvents\": []}", "byte 0: not a warplens recording: it looks like JSON");
    check(
        &changed(8, 2),
        "byte 8: recording format 2, this warplens reads up to 1: use a newer warplens",
    );
    check(
        &changed(12, 99),
        "byte 12: records of wire version 99, this warplens decodes 5: use the warplens that recorded it",
    );
    check(
        &longer,
        &format!(
            "near byte {}: corrupt: bytes after the end of the recording; copy it again or record again",
            longer.len()
        ),
    );
    let error = Reader::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn a_hostile_length_is_refused_before_it_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend(wire::WIRE_VERSION.to_le_bytes());
    let frame = [&[9u8][..], &u32::MAX.to_le_bytes()].concat();
    bytes.extend(zstd::encode_all(frame.as_slice(), 1).unwrap());
    fs::write(&path, bytes).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("frame of 4294967295 bytes"), "{error}");
}

#[test]
fn a_wrong_count_is_corruption() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend(wire::WIRE_VERSION.to_le_bytes());
    let mut frames = vec![9, 1, 0, 0, 0, b'n'];
    let (kind, body) = frame::encode_end(Counts { frames: 2, records: 0, kernel_events: 0 });
    frames.push(kind);
    frames.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    frames.extend(body);
    bytes.extend(zstd::encode_all(frames.as_slice(), 1).unwrap());
    fs::write(&path, bytes).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("the end frame counts 2 frames"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The checksum covers the content: no change of the stream may pass as the same recording.
    #[test]
    fn a_mutated_recording_is_refused_or_the_same(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let short: Vec<Input> = inputs()
            .into_iter()
            .map(|input| match input {
                Input::Records { process, payloads } => {
                    Input::Records { process, payloads: payloads.into_iter().take(20).collect() }
                }
                other => other,
            })
            .collect();
        let path = write(&folder, &short);
        let mut bytes = fs::read(&path).unwrap();
        let before = bytes.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assume!(bytes != before);
        fs::write(&path, &bytes).unwrap();
        match read(&path) {
            Ok(inputs) => prop_assert_eq!(joined(inputs), short),
            Err(error) => {
                let message = error.to_string();
                prop_assert!(!message.contains('\n'), "{}", message);
                prop_assert!(message.contains(&path.display().to_string()), "{}", message);
            }
        }
    }

    /// Past the checksum: frames of any kind and bytes are decoded or refused, never a panic.
    #[test]
    fn any_frame_is_decoded_or_refused(kind: u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(frame::decode(kind, &body));
    }

    #[test]
    fn any_stream_is_read_or_refused(stream in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(wire::WIRE_VERSION.to_le_bytes());
        bytes.extend(zstd::encode_all(stream.as_slice(), 1).unwrap());
        fs::write(&path, bytes).unwrap();
        prop_assert!(read(&path).is_err(), "random frames do not end with the right counts");
    }
}
