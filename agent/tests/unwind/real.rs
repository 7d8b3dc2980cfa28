//! Real libraries: CPython, numpy, torch with its vector kernels, OpenMP and code made at run time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use warplens::stack::Remark;
use warplens::symbols::Symbols;
use warplens::unwind::{End, Unwinder};

use crate::support::sample;

/// Works on two threads of Python and as many of OpenMP as torch starts.
const LOAD: &str = "
import threading, torch
def work():
    a, b = torch.rand(300, 300), torch.rand(300, 300)
    h = torch.rand(64, 1024).to(torch.bfloat16)
    while True:
        torch.softmax(a @ b, -1).sum().item()
        torch.nn.functional.layer_norm(a, (300,)).sort(dim=-1)
        torch.nn.functional.gelu(h).float().topk(5)
        sorted(range(100), key=lambda x: -x)
threading.Thread(target=work, daemon=True).start()
torch.rand(10, 10).sum()
print('ready', flush=True)
work()
";

/// Ends with its test.
struct Load(Child);

impl Load {
    /// Runs `program` up to where it says that it is ready.
    fn start(python: &Path, program: &str) -> Self {
        let mut child = Command::new(python)
            .args(["-c", program])
            .stdout(Stdio::piped())
            .spawn()
            .map(Load)
            .expect("the interpreter starts");
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn python() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let python = home.join(".cache/real-vllm/venv/bin/python");
    python.exists().then_some(python)
}

/// Interpreters of every version that is here, which were all built without frame pointers.
const CALLS: &str = "
import re, json, hashlib, zlib
def deep(n):
    return sorted([3, 1, 2], key=lambda x: -x) if n == 0 else max([n], key=lambda x: deep(n - 1) and 1)
def work():
    while True:
        deep(20)
        re.sub('a+', lambda m: json.dumps({'k': [1, 2]}), 'baab' * 50)
        zlib.compress(hashlib.sha256(b'x' * 5000).digest() * 50)
        [str(i) for i in range(200)]
        libc.qsort(numbers, 40, 4, compare)
import threading, ctypes
libc = ctypes.CDLL(None)
numbers = (ctypes.c_int * 40)(*range(40, 0, -1))
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda a, b: -1)
threading.Thread(target=work, daemon=True).start()
print('ready', flush=True)
work()
";

fn interpreters() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = vec!["/usr/bin/python3".into()];
    if let Some(home) = std::env::var_os("HOME") {
        let versions = PathBuf::from(home).join(".pyenv/versions");
        found.extend(
            ["3.10.13", "3.11.7", "3.12.1", "3.13.0"]
                .map(|version| versions.join(version).join("bin/python3")),
        );
    }
    found.retain(|path| path.exists());
    found
}

/// Threads begin in the program's or the C library's own code.
fn is_root(pid: u32, address: u64) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let maps = warplens::proc::maps(pid).unwrap();
    maps.iter().find(|mapping| (mapping.start..mapping.end).contains(&address)).is_some_and(
        |mapping| mapping.file_name().starts_with("libc.so") || Path::new(&mapping.path) == program,
    )
}

#[test]
fn every_stack_of_python_reaches_its_root() {
    let interpreters = interpreters();
    if interpreters.is_empty() {
        println!("SKIP every_stack_of_python_reaches_its_root: no Python");
    }
    for python in interpreters {
        let (mut unwinder, dir) = (Unwinder::new(), tempfile::tempdir().unwrap());
        let load = Load::start(&python, CALLS);
        let held = sample(dir.path(), load.0.id(), 300, 1_000);
        let mut deepest = 0;
        for snapshot in &held.snapshots {
            let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
            deepest = deepest.max(frames.len());
            match end {
                End::Root => assert!(is_root(held.pid, *frames.last().unwrap()), "{frames:x?}"),
                // The recursion is deeper than what is copied.
                End::Cut(Remark::TooLong) => assert!(snapshot.longer, "{frames:x?}"),
                End::Cut(_) => panic!("{}: {end:?} {frames:x?}", python.display()),
            }
        }
        println!("{}: at most {deepest} frames, {:?}", python.display(), unwinder.losses());
        assert!(deepest > 30, "{deepest}");
        assert!(unwinder.losses().whole > 300, "{:?}", unwinder.losses());
    }
}

#[test]
fn every_stack_of_torch_reaches_its_root() {
    let Some(python) = python() else {
        println!(
            "SKIP every_stack_of_torch_reaches_its_root: no torch; set up ../shared/real-vllm"
        );
        return;
    };
    let child = Load::start(&python, LOAD);
    let dir = tempfile::tempdir().unwrap();
    let held = sample(dir.path(), child.0.id(), 400, 2_000);
    let mut unwinder = Unwinder::new();
    let mut symbols = Symbols::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for snapshot in &held.snapshots {
        let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
        *ends.entry(format!("{end:?}")).or_default() += 1;
        match end {
            End::Root => assert!(is_root(held.pid, *frames.last().unwrap()), "{frames:x?}"),
            // Only the leaf is ever in such code here.
            End::Cut(Remark::AnonymousCode) => assert_eq!(frames.len(), 1),
            // Intel writes the innermost loops of its library in assembly, without unwind information.
            End::Cut(Remark::NoUnwindInformation) if frames.len() == 1 => {
                let symbols = symbols.resolve(held.pid, &frames);
                let function = &symbols[0].frames[0].function;
                assert!(function.starts_with("mkl_"), "{function}");
            }
            End::Cut(_) => panic!("{end:?} {frames:x?}"),
        }
    }
    println!(
        "{} stacks: {ends:?}; {:?}; {:?}",
        held.snapshots.len(),
        unwinder.kept(),
        unwinder.losses()
    );
    assert!(unwinder.losses().whole > 1_000, "{:?}", unwinder.losses());
}
