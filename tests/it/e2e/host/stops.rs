//! The stack taken at a probe just before a process stops itself is the one that the process itself
//! knows, and the one that `py-spy` sees in the stopped process: every frame, its name and its line.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use warplens_tests::harness::agent::Recording;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::process;
use warplens_tests::harness::python::{self, Python};
use warplens_tests::harness::server::Run;
use warplens_tests::harness::{ring, wait};
use warplens_tests::judge::pprof::{self, Frame, Stack};
use warplens_tests::require;
use wire::shim::Level;

const LIMIT: Duration = Duration::from_secs(30);

/// Several turns of the agent on a busy machine.
const STANDSTILL: Duration = Duration::from_millis(300);

/// A frame as others see it: name, file, line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Seen(String, String, u32);

/// What the program says before it stops.
#[derive(Debug, Deserialize)]
struct Stopping {
    #[serde(rename = "stopping")]
    shape: String,
    tid: u32,
    /// Leaf first.
    frames: Vec<Seen>,
}

#[derive(Debug, Deserialize)]
struct SpiedThread {
    os_thread_id: Option<u32>,
    frames: Vec<SpiedFrame>,
}

#[derive(Debug, Deserialize)]
struct SpiedFrame {
    name: String,
    filename: String,
    line: u32,
}

/// What py-spy shows of a thread of a stopped process. It does not always show a second thread.
fn spied(pid: u32, tid: u32) -> Option<Vec<Seen>> {
    let output = Command::new(artefacts::py_spy().unwrap())
        .args(["dump", "--nonblocking", "--json", "--pid", &pid.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let threads: Vec<SpiedThread> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"));
    // It knows no thread ids before 3.11; then a process of one thread is no question.
    let alone = threads.len() == 1 && tid == pid;
    threads.into_iter().find(|thread| thread.os_thread_id.map_or(alone, |id| id == tid)).map(
        |thread| {
            let frames = thread.frames.into_iter();
            frames.map(|frame| Seen(frame.name, frame.filename, frame.line)).collect()
        },
    )
}

/// Whether a frame of ours is the one seen.
fn same(ours: &Frame, seen: &Seen) -> bool {
    let Seen(name, path, line) = seen;
    // Ours has the module in front, and may have the place behind.
    let function = ours.name.split(" (").next().unwrap_or_default();
    let module = function.strip_suffix(name.as_str());
    let named = module.is_some_and(|module| module.is_empty() || module.ends_with('.'));
    named && ours.file == *path && ours.line == *line
}

/// A frame of Python: it has a source file of Python and lies in no mapped file.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as `filter` wants it")]
fn is_python(frame: &&Frame) -> bool {
    let is_source = Path::new(&frame.file).extension().is_some_and(|extension| extension == "py");
    frame.module.is_empty() && (is_source || frame.file.starts_with('<'))
}

/// Lets the program go through its shapes under a recording; what each said, and the GPU's stacks.
fn stop_in_every_shape(python: &Python) -> (Vec<Stopping>, Vec<Stack>) {
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut command = run.command(&python.path).unwrap();
    command.arg("-B").arg(artefacts::program("host").join("stops.py"));
    let mut child = Child::start(&mut command, run.folder(), "program").unwrap();
    child.line("\"ready\"", LIMIT).unwrap();
    let pid = child.pid();
    let recording = Recording::start(&[pid], 99, run.folder(), "out").unwrap();
    let armed = wait::until(LIMIT, || {
        ring::look(pid).filter(|view| view.level() >= Level::Stacks as u32).map(|_view| ())
    });
    assert!(armed.is_some(), "never armed: {}", recording.child.stderr());
    child.write("go\n");
    let mut told: Vec<Stopping> = Vec::new();
    loop {
        // A line beyond those known says that the stop before it is over.
        let next = wait::until(LIMIT, || {
            let text = child.stdout();
            let line = text.lines().filter(|line| line.contains("\"stopping\"")).nth(told.len());
            let over = text.contains("\"done\"");
            let line = line.filter(|_line| process::state(pid) == Some('T')).map(str::to_owned);
            (line.is_some() || over).then_some(line)
        });
        assert!(next.is_some(), "neither stopped nor done: {}", child.stderr());
        let Some(line) = next.flatten() else { break };
        let stopping: Stopping = serde_json::from_str(&line).unwrap();
        if let Some(spied) = spied(pid, stopping.tid) {
            let what = &stopping.shape;
            assert_eq!(spied, stopping.frames, "py-spy and the program about {what}");
        } else {
            assert_ne!(stopping.tid, pid, "py-spy shows the first thread");
            println!("py-spy shows no second thread in {}", stopping.shape);
        }
        told.push(stopping);
        // Its code objects may be gone right after it: they are read while the process stands still.
        std::thread::sleep(STANDSTILL);
        child.signal(Signal::CONT);
    }
    let (ended, out) = recording.finish().unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    child.close_input();
    assert_eq!(child.wait(LIMIT).unwrap().code, 0);
    (told, pprof::read(&out.join("gpu.pb.gz")).unwrap())
}

fn stacks_equal(python: &Python) {
    let (told, stacks) = stop_in_every_shape(python);
    assert!(told.len() >= 20, "{} shapes", told.len());
    let mut wrong = Vec::new();
    for Stopping { shape, frames, .. } in &told {
        let kernel = format!("shape_{shape}");
        let found: Vec<&Stack> = stacks
            .iter()
            .filter(|stack| stack.frames.first().is_some_and(|leaf| leaf.name == kernel))
            .collect();
        let [stack] = found[..] else {
            wrong.push(format!("{kernel} stands in {} stacks", found.len()));
            continue;
        };
        let ours: Vec<&Frame> = stack.frames.iter().filter(is_python).collect();
        let equal = ours.len() == frames.len()
            && ours.iter().zip(frames).all(|(ours, seen)| same(ours, seen));
        if !equal {
            let all: Vec<&str> = stack.frames.iter().map(|frame| frame.name.as_str()).collect();
            wrong.push(format!("{kernel}:\n  ours {ours:#?}\n  theirs {frames:#?}\n  {all:?}"));
        }
    }
    println!("{}: {} of {} shapes", python.describe(), told.len() - wrong.len(), told.len());
    assert!(wrong.is_empty(), "{}: {}", python.describe(), wrong.join("\n"));
}

#[test]
fn the_stack_at_a_probe_is_what_py_spy_sees_on_the_required_versions() {
    require!(E2e);
    for python in python::required().unwrap() {
        stacks_equal(&python);
    }
}

#[test]
fn the_stack_at_a_probe_is_what_py_spy_sees_on_whatever_else_is_there() {
    require!(E2e);
    let required = python::required().unwrap();
    for python in python::all().iter().filter(|python| !required.contains(python)) {
        if python.has_own_loader() {
            println!("left out, it cannot load the simulated CUDA: {}", python.describe());
        } else {
            stacks_equal(python);
        }
    }
}
