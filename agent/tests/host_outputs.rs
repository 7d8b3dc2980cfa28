//! A recording of a program's host side through `warplens analyze`: every output is there, and `--short`
//! shortens the names in all of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;
use std::path::Path;
use std::process::Command;

use analysis::event::ProcessInfo;
use analysis::ids::ProcessKey;
use warplens::capture::{Frame, Language};
use warplens::pipeline::{Input, Start, Symbol};
use warplens::recording::{FILE_NAME, Writer};
use warplens::stack::Place;
use wire::kernel::{StackEvent, WaitEvent, event_kind};
use wire::limits::STACK_FRAMES;
use zerocopy::IntoBytes;

const PID: u32 = 77;
const PROCESS: ProcessKey = ProcessKey(0);

fn stack(kind: u32, key: u64, leaf_first: &[u64]) -> Input {
    let mut addresses = [0; STACK_FRAMES];
    addresses[..leaf_first.len()].copy_from_slice(leaf_first);
    let event = StackEvent {
        kind,
        frames: u32::try_from(leaf_first.len()).unwrap(),
        time_ns: 1_000,
        tgid: PID,
        tid: PID,
        correlation: 0,
        weight: 0,
        thread: 0,
        cpu: 0,
        key,
        flags: 0,
        reserved: 0,
        addresses,
    };
    Input::KernelEvent(event.as_bytes().to_vec())
}

fn record(folder: &Path) {
    let python = Place::Python(0).to_bits();
    let wait = WaitEvent {
        kind: event_kind::WAIT,
        tgid: PID,
        tid: PID,
        open: 0,
        from_ns: 2_000,
        to_ns: 5_000_000,
        signature: 9,
    };
    let frame = |language, function: &str, file: Option<&str>| Frame {
        language,
        function: function.to_owned(),
        module: None,
        file: file.map(str::to_owned),
        line: file.map(|_| 12),
    };
    let symbols = vec![
        Symbol { address: 1, frames: vec![frame(Language::Native, "_start", None)] },
        Symbol {
            address: 2,
            frames: vec![frame(Language::Native, "void a::b::copy<float>(int, long)", None)],
        },
        Symbol {
            address: python,
            frames: vec![frame(Language::Python, "pkg.app.main", Some("/srv/pkg/app.py"))],
        },
    ];
    let mut writer = Writer::create(&folder.join(FILE_NAME)).unwrap();
    for input in [
        Input::Start(Start { command: "record".to_owned(), cpu_hz: 100, ..Start::default() }),
        Input::Process {
            process: PROCESS,
            info: ProcessInfo {
                service: analysis::event::Service::default(),
                pid: PID,
                title: "VLLM::Worker_TP1".to_owned(),
                role: "worker".to_owned(),
                rank: "TP1".to_owned(),
                ..ProcessInfo::default()
            },
        },
        stack(event_kind::CPU_SAMPLE, 0, &[2, python, 1]),
        stack(event_kind::OFF_CPU_STACK, 9, &[python, 1]),
        Input::KernelEvent(wait.as_bytes().to_vec()),
        Input::Symbols { process: PROCESS, symbols },
    ] {
        writer.write(&input).unwrap();
    }
    writer.finish().unwrap();
}

fn analyze(from: &Path, more: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_warplens"))
        .arg("analyze")
        .arg(from)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn host_outputs_come_from_a_recording() {
    let place = tempfile::tempdir().unwrap();
    record(place.path());
    let (whole, short) = (place.path().join("whole"), place.path().join("short"));
    analyze(place.path(), &["-o", whole.to_str().unwrap()]);
    analyze(place.path(), &["--short", "-o", short.to_str().unwrap()]);
    let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let root = "worker TP1 (VLLM::Worker_TP1, pid 77);main thread;_start";
    let on = format!("{root};pkg.app.main (app.py:12);void a::b::copy<float>(int, long)");
    let off = format!("{root};pkg.app.main (app.py:12);[waiting: unknown]");
    assert_eq!(read(&whole, "cpu.folded"), format!("{on} 1\n"));
    assert_eq!(read(&whole, "offcpu.folded"), format!("{off} 4998000\n"));
    assert_eq!(read(&whole, "wall.folded"), format!("{off} 4998000\n{on} 10000000\n"));
    assert_eq!(
        read(&short, "cpu.folded"),
        format!("{root};app.main (app.py:12);b::copy<...>(...) 1\n")
    );
    for name in ["cpu.svg", "wall.svg"] {
        assert!(read(&whole, name).contains("a::b::copy"), "{name}");
        let text = read(&short, name);
        assert!(text.contains("b::copy&lt;...&gt;(...)") && !text.contains("a::b::copy"), "{name}");
    }
    for folder in [&whole, &short] {
        assert!(read(folder, "offcpu.svg").contains("[waiting: unknown]"));
        for name in ["cpu.pb.gz", "offcpu.pb.gz", "wall.pb.gz"] {
            assert_eq!(&fs::read(folder.join(name)).unwrap()[..2], [0x1f, 0x8b], "{name}");
        }
    }
}
