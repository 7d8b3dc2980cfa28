//! What is copied of a thread: registers, bytes of its stack, the kernel's frames; whose it is.

use std::arch::naked_asm;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use warplens::bpf::Setup;
use wire::kernel::event_kind::{CPU_SAMPLE, LAUNCH_STACK};
use wire::kernel::{python_walk, stack_flag};
use wire::limits::STACK_COPY_BYTES;

use crate::support::{Stack, drain, load, load_with, locate, stacks, tid, wait_for};

type Probe = extern "C" fn(u64, u64, u64, u64);

/// One probe point a test, because tests share the process.
macro_rules! probe_point {
    ($name:ident) => {
        #[unsafe(naked)]
        extern "C" fn $name(_correlation: u64, _weight: u64, _thread: u64, _key: u64) {
            naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "nop", "ret")
        }
    };
}

probe_point!(patterned);
probe_point!(measured);
probe_point!(shared);
probe_point!(plain);

/// Kernels from 6.17 on turn a nop of five bytes into a call, which writes below the stack pointer.
#[unsafe(naked)]
extern "C" fn at_page(_correlation: u64, _weight: u64, _thread: u64, _key: u64) {
    naked_asm!("nop", "ret")
}

const PATTERN_WORDS: u64 = 1024;
/// The value of word `index` of the pattern of `seed`.
fn word(seed: u64, index: u64) -> u64 {
    seed.wrapping_add(index.wrapping_mul(0x0101_0101_0101_0101))
}

/// Fills its stack and every register with what follows from `seed`, then calls `probe` with its low
/// half as the correlation id.
#[unsafe(naked)]
extern "C" fn pattern(probe: Probe, seed: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8192 + 8",
        "mov rax, rsi",
        "mov rcx, 0x0101010101010101",
        "xor edx, edx",
        "2: mov [rsp + rdx * 8], rax",
        "add rax, rcx",
        "inc edx",
        "cmp edx, 1024",
        "jne 2b",
        "mov r11, rdi",
        "mov rdi, rsi",
        "lea rbx, [rsi + 3]",
        "lea rbp, [rsi + 6]",
        "lea r8, [rsi + 8]",
        "lea r9, [rsi + 9]",
        "lea r10, [rsi + 10]",
        "lea r12, [rsi + 12]",
        "lea r13, [rsi + 13]",
        "lea r14, [rsi + 14]",
        "lea r15, [rsi + 15]",
        "lea rax, [rsi + 100]",
        "lea rdx, [rsi + 1]",
        "lea rcx, [rsi + 2]",
        "mov rsi, 4",
        "call r11",
        "add rsp, 8192 + 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Panics unless the stack is one that `pattern` left at `probe` with this seed.
fn check_pattern(stack: &Stack, probe: Probe, seed: u64) {
    let registers = stack.head.registers;
    let sp = stack.stack_pointer();
    let r11 = registers[11];
    assert_eq!(stack.instruction(), probe as usize as u64);
    assert_eq!(r11, probe as usize as u64);
    for (number, more) in [(0, 100), (1, 1), (2, 2), (3, 3), (5, 0), (6, 6), (8, 8), (9, 9)]
        .into_iter()
        .chain([(10, 10), (12, 12), (13, 13), (14, 14), (15, 15)])
    {
        assert_eq!(registers[number], seed.wrapping_add(more), "register {number}");
    }
    assert_eq!(registers[4], 4);
    let start: extern "C" fn(Probe, u64) = pattern;
    let back = stack.word(sp).unwrap() - start as usize as u64;
    assert!((1..400).contains(&back), "{back:#x}");
    for index in 0..PATTERN_WORDS {
        assert_eq!(stack.word(sp + 8 + index * 8), Some(word(seed, index)), "word {index}");
    }
}

#[test]
fn registers_and_bytes_are_those_of_the_thread() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let probe: Probe = patterned;
    let (file, offset) = locate(probe as usize);
    bpf.watch(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    let seeds = [1, 0x1234_5678_9abc_def0, u64::MAX - 5];
    let tid = std::thread::spawn(move || {
        for seed in seeds {
            pattern(probe, seed);
        }
        tid()
    })
    .join()
    .unwrap();
    let events = drain(&mut bpf);
    let seen = stacks(&events, LAUNCH_STACK);
    assert_eq!(seen.len(), seeds.len());
    for (stack, seed) in seen.iter().zip(seeds) {
        check_pattern(stack, probe, seed);
        let head = stack.head;
        assert_eq!((head.tgid, head.tid), (pid, tid));
        assert_eq!((u64::from(head.correlation), head.weight), (seed & 0xffff_ffff, 4));
        assert_eq!(u64::from(head.thread), seed.wrapping_add(1) & 0xffff_ffff);
        assert_eq!(head.key, seed.wrapping_add(2));
        assert_eq!((head.flags & stack_flag::IN_KERNEL, head.syscall), (0, -1));
        assert_eq!((head.kernel_frames, head.kernel), (0, [0; 32]));
        assert_eq!((head.python, head.python_frames), (python_walk::NONE, 0));
    }
}

/// Calls `probe` with `bytes` of its caller's stack between.
#[inline(never)]
fn below<const BYTES: usize>(probe: Probe, number: u64) {
    let room = std::hint::black_box([0_u8; BYTES]);
    probe(number, 1, 0, 0);
    std::hint::black_box(&room);
}

/// Runs `body` on a stack behind which nothing can be read; where that stack ends.
fn on_a_stack_with_an_end(body: fn()) -> u64 {
    const BYTES: usize = 1 << 20;
    extern "C" fn run(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: what `pthread_create` below passes.
        let body: fn() = unsafe { std::mem::transmute(body) };
        body();
        std::ptr::null_mut()
    }
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping where the kernel likes it, never given back.
    let stack = unsafe { libc::mmap(std::ptr::null_mut(), BYTES + 4096, prot, flags, -1, 0) };
    assert_ne!(stack, libc::MAP_FAILED);
    let end = stack.wrapping_byte_add(BYTES);
    // SAFETY: the last page of the mapping above.
    assert_eq!(unsafe { libc::mprotect(end, 4096, libc::PROT_NONE) }, 0);
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: room for attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) }, 0);
    // SAFETY: initialised above; the stack is memory of that length.
    let set = unsafe { libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack, BYTES) };
    assert_eq!(set, 0);
    let mut thread = 0;
    let body = body as *mut libc::c_void;
    // SAFETY: the attributes are initialised; `run` takes what it is given.
    let made = unsafe { libc::pthread_create(&raw mut thread, attributes.as_ptr(), run, body) };
    assert_eq!(made, 0);
    // SAFETY: the thread above, joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0);
    end as u64
}

/// Calls `probe` with correlation id `number` so that its stack pointer is `top`.
#[unsafe(naked)]
extern "C" fn with_stack_at(probe: Probe, number: u64, top: u64) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rax, rdi",
        "lea rsp, [rdx + 8]",
        "mov rdi, rsi",
        "mov rsi, 1",
        "call rax",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}

/// Functions that align their stack to a page keep what they need below it, on the page before.
#[test]
fn the_red_zone_is_copied_from_another_page_where_there_is_one() {
    const PAGE: usize = 4096;
    const ZONE_WORDS: u64 = 128 / 8;
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let probe: Probe = at_page;
    let (file, offset) = locate(probe as usize);
    bpf.watch(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping where the kernel likes it, never given back.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), 3 * PAGE, prot, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    let top = memory.wrapping_byte_add(PAGE);
    let words = memory.cast::<u64>();
    for index in 0..PAGE / 8 {
        // SAFETY: within the first page of the mapping.
        unsafe { words.wrapping_add(index).write(word(7, index as u64)) };
    }
    with_stack_at(probe, 0, top as u64);
    with_stack_at(probe, 1, top as u64 + 72);
    // SAFETY: the first page of the mapping.
    assert_eq!(unsafe { libc::mprotect(memory, PAGE, libc::PROT_NONE) }, 0);
    with_stack_at(probe, 2, top as u64);
    let events = drain(&mut bpf);
    let seen = stacks(&events, LAUNCH_STACK);
    assert_eq!(seen.len(), 3);
    let back = seen[0].word(top as u64);
    for (stack, number) in seen.iter().zip(0..) {
        assert_eq!(stack.head.correlation, number);
        assert_eq!(stack.head.flags & stack_flag::STACK_LONGER, 0);
        let sp = stack.stack_pointer();
        assert_eq!(stack.word(sp), back, "the return address");
        let end = stack.head.stack_start + u64::from(stack.head.stack_bytes);
        assert_eq!(end, (top as u64) + PAGE as u64, "the page behind was never used");
        for down in 1..=ZONE_WORDS {
            let at = sp - down * 8;
            let expected = match number {
                // What the call before left there.
                _ if at == top as u64 => back,
                _ if at > top as u64 => Some(0),
                0 | 1 => Some(word(7, (at - memory as u64) / 8)),
                _ => None,
            };
            assert_eq!(stack.word(at), expected, "{down} words below the pointer of {number}");
        }
    }
}

#[test]
fn a_copy_ends_with_the_stack_or_says_that_it_goes_on() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let probe: Probe = measured;
    let (file, offset) = locate(probe as usize);
    bpf.watch(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    let end = on_a_stack_with_an_end(|| {
        below::<16>(measured, 0);
        below::<5000>(measured, 1);
        below::<12_345>(measured, 2);
        below::<40_000>(measured, 3);
        below::<200_000>(measured, 4);
    });
    let events = drain(&mut bpf);
    let seen = stacks(&events, LAUNCH_STACK);
    assert_eq!(seen.len(), 5);
    for stack in seen {
        let (start, sp) = (stack.head.stack_start, stack.stack_pointer());
        let bytes = u64::from(stack.head.stack_bytes);
        assert!(start <= sp && sp - start < 4096, "{start:#x} {sp:#x}");
        let rest = end - start;
        let most = STACK_COPY_BYTES as u64;
        assert_eq!(bytes, rest.min(most), "{}", stack.head.correlation);
        let longer = stack.head.flags & stack_flag::STACK_LONGER != 0;
        assert_eq!(longer, rest >= most, "{}", stack.head.correlation);
        assert!(stack.head.correlation < 3 || longer);
    }
}

#[test]
fn threads_that_preempt_each_other_never_mix() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    let probe: Probe = shared;
    let (file, offset) = locate(probe as usize);
    // Without stacks of sleeps, of which nobody could say here how many there are.
    bpf.watch_on_cpu(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    let (threads, hits) = (16_u64, 300_u64);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut only = rustix::thread::CpuSet::new();
                    only.set(0);
                    rustix::thread::sched_setaffinity(None, &only).unwrap();
                    for hit in 0..hits {
                        pattern(probe, seed(thread, hit));
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            seen.extend(drain(&mut bpf));
        }
    });
    seen.extend(drain(&mut bpf));
    let counters = bpf.counters().unwrap();
    let seen = stacks(&seen, LAUNCH_STACK);
    assert_eq!(
        counters.launch_stacks + counters.ring_full + counters.scratch_busy,
        threads * hits,
        "{counters:?}"
    );
    assert_eq!(seen.len() as u64, counters.launch_stacks);
    assert!(seen.len() >= 100, "{counters:?}");
    let mut tids: BTreeMap<u32, u32> = BTreeMap::new();
    for stack in seen {
        let id = u64::from(stack.head.correlation);
        check_pattern(stack, probe, seed(id / hits, id % hits));
        let thread = u32::try_from(id / hits).unwrap();
        assert_eq!(*tids.entry(thread).or_insert(stack.head.tid), stack.head.tid);
    }
    println!("{counters:?}");

    // Nothing stays claimed.
    pattern(probe, seed(threads, 0));
    assert_eq!(stacks(&drain(&mut bpf), LAUNCH_STACK).len(), 1);
}

/// The low half numbers the hit, the high half differs in every one too.
fn seed(thread: u64, hit: u64) -> u64 {
    let number = thread * 300 + hit;
    number << 40 | number
}

#[test]
fn a_sample_in_a_system_call_has_the_kernels_frames_and_the_users() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    bpf.watch(pid).unwrap();
    assert!(bpf.start_cpu_sampling(199).unwrap() >= 1);
    let (stop, of) = (AtomicBool::new(false), AtomicU32::new(0));
    let getrandom = i32::try_from(libc::SYS_getrandom).unwrap();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            of.store(tid(), Ordering::Relaxed);
            calling(&stop);
        });
        // Others come in interrupts and faults: the more, the slower the machine.
        let seen = wait_for(&mut bpf, "10 samples in the call", |events| {
            let seen = in_kernel(events, of.load(Ordering::Relaxed));
            seen.iter().filter(|stack| stack.head.syscall == getrandom).count() >= 10
        });
        stop.store(true, Ordering::Relaxed);
        seen
    });
    let start: fn(&AtomicBool) = calling;
    let start = start as usize as u64;
    let mut calls = 0;
    for stack in in_kernel(&seen, of.into_inner()) {
        let head = stack.head;
        let frames = &head.kernel[..head.kernel_frames as usize];
        assert!(frames.len() >= 2, "{head:?}");
        assert!(frames.iter().all(|&address| address > 1 << 63), "{frames:x?}");
        assert!(head.kernel[frames.len()..].iter().all(|&address| address == 0));
        // An interrupt may have come between two calls, or in a fault of the buffer.
        assert!([-1, getrandom].contains(&head.syscall), "{}", head.syscall);
        assert!(stack.instruction() < 1 << 47);
        let chain = stack.chain();
        assert!((start..start + 4096).contains(&chain[0]), "{chain:x?} {start:x}");
        assert!(chain.len() > 3, "{chain:x?}");
        calls += usize::from(head.syscall == getrandom);
    }
    assert!(calls >= 10, "{calls}");
}

fn in_kernel(events: &[crate::support::Event], tid: u32) -> Vec<&Stack> {
    stacks(events, CPU_SAMPLE)
        .into_iter()
        .filter(|stack| stack.head.tid == tid && stack.head.flags & stack_flag::IN_KERNEL != 0)
        .collect()
}

/// Is in `getrandom` nearly always, which it calls itself: a function of the C library would leave no
/// frame between.
#[inline(never)]
fn calling(stop: &AtomicBool) {
    let mut bytes = vec![0_u8; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        let got: i64;
        // SAFETY: the system call fills a buffer that is as long as is said, and clobbers what is named.
        unsafe {
            std::arch::asm!(
                "syscall",
                inout("rax") libc::SYS_getrandom => got,
                in("rdi") bytes.as_mut_ptr(),
                in("rsi") bytes.len(),
                in("rdx") 0,
                out("rcx") _,
                out("r11") _,
            );
        }
        assert!(got > 0);
    }
}

#[test]
fn without_loops_in_the_kernel_stacks_come_without_python() {
    let Some(mut bpf) = load_with(Setup { python: false, ..Setup::default() }) else { return };
    assert!(!bpf.walks_python());
    let pid = std::process::id();
    let probe: Probe = plain;
    let (file, offset) = locate(probe as usize);
    bpf.watch(pid).unwrap();
    bpf.attach_probe_at(pid, &file, offset).unwrap();
    pattern(probe, 7);
    let events = drain(&mut bpf);
    let seen = stacks(&events, LAUNCH_STACK);
    assert_eq!(seen.len(), 1);
    check_pattern(seen[0], probe, 7);
    assert!(bpf.start_cpu_sampling(199).unwrap() >= 1);
    wait_for(&mut bpf, "a sample", |events| {
        // Something to be sampled at.
        (0..1_000_000_u64).for_each(|turn| {
            std::hint::black_box(turn);
        });
        !stacks(events, CPU_SAMPLE).is_empty()
    });
}
