//! Libraries brought into running programs, which must not notice.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and say what they saw, as tests do"
)]

mod often;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use warplens::inject::{InjectError, inject, inject_through};

/// Stands for the shim: counts who knocks.
const LIBRARY: &str = "
extern _Atomic int entered;
int InitializeInjection(void) { entered++; return 1; }
";

/// And one that tells who brings it from the driver.
const WITH_BOTH_DOORS: &str = "
extern _Atomic int entered;
int InitializeInjection(void) { entered++; return 1; }
int warplens_enter(void) { entered += 100; return 1; }
";

/// How often the program is entered through each of its threads.
const TIMES: usize = 6;

fn compile(dir: &Path, name: &str, source: &str, more: &[&str]) -> PathBuf {
    let (file, out) = (dir.join(format!("{name}.c")), dir.join(name));
    fs::write(&file, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-pthread", "-w", "-o"]).arg(&out).arg(&file).args(more);
    assert!(cc.status().expect("the C compiler that links Rust programs").success());
    out
}

/// A program under test. It ends with its input, which this holds.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), stdout, stderr: child.stderr.take(), child }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn counts(&mut self) -> Vec<u64> {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.split_whitespace().map(|count| count.parse().unwrap()).collect()
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.stdin = None;
        let stderr = std::io::read_to_string(self.stderr.take().unwrap()).unwrap();
        (self.child.wait().unwrap().code(), stderr)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that has a library of the CUDA driver's name.
fn with_driver(dir: &Path, name: &str, source: &str) -> PathBuf {
    compile(dir, "libcuda.so.1", "int cuInit(void) { return 0; }", &["-shared", "-fPIC"]);
    let library = dir.join("libcuda.so.1");
    let path = format!("-Wl,-rpath,{}", dir.display());
    let more = ["-rdynamic", "-Wl,--no-as-needed", library.to_str().unwrap(), &path];
    compile(dir, name, source, &more)
}

fn library(dir: &Path, source: &str) -> Vec<u8> {
    fs::read(compile(dir, "library", source, &["-shared", "-fPIC"])).unwrap()
}

#[test]
fn a_program_that_waits_in_every_way_notices_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let worker = with_driver(dir.path(), "worker", include_str!("worker.c"));
    let library = library(dir.path(), LIBRARY);
    let mut program = Program::start(&mut Command::new(worker));
    program.counts();
    let mut stopped: Vec<Duration> = Vec::new();
    let threads = warplens::proc::threads(program.pid());
    // Those that allocate without end are at no safe place.
    let waiting: Vec<u32> = threads
        .iter()
        .enumerate()
        .filter(|(at, _)| ![7, 8].contains(at))
        .map(|(_, &tid)| tid)
        .collect();
    for tid in waiting.iter().cycle().take(waiting.len() * TIMES) {
        let injected = inject_through(program.pid(), &library, |other| other == *tid);
        let injected = injected.unwrap_or_else(|error| panic!("{tid} of {threads:?}: {error:?}"));
        assert_eq!(injected.tid, *tid);
        stopped.push(injected.stopped);
    }
    stopped.push(inject(program.pid(), &library).unwrap().stopped);
    let before = program.counts();
    std::thread::sleep(Duration::from_millis(300));
    let after = program.counts();
    let [turns @ .., errors, entered] = after.as_slice() else { panic!("{after:?}") };
    stopped.sort_unstable();
    let (middle, most) = (stopped[stopped.len() / 2], stopped.last().unwrap());
    println!("{} threads, stopped for {middle:?} in the middle, {most:?} at most", waiting.len());
    let (code, stderr) = program.end();
    assert_eq!((*errors, code, stderr.as_str()), (0, Some(0), ""));
    assert_eq!((waiting.len(), *entered), (8, stopped.len() as u64));
    // All its threads go on.
    assert!(
        turns.iter().zip(&before).all(|(after, before)| after > before),
        "{before:?} {after:?}"
    );
}

#[test]
fn a_library_with_a_door_for_agents_is_entered_by_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let worker = with_driver(dir.path(), "worker", include_str!("worker.c"));
    let library = library(dir.path(), WITH_BOTH_DOORS);
    let mut program = Program::start(&mut Command::new(worker));
    program.counts();
    inject(program.pid(), &library).unwrap();
    assert_eq!(program.counts().last(), Some(&100));
    assert_eq!(program.end(), (Some(0), String::new()));
}

#[test]
fn what_cannot_be_entered_says_so_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), LIBRARY);
    // Above the kernel's largest PID.
    assert!(matches!(inject(1 << 23, &library), Err(InjectError::Process { .. })));
    let cat = Program::start(&mut Command::new("cat"));
    assert!(matches!(inject(cat.pid(), &library), Err(InjectError::NoDriver { .. })));
    assert_eq!(cat.end(), (Some(0), String::new()));
    let worker = with_driver(dir.path(), "worker", include_str!("worker.c"));
    let mut program = Program::start(&mut Command::new(worker));
    program.counts();
    for (bytes, part) in [(&b"no library"[..], "too short"), (&library[..200], "")] {
        let error = inject(program.pid(), bytes).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, InjectError::Refused { what: "dlopen", .. }), "{text}");
        assert!(text.contains(part), "{text}");
    }
    let after = program.counts();
    assert_eq!(after[after.len() - 2..], [0, 0]);
    assert_eq!(program.end(), (Some(0), String::new()));
}

#[test]
fn a_program_without_a_safe_place_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let library = library(dir.path(), LIBRARY);
    let spins = "int main(void) { for (volatile long turn = 0;; turn++); }";
    let spins = Program::start(&mut Command::new(with_driver(dir.path(), "spins", spins)));
    std::thread::sleep(Duration::from_millis(100));
    let error = inject(spins.pid(), &library).unwrap_err();
    assert!(matches!(error, InjectError::NoSafeThread { looked: 0, .. }), "{error:?}");
    let state = fs::read_to_string(format!("/proc/{}/status", spins.pid())).unwrap();
    assert!(state.contains("TracerPid:\t0"), "{state}");
}
