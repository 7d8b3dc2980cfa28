//! The probe point: every hit, its arguments, its stack; what is dropped; who is filtered out.

use std::arch::naked_asm;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use warplens::bpf::{Counters, Setup};
use warplens::elf::Instruction;
use warplens::symbols::Symbols;
use wire::kernel::event_kind::LAUNCH_STACK;

use crate::support::{Library, drain, load, load_with, locate, stacks};

type Probe = extern "C" fn(u64, u64, u64, u64);

fn place(probe: Probe) -> usize {
    probe as usize
}

/// One probe point a test, because tests share the process.
macro_rules! probe_point {
    ($name:ident) => {
        #[unsafe(naked)]
        extern "C" fn $name(_correlation: u64, _weight: u64, _thread: u64, _key: u64) {
            naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "nop", "ret")
        }
    };
}

probe_point!(counted);
probe_point!(flooded);
probe_point!(filtered);
probe_point!(named);

#[inline(never)]
fn launch(probe: Probe, correlation: u64) {
    probe(correlation, 4, 7, 0xdead_beef_0000 + correlation);
    std::hint::black_box(());
}

#[inline(never)]
extern "C" fn outer(probe: Probe, correlation: u64) {
    launch(probe, correlation);
    std::hint::black_box(());
}

#[test]
fn every_hit_arrives_with_its_arguments_and_its_stack() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let (file, offset) = locate(place(counted));
    bpf.watch(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();

    // As many as a CPU has places to put stacks together in, and what the ring has room for.
    let threads = 2;
    let hits_each = 200;
    let mut events = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    (0..hits_each).for_each(|hit| outer(counted, thread * hits_each + hit));
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            events.extend(drain(&mut bpf));
        }
    });
    events.extend(drain(&mut bpf));

    let seen = stacks(&events, LAUNCH_STACK);
    let ids: BTreeSet<u64> = seen.iter().map(|event| u64::from(event.head.correlation)).collect();
    let missing: Vec<u64> = (0..threads * hits_each).filter(|id| !ids.contains(id)).collect();
    assert!(missing.is_empty(), "{} lost: {:?}", missing.len(), bpf.counters());
    assert_eq!(seen.len() as u64, threads * hits_each);
    let probe = place(counted) as u64;
    let caller: extern "C" fn(Probe, u64) = outer;
    let caller = caller as usize as u64;
    for event in &seen {
        assert_eq!((event.head.tgid, event.head.weight, event.head.thread), (pid, 4, 7));
        assert_eq!(event.head.key, 0xdead_beef_0000 + u64::from(event.head.correlation));
        assert_ne!(event.head.tid, pid, "hits come from spawned threads");
        assert_eq!(event.instruction(), probe);
        let chain = event.chain();
        assert!(
            chain.iter().any(|address| (caller..caller + 64).contains(address)),
            "no frame in the caller at {caller:#x}: {chain:#x?}"
        );
    }
    let tids: BTreeSet<u32> = seen.iter().map(|event| event.head.tid).collect();
    assert_eq!(tids.len() as u64, threads);
    let counters = bpf.counters().unwrap();
    // Tests wait for each other, which is told too.
    let Counters { waits, .. } = counters;
    let Counters { off_cpu_stacks, short_sleeps, short_sleep_ns, sleep_ends_unseen, .. } = counters;
    let launch_stacks = threads * hits_each;
    let expected = Counters {
        launch_stacks,
        waits,
        off_cpu_stacks,
        short_sleeps,
        short_sleep_ns,
        sleep_ends_unseen,
        ..Counters::default()
    };
    assert_eq!(counters, expected);
}

#[test]
fn the_stack_of_a_thread_is_whole_and_named() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let (file, offset) = locate(place(named));
    bpf.watch(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    std::thread::spawn(|| outer(named, 1)).join().unwrap();
    let events = drain(&mut bpf);
    let [event] = stacks(&events, LAUNCH_STACK)[..] else { panic!("not one stack: {events:?}") };
    let addresses = event.chain();
    let mut symbols = Symbols::new();
    let resolved = symbols.resolve(pid, &addresses);
    let functions: Vec<&str> = addresses
        .iter()
        .filter_map(|address| resolved.iter().find(|symbol| symbol.address == *address))
        .flat_map(|symbol| symbol.frames.iter().map(|frame| frame.function.as_str()))
        .collect();
    println!("{functions:#?} {addresses:x?}");
    let position = |part: &str| {
        functions
            .iter()
            .position(|function| function.contains(part))
            .unwrap_or_else(|| panic!("no {part} in {functions:#?}"))
    };
    assert_eq!(position("launches::named"), 0);
    // A trap at the first instruction comes before the frame is made: `launch`, the direct caller, is
    // not in the chain of frames.
    assert!(position("launches::outer") < position("thread_start"));
    assert_eq!(position("start_thread"), functions.len() - 1);
}

#[test]
fn what_finds_the_ring_full_is_counted() {
    let Some(mut bpf) = load_with(Setup { ring_bytes: 64 << 10, ..Setup::default() }) else {
        return;
    };
    let pid = std::process::id();
    let (file, offset) = locate(place(flooded));
    bpf.watch_on_cpu(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    // Executions elsewhere on the host take room too, so the split is not known, only the sum.
    let hits = 200;
    (0..hits).for_each(|hit| outer(flooded, hit));
    let counters = bpf.counters().unwrap();
    assert_eq!(counters.launch_stacks + counters.ring_full, hits);
    assert!(counters.ring_full >= hits - 16, "{counters:?}");
    let events = drain(&mut bpf);
    assert_eq!(stacks(&events, LAUNCH_STACK).len() as u64, counters.launch_stacks);
    // Read empty, it takes events again.
    outer(flooded, 4711);
    let events = drain(&mut bpf);
    assert_eq!(
        stacks(&events, LAUNCH_STACK)
            .iter()
            .map(|event| event.head.correlation)
            .collect::<Vec<_>>(),
        [4711]
    );
}

#[test]
fn only_watched_processes_are_seen() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let (file, offset) = locate(place(filtered));
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    outer(filtered, 1);
    bpf.watch(pid).unwrap();
    outer(filtered, 2);
    bpf.unwatch(pid).unwrap();
    outer(filtered, 3);
    let events = drain(&mut bpf);
    assert_eq!(
        stacks(&events, LAUNCH_STACK)
            .iter()
            .map(|event| event.head.correlation)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn a_process_that_is_not_there_is_refused() {
    let Some(mut bpf) = load() else { return };
    // Above the kernel's largest PID.
    let message = bpf.watch(1 << 23).unwrap_err().to_string();
    assert!(message.contains("there is no such process"), "{message}");
    bpf.unwatch(1 << 23).unwrap();
}

const SHIM: &str = r#"
__asm__(".globl warplens_probe_launch\n.type warplens_probe_launch,@function\n"
        "warplens_probe_launch: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\nnop\nret\n"
        ".size warplens_probe_launch, . - warplens_probe_launch");
"#;

/// Attaches to the probe point of the library at `path`, after `then` did something to its name.
fn probe_library(path: &std::path::Path, then: impl FnOnce()) {
    let Some(mut bpf) = load() else { return };
    let library = Library::open(path);
    let address = library.address(c"warplens_probe_launch");
    then();
    // SAFETY: the assembly above is a function that takes four integers and touches nothing.
    let probe: Probe = unsafe { std::mem::transmute(address) };
    let (file, offset) = locate(address);
    let pid = std::process::id();
    bpf.watch(pid).unwrap();
    let found = bpf.attach_probe(pid, &file).unwrap();
    assert_eq!(found.offset, offset + u64::from(found.site.skip));
    assert!(matches!(found.site.instruction, Instruction::Nop5 | Instruction::Nop1));
    (0..50).for_each(|hit| outer(probe, hit));
    let events = drain(&mut bpf);
    let ids: Vec<u32> =
        stacks(&events, LAUNCH_STACK).iter().map(|event| event.head.correlation).collect();
    assert_eq!(ids, (0..50).collect::<Vec<u32>>());
}

#[test]
fn a_library_whose_file_is_deleted_is_probed() {
    let dir = tempfile::tempdir().unwrap();
    let path = Library::compile(dir.path(), "libshim.so", SHIM);
    probe_library(&path, || fs::remove_file(&path).unwrap());
}

#[test]
fn a_library_that_never_had_a_file_is_probed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(Library::compile(dir.path(), "libshim.so", SHIM)).unwrap();
    let memfd =
        rustix::fs::memfd_create("warplens-test-library", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut memfd = fs::File::from(memfd);
    memfd.write_all(&bytes).unwrap();
    probe_library(&PathBuf::from(format!("/proc/self/fd/{}", memfd.as_raw_fd())), || ());
}

#[test]
fn a_library_without_a_probe_point_is_refused() {
    let Some(mut bpf) = load() else { return };
    let (libc, _) = locate(libc::getpid as *const () as usize);
    let message = bpf.attach_probe(std::process::id(), &libc).unwrap_err().to_string();
    assert!(message.contains("exports no `warplens_probe_launch`"), "{message}");
}
