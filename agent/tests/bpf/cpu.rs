//! CPU samples: of the watched process, of the code that runs, of nobody else.

use std::arch::asm;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use wire::kernel::event_kind::CPU_SAMPLE;

use crate::support::{Killed, load, stacks, wait_for};

/// Spins without calling anything: in a callee's first instructions its caller would be missing
/// from the chain of frames.
#[inline(never)]
extern "C" fn busy(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: the loop counts a register of its own down to zero.
        unsafe { asm!("2: dec {turns}", "jnz 2b", turns = inout(reg) 10_000_000_u64 => _) };
    }
}

#[test]
fn a_busy_function_is_seen_and_a_stranger_is_not() {
    let Some(mut bpf) = load() else { return };
    let stranger = Killed(
        Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let pid = std::process::id();
    bpf.watch(pid).unwrap();
    assert!(bpf.start_cpu_sampling(99).unwrap() >= 1);
    let stop = AtomicBool::new(false);
    let tid = AtomicU32::new(0);
    let function: extern "C" fn(&AtomicBool) = busy;
    let start = function as usize as u64;
    let events = std::thread::scope(|scope| {
        scope.spawn(|| {
            tid.store(
                rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(),
                Ordering::Relaxed,
            );
            busy(&stop);
        });
        let events = wait_for(&mut bpf, "20 samples of the busy thread", |events| {
            let tid = tid.load(Ordering::Relaxed);
            stacks(events, CPU_SAMPLE).iter().filter(|event| event.head.tid == tid).count() >= 20
        });
        stop.store(true, Ordering::Relaxed);
        events
    });
    let samples = stacks(&events, CPU_SAMPLE);
    assert!(
        samples.iter().all(|event| event.head.tgid == pid),
        "the stranger {} was sampled",
        stranger.0.id()
    );
    let tid = tid.into_inner();
    let of_thread: Vec<_> = samples.iter().filter(|event| event.head.tid == tid).collect();
    let in_busy = of_thread
        .iter()
        .filter(|event| event.chain().iter().any(|address| (start..start + 256).contains(address)))
        .count();
    assert!(
        in_busy * 10 >= of_thread.len() * 9,
        "{in_busy} of {} samples are in the busy function",
        of_thread.len()
    );
    bpf.stop_cpu_sampling();
    let after = bpf.counters().unwrap();
    assert!(after.cpu_samples >= 20);
    assert_eq!((after.ring_full, after.launch_stacks, after.scratch_busy), (0, 0, 0));
}
