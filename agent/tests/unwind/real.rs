//! Real libraries: CPython, numpy, torch with its vector kernels, OpenMP and code made at run time.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
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

#[test]
fn every_stack_of_torch_reaches_its_root() {
    let Some(python) = python() else {
        println!(
            "SKIP every_stack_of_torch_reaches_its_root: no torch; set up ../shared/real-vllm"
        );
        return;
    };
    let mut child = Command::new(python)
        .args(["-c", LOAD])
        .stdout(Stdio::piped())
        .spawn()
        .map(Load)
        .expect("the interpreter starts");
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let dir = tempfile::tempdir().unwrap();
    let held = sample(dir.path(), child.0.id(), 400, 2_000);
    let mut unwinder = Unwinder::new();
    let mut symbols = Symbols::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for snapshot in &held.snapshots {
        let (frames, end) = snapshot.unwind(&mut unwinder, held.pid);
        *ends.entry(format!("{end:?}")).or_default() += 1;
        match end {
            End::Root => assert!(frames.len() > 1, "{frames:x?}"),
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
