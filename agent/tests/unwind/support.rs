//! Programs compiled here, and snapshots of their stacks.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use warplens::unwind::{Copied, End, NativeFrame, Registers, Unwinder};

/// Registers and stack of one thread at one moment.
pub(crate) struct Snapshot {
    pub(crate) registers: Registers,
    /// Return addresses of the calls since the first marker, innermost first.
    pub(crate) truth: Vec<u64>,
    start: u64,
    bytes: Vec<u8>,
    pub(crate) longer: bool,
}

impl Snapshot {
    pub(crate) fn instruction_pointer(&self) -> u64 {
        self.registers[16]
    }

    pub(crate) fn unwind(&self, unwinder: &mut Unwinder, pid: u32) -> (Vec<u64>, End) {
        let stack = Copied {
            registers: &self.registers,
            start: self.start,
            bytes: &self.bytes,
            longer: self.longer,
        };
        let mut frames: Vec<NativeFrame> = Vec::new();
        let end = unwinder.unwind(pid, &stack, &mut frames);
        (frames.iter().map(|frame| frame.address).collect(), end)
    }
}

/// A program that `snap` holds, and what it took of it.
pub(crate) struct Held {
    pub(crate) pid: u32,
    pub(crate) snapshots: Vec<Snapshot>,
    snap: Child,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.snap.stdin.take());
        self.snap.wait().unwrap();
    }
}

pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind").join(name)
}

/// Compiles `sources` with `flags`.
pub(crate) fn compile(dir: &Path, name: &str, sources: &[PathBuf], flags: &[&str]) -> PathBuf {
    let program = dir.join(name);
    let output = Command::new("cc")
        .args(["-w", "-o"])
        .arg(&program)
        .args(sources)
        .args(flags)
        .output()
        .expect("the C compiler that links Rust programs");
    assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs `program` instruction by instruction between its markers.
pub(crate) fn step(dir: &Path, program: &[&str]) -> Held {
    run(dir, &[&["step"], program].concat())
}

/// Takes each thread of a process in turns.
pub(crate) fn sample(dir: &Path, pid: u32, rounds: u32, pause_us: u32) -> Held {
    run(dir, &["sample", &pid.to_string(), &rounds.to_string(), &pause_us.to_string()])
}

fn run(dir: &Path, arguments: &[&str]) -> Held {
    let source = dir.join("snap.c");
    std::fs::write(&source, include_str!("snap.c")).unwrap();
    let snap = compile(dir, "snap", &[source], &["-O1"]);
    let mut snap = Command::new(snap)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(snap.stdout.take().unwrap());
    let word = |out: &mut std::io::BufReader<_>| {
        let mut bytes = [0; 8];
        out.read_exact(&mut bytes).expect("snap says why above");
        u64::from_le_bytes(bytes)
    };
    let pid = u32::try_from(word(&mut out)).unwrap();
    let mut snapshots = Vec::new();
    while word(&mut out) == 1 {
        let (start, length) = (word(&mut out), word(&mut out));
        let (longer, depth) = (word(&mut out) == 1, word(&mut out));
        let registers = std::array::from_fn(|_| word(&mut out));
        let mut truth: Vec<u64> = (0..depth).map(|_| word(&mut out)).collect();
        truth.reverse();
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        out.read_exact(&mut bytes).unwrap();
        snapshots.push(Snapshot { registers, truth, start, bytes, longer });
    }
    Held { pid, snapshots, snap }
}

/// Address in the process of what `program` exports as `name`.
pub(crate) fn start_of(pid: u32, program: &Path, name: &str) -> u64 {
    let offset = warplens::elf::find(program, &[name]).unwrap()[name].offset;
    let maps = warplens::proc::maps(pid).unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let mapping = maps
        .iter()
        .find(|mapping| {
            mapping.executable
                && mapping.file_name() == name
                && (mapping.offset..mapping.offset + (mapping.end - mapping.start))
                    .contains(&offset)
        })
        .expect("the file's code is mapped");
    mapping.start + (offset - mapping.offset)
}
