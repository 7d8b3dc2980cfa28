//! Interpreters to test with, and programs that stop where the test wants to look.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use warplens::python::Runtime;
use warplens::unwind::Unwinder;

/// Long enough for any scheduler; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Interpreters of a version (`3.12`): pyenv's, the system's, and those that `cargo xtask pythons`
/// unpacks below `target/pythons`. Says so aloud when there is none.
pub(crate) fn interpreters(test: &str, version: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(home) = std::env::home_dir() {
        found.extend(below(&home.join(".pyenv/versions"), "bin/python3", version));
    }
    let unpacked = std::env::var_os("WARPLENS_PYTHONS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pythons"),
        PathBuf::from,
    );
    found.extend(below(&unpacked, "python", version));
    found.push(PathBuf::from(format!("/usr/bin/python{version}")));
    found.retain(|path| runs(path, version));
    if found.is_empty() {
        skip(test, &format!("no Python {version} here"));
    }
    found
}

/// Says so past the test harness, which hides what passing tests print.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIP {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn below(folder: &Path, inside: &str, version: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let number = name.rsplit('-').next().unwrap_or_default();
            number.strip_prefix(version).is_some_and(|rest| rest.starts_with('.'))
        })
        .map(|entry| entry.path().join(inside))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
}

fn runs(path: &Path, version: &str) -> bool {
    let program = "import sys, ctypes; print('%d.%d' % sys.version_info[:2])";
    let output = Command::new(path).args(["-c", program]).output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == version.as_bytes())
}

/// A Python program that never outlives its test.
pub(crate) struct Program {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    /// A program of lines; it may say `stop()` to write a line and wait for a byte.
    pub(crate) fn of(interpreter: &Path, text: &str) -> Self {
        let text = format!(
            "import os, sys\ndef stop(what='stopped'):\n    os.write(1, (str(what) + chr(10)).encode())\n    os.read(0, 1)\n{text}"
        );
        Self::start(Command::new(interpreter).args(["-c", &text]))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it writes; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Lets it go on from where it waits.
    pub(crate) fn go_on(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended, or have been waited for, already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until the process's interpreter is set up.
pub(crate) fn find(pid: u32) -> Runtime {
    let mut last = None;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match Runtime::find(pid, functions(pid)) {
            Ok(Some(found)) => return found,
            Err(error) if !error.passes() => panic!("{error:?}"),
            other => last = Some(other),
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("no interpreter within {PATIENCE:?}: {last:?}");
}

/// Pieces of code by unwind information.
pub(crate) fn functions(pid: u32) -> impl FnMut(u64) -> Option<Range<u64>> {
    let mut unwinder = Unwinder::new();
    move |address| unwinder.function_at(pid, address)
}

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the thread sleeps: what it says it does next, it does.
pub(crate) fn asleep(pid: u32, tid: u32) {
    wait_for("sleep", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
        let (_, behind) = stat.rsplit_once(')')?;
        (behind.trim_start().starts_with('S')).then_some(())
    });
}
