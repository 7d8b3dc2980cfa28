//! Verification mode: calls of exported launch functions, nested ones once, failed ones apart.

use std::ffi::c_int;

use wire::kernel::VerifyCounts;

use crate::support::{Library, load, locate};

/// A driver whose exports call each other in every way that was seen or could be.
const DRIVER: &str = r#"
#include <setjmp.h>
#define EXPORT __attribute__((visibility("default"), noinline))
static jmp_buf out;
static volatile int sink;
EXPORT int cuLaunchKernel(int result) { sink++; return result; }
/* Calls another export. */
EXPORT int cuLaunchKernelEx(int result) { int inner = cuLaunchKernel(0); sink++; return result + inner; }
/* Jumps to another export. */
EXPORT int cuLaunchCooperativeKernel(int result) { return cuLaunchKernel(result); }
/* A nested call fails, the outer one does not. */
EXPORT int cuLaunchGrid(int result) { cuLaunchKernel(999); sink++; return result; }
/* Never returns. */
EXPORT int cuLaunch(int result) { sink++; longjmp(out, 1); return result; }
EXPORT int cuGraphLaunch(int result) { sink++; return result; }
/* A graph launch of several kernels through the same export. */
EXPORT int cuGraphLaunch_ptsz(int result) { cuLaunchKernel(0); cuLaunchKernel(0); return cuGraphLaunch(result); }
EXPORT int jumps_out(int result) { if (setjmp(out) == 0) cuLaunch(result); sink++; return result; }
"#;

#[test]
fn launches_are_counted_exactly() {
    let Some(mut bpf) = load() else { return };
    let dir = tempfile::tempdir().unwrap();
    let library = Library::open(&Library::compile(dir.path(), "libcuda.so.1", DRIVER));
    let call = |name: &std::ffi::CStr, result: c_int| {
        // SAFETY: every function of the library above takes and returns an int.
        let function: extern "C" fn(c_int) -> c_int =
            unsafe { std::mem::transmute(library.address(name)) };
        assert_eq!(function(result), result, "{name:?}");
    };
    let (file, _) = locate(library.address(c"cuLaunchKernel"));
    let pid = std::process::id();
    call(c"cuLaunchKernel", 0);
    assert_eq!(bpf.verify_counts(pid).unwrap(), None);
    let probes = bpf.attach_verify(pid, &file).unwrap();
    let mut probed: Vec<&str> = probes.probed.iter().map(|(name, _)| *name).collect();
    probed.sort_unstable();
    assert_eq!(
        probed,
        [
            "cuGraphLaunch",
            "cuGraphLaunch_ptsz",
            "cuLaunch",
            "cuLaunchCooperativeKernel",
            "cuLaunchGrid",
            "cuLaunchKernel",
            "cuLaunchKernelEx"
        ]
    );
    assert!(probes.absent.contains(&"cuLaunchKernel_ptsz"));

    let mut expected = VerifyCounts::default();
    let mut check = |name, result, times: u64, launches, graph_launches| {
        (0..times).for_each(|_| call(name, result));
        expected.launches += launches;
        expected.graph_launches += graph_launches;
        expected.failed += if result == 0 { 0 } else { times };
        assert_eq!(bpf.verify_counts(pid).unwrap(), Some(expected), "after {name:?}");
    };
    check(c"cuLaunchKernel", 0, 100, 100, 0);
    check(c"cuLaunchKernel", 700, 10, 10, 0);
    check(c"cuLaunchKernelEx", 0, 100, 100, 0);
    check(c"cuLaunchKernelEx", 3, 1, 1, 0);
    check(c"cuLaunchCooperativeKernel", 0, 100, 100, 0);
    check(c"cuLaunchCooperativeKernel", 1, 5, 5, 0);
    check(c"cuLaunchGrid", 0, 7, 7, 0);
    check(c"cuGraphLaunch", 0, 50, 0, 50);
    check(c"cuGraphLaunch_ptsz", 0, 50, 0, 50);
    check(c"cuGraphLaunch_ptsz", 2, 3, 0, 3);
    check(c"jumps_out", 0, 4, 4, 0);
    check(c"cuLaunchKernel", 0, 20, 20, 0);
    assert_eq!(bpf.counters().unwrap().verify_untracked, 0);

    // Many threads at once, more than there are CPUs.
    let before = bpf.verify_counts(pid).unwrap().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..500).for_each(|_| call(c"cuLaunchKernelEx", 0)));
        }
    });
    let after = bpf.verify_counts(pid).unwrap().unwrap();
    assert_eq!(after.launches - before.launches, 8 * 500);
    assert_eq!(after.failed, before.failed);

    bpf.unwatch(pid).unwrap();
    call(c"cuLaunchKernel", 0);
    assert_eq!(bpf.verify_counts(pid).unwrap(), None);
}

#[test]
fn a_library_that_launches_nothing_is_refused() {
    let Some(mut bpf) = load() else { return };
    let (libc, _) = locate(libc::getpid as *const () as usize);
    let message = bpf.attach_verify(std::process::id(), &libc).unwrap_err().to_string();
    assert!(message.contains("exports no `cuLaunchKernel`"), "{message}");
}
