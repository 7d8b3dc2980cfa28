//! The same threads as py-spy sees them: every frame's function, file and line.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use warplens::python::{PythonSymbols, UNKNOWN, Version};

use crate::support::{Program, asleep, find, interpreters, skip};

/// Deep, through C, coroutines, a generator and an attribute; and a second thread.
const PROGRAM: &str = r"
import asyncio, threading, time
class Late:
    def __getattr__(self, name):
        return list(self.generate())
    def generate(self):
        yield 1
        stop()
def recurse(depth):
    if depth:
        return recurse(depth - 1)
    async def inner(depth):
        if depth:
            return await inner(depth - 1)
        return Late().missing
    return asyncio.run(inner(5))
def waits(seconds):
    time.sleep(seconds)
threading.Thread(target=waits, args=(1000,), daemon=True).start()
sorted([1], key=lambda item:
    recurse(20))
";

#[test]
fn every_thread_is_as_py_spy_sees_it() {
    let name = "peer::every_thread_is_as_py_spy_sees_it";
    let Some(py_spy) = py_spy() else {
        return skip(name, "no py-spy here; `cargo xtask setup` installs it");
    };
    let mut compared = 0;
    for version in Version::ALL {
        for path in interpreters(name, &version.to_string()) {
            match compare(&py_spy, &path) {
                Some(frames) => compared += frames,
                None => skip(name, &format!("py-spy cannot read {}", path.display())),
            }
        }
    }
    assert!(compared > 30, "{compared} frames");
}

fn py_spy() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/py-spy/venv/bin/py-spy");
    std::env::var_os("WARPLENS_PY_SPY")
        .map(PathBuf::from)
        .into_iter()
        .chain([installed])
        .find(|path| path.exists())
}

/// Frames compared; `None` where py-spy fails.
fn compare(py_spy: &Path, python: &Path) -> Option<usize> {
    let mut program = Program::of(python, PROGRAM);
    program.line();
    let pid = program.pid();
    let runtime = find(pid);
    asleep(pid, pid);
    let pid_text = pid.to_string();
    let output =
        Command::new(py_spy).args(["dump", "--json", "--pid", &pid_text]).output().unwrap();
    if !output.status.success() {
        return None;
    }
    let dump: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut symbols = PythonSymbols::new();
    let mut frames = 0;
    let threads = dump.as_array().unwrap();
    assert_eq!(threads.len(), 2, "{dump}");
    for thread in threads {
        let tid = u32::try_from(thread["os_thread_id"].as_u64().unwrap()).unwrap();
        let told: Vec<String> =
            thread["frames"].as_array().unwrap().iter().map(described).collect();
        asleep(pid, tid);
        let mut seen = Vec::new();
        for frame in runtime.walk(tid).frames {
            let number = symbols.number(&runtime, &frame, 1);
            if number != UNKNOWN {
                let frame = symbols.frame(number);
                // py-spy has the name without what it is defined in.
                let name = frame.function.rsplit('.').next().unwrap_or_default().to_owned();
                let file = frame.file.unwrap_or_default();
                seen.push(format!("{name} {file}:{}", frame.line.unwrap_or(0)));
            }
        }
        assert_eq!(seen, told, "{}", python.display());
        frames += seen.len();
    }
    Some(frames)
}

fn described(frame: &Value) -> String {
    let name = frame["name"].as_str().unwrap().rsplit('.').next().unwrap_or_default();
    format!("{name} {}:{}", frame["filename"].as_str().unwrap(), frame["line"])
}
