//! What changes under the unwinder's feet: libraries that come late, files that are deleted, other
//! mount namespaces, another program in the same process.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use warplens::unwind::{End, Unwinder};

use crate::support::{compile, sample, source, start_of};

/// Ends with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Program {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// The program says this when it is so far.
    fn says(&mut self, expected: u8) {
        let mut byte = [0];
        self.0.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        assert_eq!(byte, [expected]);
    }

    fn tell(&mut self, what: u8) {
        self.0.stdin.as_mut().unwrap().write_all(&[what]).unwrap();
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

struct Files {
    dir: tempfile::TempDir,
    program: PathBuf,
    library: PathBuf,
}

fn files() -> Files {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "late", &[source("late.c")], &["-O2", "-rdynamic"]);
    let flags = ["-O2", "-shared", "-fPIC", "-DLIBRARY"];
    let library = compile(dir.path(), "libspins.so", &[source("late.c")], &flags);
    Files { dir, program, library }
}

/// Frames of the only thread.
fn stack(dir: &Path, unwinder: &mut Unwinder, pid: u32) -> (Vec<u64>, End) {
    let held = sample(dir, pid, 1, 0);
    let [snapshot] = &held.snapshots[..] else { panic!("{} threads", held.snapshots.len()) };
    snapshot.unwind(unwinder, pid)
}

/// The stack once it is whole: its mappings are not read again at each try.
fn whole(dir: &Path, unwinder: &mut Unwinder, pid: u32) -> Vec<u64> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let (frames, end) = stack(dir, unwinder, pid);
        if end == End::Root {
            return frames;
        }
        assert!(Instant::now() < deadline, "{end:?} {frames:x?}");
    }
}

/// Functions of the frames, as far as `names` are in `file`.
fn spin_frames(unwinder: &mut Unwinder, program: &Program, frames: &[u64], library: &Path) {
    let start = start_of(program.pid(), library, "spins");
    let functions: Vec<u64> = frames
        .iter()
        .filter_map(|&frame| unwinder.function_at(program.pid(), frame - 1))
        .map(|range| range.start)
        .collect();
    assert_eq!(functions.get(2), Some(&start), "{frames:x?} {functions:x?}");
}

#[test]
fn a_library_that_came_late() {
    let files = files();
    let mut program = Program::start(Command::new(&files.program).arg(&files.library));
    let mut unwinder = Unwinder::new();
    program.says(b'r');
    // Before, so that the mappings are known without the library.
    whole(files.dir.path(), &mut unwinder, program.pid());
    program.tell(b'l');
    program.says(b'l');
    let frames = whole(files.dir.path(), &mut unwinder, program.pid());
    spin_frames(&mut unwinder, &program, &frames, &files.library);
}

#[test]
fn files_that_were_deleted() {
    let files = files();
    let mut program = Program::start(Command::new(&files.program).arg(&files.library));
    program.says(b'r');
    program.tell(b'l');
    program.says(b'l');
    let kept = files.dir.path().join("kept.so");
    std::fs::copy(&files.library, &kept).unwrap();
    // Another file of the same name must not be taken for it.
    std::fs::remove_file(&files.library).unwrap();
    std::fs::copy(&files.program, &files.library).unwrap();
    std::fs::remove_file(&files.program).unwrap();
    let mut unwinder = Unwinder::new();
    let frames = whole(files.dir.path(), &mut unwinder, program.pid());
    assert_eq!(unwinder.losses().cut, 0);
    let offset = warplens::elf::find(&kept, &["spins"]).unwrap()["spins"].offset;
    let maps = warplens::proc::maps(program.pid()).unwrap();
    let mapping = maps
        .iter()
        .find(|mapping| mapping.executable && mapping.path.contains("libspins.so"))
        .unwrap();
    let function = unwinder.function_at(program.pid(), frames[2] - 1).unwrap();
    assert_eq!(function.start, mapping.start + offset - mapping.offset);
}

#[test]
fn files_of_another_mount_namespace() {
    let files = files();
    let script = "mount -t tmpfs none \"$1\" && cp /proc/self/fd/3 \"$1/program\" && \
                  cp /proc/self/fd/4 \"$1/libspins.so\" && exec \"$1/program\" \"$1/libspins.so\"";
    let shell = format!(
        "exec 3<{} 4<{}; exec unshare -m sh -c '{script}' sh {}",
        files.program.display(),
        files.library.display(),
        files.dir.path().display()
    );
    let mut program = Program::start(Command::new("sh").args(["-c", &shell]));
    let mut byte = [0];
    if program.0.stdout.as_mut().unwrap().read_exact(&mut byte).is_err() {
        println!("SKIP files_of_another_mount_namespace: mounting needs root");
        return;
    }
    program.tell(b'l');
    program.says(b'l');
    assert!(!files.dir.path().join("program").exists(), "it is seen from outside");
    let mut unwinder = Unwinder::new();
    let frames = whole(files.dir.path(), &mut unwinder, program.pid());
    assert_eq!(unwinder.losses().cut, 0);
    assert!(unwinder.function_at(program.pid(), frames[2] - 1).is_some());
}

/// At a fixed address, so that the new program lies where the old one did.
#[test]
fn another_program_in_the_same_process() {
    let dir = tempfile::tempdir().unwrap();
    let fixed = ["-static", "-no-pie", "-w"];
    let first = compile(dir.path(), "first", &[source("late.c")], &[&fixed[..], &["-O2"]].concat());
    let second =
        compile(dir.path(), "second", &[source("late.c")], &[&fixed[..], &["-O0"]].concat());
    let mut program = Program::start(Command::new(&first).arg("-").arg(&second));
    program.says(b'r');
    let mut unwinder = Unwinder::new();
    let before = whole(dir.path(), &mut unwinder, program.pid());
    program.tell(b'e');
    program.says(b'r');
    unwinder.forget(program.pid());
    let after = whole(dir.path(), &mut unwinder, program.pid());
    assert_eq!(unwinder.losses().cut, 0, "{before:x?} {after:x?}");
    let main = |program: &Path, unwinder: &mut Unwinder, pid| {
        let output = Command::new("nm").arg(program).output().unwrap();
        let names = String::from_utf8(output.stdout).unwrap();
        let line = names.lines().find(|line| line.ends_with(" T main")).unwrap();
        let start = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        unwinder.function_at(pid, start).map(|range| range.start) == Some(start)
    };
    assert!(main(&second, &mut unwinder, program.pid()));
}

#[test]
fn a_process_that_is_gone_gives_nothing() {
    let files = files();
    let mut program = Program::start(Command::new(&files.program).arg(&files.library));
    program.says(b'r');
    let held = sample(files.dir.path(), program.pid(), 1, 0);
    let (pid, mut seen) = (program.pid(), Unwinder::new());
    assert_eq!(held.snapshots[0].unwind(&mut seen, pid).1, End::Root);
    drop(program);
    // What was seen can still be unwound; what was not, not.
    assert_eq!(held.snapshots[0].unwind(&mut seen, pid).1, End::Root);
    let (frames, end) = held.snapshots[0].unwind(&mut Unwinder::new(), pid);
    assert!(frames.is_empty(), "{frames:x?}");
    assert!(matches!(end, End::Cut(_)), "{end:?}");
}
