//! What `doctor` says of this kernel against what the kernel does: each feature that is said to be there works, each
//! that is said to be missing is refused.

use std::arch::naked_asm;
use std::collections::BTreeMap;
use std::process::Command;

use warplens::bpf::Bpf;
use warplens::bpf::host::Host;
use wire::kernel::event_kind::EXEC;

use crate::support::{Event, Library, load_for, locate, wait_for};

#[unsafe(naked)]
extern "C" fn probed() {
    naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "nop", "ret")
}

/// Tries every feature.
fn works(bpf: &mut Bpf) -> BTreeMap<&'static str, bool> {
    let pid = std::process::id();
    let (file, offset) = locate(probed as *const () as usize);
    let dir = tempfile::tempdir().unwrap();
    let source = "int cuLaunchKernel(int result) { return result; }";
    let driver = Library::compile(dir.path(), "libcuda.so.1", source);
    BTreeMap::from([
        ("stacks of launches", bpf.attach_probe_at(pid, &file, offset).is_ok()),
        ("CPU samples", bpf.start_cpu_sampling(99).is_ok()),
        ("Python stacks", bpf.walks_python()),
        ("process starts and ends", sees_execution(bpf)),
        ("thread states", bpf.tells_threads()),
        ("first touches of pages", bpf.start_touches().is_ok()),
        ("independent launch count", bpf.attach_verify(pid, &driver).is_ok()),
    ])
}

fn sees_execution(bpf: &mut Bpf) -> bool {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let is_its = |event: &Event| matches!(event, Event::Process(event) if event.kind == EXEC && event.tgid == pid);
    wait_for(bpf, "execution of a child", |events| events.iter().any(is_its));
    true
}

#[test]
fn doctor_says_what_this_kernel_does() {
    // Without processes nothing else is looked at either.
    let Some(mut bpf) = load_for(&["process starts and ends"]) else { return };
    let said: BTreeMap<&str, bool> = Host::read()
        .features()
        .into_iter()
        .map(|feature| (feature.probe.feature(), feature.obstacle.is_none()))
        .collect();
    assert_eq!(said, works(&mut bpf), "{:?}", bpf.missing());
}
