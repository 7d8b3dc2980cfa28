//! Python's frames: of every interpreter that is here, in many shapes, frame by frame.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use warplens::bpf::Bpf;
use wire::kernel::event_kind::LAUNCH_STACK;
use wire::kernel::{NO_OFFSET, PYTHON_ENTRY, PythonFrame, PythonLayout, python_walk, stack_flag};
use wire::limits::PYTHON_FRAMES;

use crate::support::{Library, Stack, drain, load, stacks};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bpf/frames.py");

/// The probe point, and ways to it that Python has none of its own for.
pub(crate) const LIBRARY: &str = r#"
#include <pthread.h>
__asm__(".globl warplens_probe_launch\n.type warplens_probe_launch,@function\n"
        "warplens_probe_launch: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\nnop\nret\n"
        ".size warplens_probe_launch, . - warplens_probe_launch");
void warplens_probe_launch(long, long, long, long);
void call_back(void (*function)(void)) { function(); }
static void *body(void *id) { warplens_probe_launch((long)id, 1, 0, 0); return 0; }
void in_thread(int id) {
    pthread_t thread;
    pthread_create(&thread, 0, body, (void *)(long)id);
    pthread_join(thread, 0);
}
"#;

/// Interpreters of this machine, the oldest and the newest that are known among them where they are
/// installed.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut found: Vec<PathBuf> = std::fs::read_dir(home.join(".pyenv/versions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python3"))
        .chain((10..=14).map(|minor| PathBuf::from(format!("/usr/bin/python3.{minor}"))))
        .filter(|path| minor(path).is_some_and(|minor| (10..=14).contains(&minor)))
        .collect();
    found.sort();
    found
}

fn minor(path: &Path) -> Option<u32> {
    let program = "import sys, ctypes; print(sys.version_info[1])";
    let output = Command::new(path).args(["-c", program]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// CPython's own offsets of a version, as its headers have them.
pub(crate) fn layout(minor: u64, key: u64, locked: u64, holder: u64) -> PythonLayout {
    // glibc's `struct pthread`: the first 32 keys, 16 bytes each, the value in the second half.
    let thread_state = 0x310 + i64::try_from(key).unwrap() * 16 + 8;
    assert!(key < 32);
    let (frame, cframe, [code, previous, instruction, instruction_bytes], owner, entry) =
        match minor {
            10 => (24, NO_OFFSET, [32, 24, 96, 4], NO_OFFSET, NO_OFFSET),
            11 => (56, 8, [32, 48, 56, 8], 69, 68),
            12 => (56, 0, [0, 8, 56, 8], 70, NO_OFFSET),
            13 => (72, NO_OFFSET, [0, 8, 56, 8], 70, NO_OFFSET),
            14 => (72, NO_OFFSET, [0, 8, 56, 8], 74, NO_OFFSET),
            other => panic!("no offsets for 3.{other}"),
        };
    PythonLayout {
        thread_state,
        gil_locked: locked,
        gil_holder: holder,
        frame,
        cframe,
        code,
        previous,
        instruction,
        instruction_bytes,
        owner,
        entry,
    }
}

/// A Python that runs a script up to its second line on stdin.
pub(crate) struct Python {
    pub(crate) child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    pub(crate) minor: u64,
    pub(crate) layout: PythonLayout,
}

impl Python {
    pub(crate) fn start(interpreter: &Path, arguments: &[&Path]) -> Self {
        let mut child = Command::new(interpreter)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut from = BufReader::new(from);
        let first = line(&mut from);
        let number = |name: &str| first[name].as_u64().unwrap();
        let layout = layout(number("minor"), number("key"), number("locked"), number("holder"));
        Self { child, to, from, minor: number("minor"), layout }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn go_on(&mut self) {
        self.to.write_all(b"\n").unwrap();
    }

    pub(crate) fn line(&mut self) -> Value {
        line(&mut self.from)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn line(from: &mut impl BufRead) -> Value {
    let mut text = String::new();
    from.read_line(&mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

/// What the program said of a stack: code object and last instruction, leaf first.
pub(crate) type Truth = Vec<(u64, i64)>;

/// Where the bytecode of a code object begins; before 3.11 a frame has an index instead.
fn bytecode(minor: u64) -> u64 {
    [0, 184, 192, 200, 208][usize::try_from(minor - 10).unwrap()]
}

/// A frame the interpreter puts where C calls Python: no function of the program.
fn is_shim(minor: u64, frame: &PythonFrame) -> bool {
    minor >= 12 && frame.instruction >> 56 >= 3
}

/// The functions among the frames.
pub(crate) fn walked(minor: u64, frames: &[PythonFrame]) -> Truth {
    frames
        .iter()
        .filter(|frame| !is_shim(minor, frame))
        .map(|frame| {
            let code = if minor >= 14 { frame.code & !3 } else { frame.code };
            let instruction = frame.instruction & (PYTHON_ENTRY - 1);
            let last = if minor == 10 {
                i64::try_from(instruction * 2).unwrap()
            } else {
                instruction.cast_signed() - (code + bytecode(minor)).cast_signed()
            };
            (code, last)
        })
        .collect()
}

/// Attaches to the script's probe point and lets it run to its end; what it said and what was seen.
fn run(bpf: &mut Bpf, python: &mut Python) -> (BTreeMap<u64, Truth>, u64, u64, Vec<Stack>) {
    let (mut told, mut released, mut stateless) = (BTreeMap::new(), 0, 0);
    python.go_on();
    loop {
        let line = python.line();
        if let Some(number) = line["hit"].as_u64() {
            let frames = line["frames"].as_array().unwrap().iter();
            told.insert(
                number,
                frames.map(|f| (f[0].as_u64().unwrap(), f[1].as_i64().unwrap())).collect(),
            );
        } else if let Some(number) = line["released"].as_u64() {
            released = number;
        } else if let Some(number) = line["stateless"].as_u64() {
            stateless = number;
        } else {
            break;
        }
    }
    let events = drain(bpf);
    let seen = stacks(&events, LAUNCH_STACK).into_iter().cloned().collect();
    (told, released, stateless, seen)
}

fn every_shape(interpreter: &Path) {
    let Some(mut bpf) = load() else { return };
    assert!(bpf.walks_python());
    let dir = tempfile::tempdir().unwrap();
    let library = Library::compile(dir.path(), "libprobe.so", LIBRARY);
    let mut python = Python::start(interpreter, &[Path::new(SCRIPT), &library]);
    let pid = python.pid();
    bpf.watch(pid).unwrap();
    bpf.set_python(pid, &python.layout).unwrap();
    bpf.attach_probe(pid, &library).unwrap();
    let (told, released, stateless, seen) = run(&mut bpf, &mut python);
    assert!(told.len() > 30, "{}", told.len());
    let numbers: Vec<u64> = seen.iter().map(|stack| stack.head.correlation.into()).collect();
    let expected: Vec<u64> = (1..=stateless).collect();
    assert_eq!(numbers, expected);
    for stack in &seen {
        let number = u64::from(stack.head.correlation);
        let holds = stack.head.flags & stack_flag::HOLDS_GIL != 0;
        if number == stateless {
            assert_eq!(stack.head.python, python_walk::NO_THREAD_STATE);
            assert_eq!((stack.python.len(), holds), (0, false));
            continue;
        }
        let truth = &told[&number];
        let frames = walked(python.minor, &stack.python);
        assert_eq!(holds, number != released, "the lock at {number}: {stack:?}");
        // The program looked at itself an instruction earlier than it was looked at.
        assert_eq!(frames[0].0, truth[0].0, "leaf of {number}: {stack:?}");
        if truth.len() < 200 {
            assert_eq!(stack.head.python, python_walk::WHOLE, "{number}");
            assert_eq!(frames[1..], truth[1..], "{number}");
        } else {
            assert_eq!(stack.head.python, python_walk::TRUNCATED, "{number}");
            assert_eq!(stack.python.len(), PYTHON_FRAMES);
            assert_eq!(frames[1..], truth[1..frames.len()], "{number}");
        }
        if python.minor == 11 {
            // C called the outermost frame of any thread.
            let last = stack.python.last().unwrap();
            let entry = last.instruction & PYTHON_ENTRY != 0;
            assert!(entry || stack.head.python == python_walk::TRUNCATED, "{number}");
        }
        if python.minor >= 12 && stack.head.python == python_walk::WHOLE {
            assert!(is_shim(python.minor, stack.python.last().unwrap()), "{number}");
        }
    }
    println!(
        "{}: {} stacks, {} frames",
        interpreter.display(),
        seen.len(),
        seen.iter().map(|stack| stack.python.len()).sum::<usize>()
    );
}

#[test]
fn every_frame_of_every_interpreter_is_seen() {
    let found = interpreters();
    if found.is_empty() {
        println!("SKIP python: no CPython 3.10 to 3.14 is installed");
    }
    for interpreter in found {
        every_shape(&interpreter);
    }
}
