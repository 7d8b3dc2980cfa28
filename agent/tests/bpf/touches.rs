//! First touches of pages: by the watched process, of the code that touches, as many as there are.

use std::ptr;
use std::time::Duration;

use wire::kernel::event_kind::PAGE_STACK;

use crate::support::{Stack, drain, load, stacks};

const PAGE: usize = 4096;
/// Pages touched at a time, and how often: 2 s at 25 600 a second.
const PIECE: usize = 256;
const PIECES: usize = 200;

/// Memory of small pages that nobody has touched.
struct Fresh(*mut u8);

const BYTES: usize = PAGE * PIECE * PIECES;

impl Fresh {
    fn map() -> Self {
        let (read, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe {
            libc::mmap(ptr::null_mut(), BYTES, read, private | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: the mapping that was just made.
        assert_eq!(unsafe { libc::madvise(at, BYTES, libc::MADV_NOHUGEPAGE) }, 0);
        Self(at.cast())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.0.cast(), BYTES) };
    }
}

#[inline(never)]
extern "C" fn fill(memory: &Fresh, piece: usize) {
    for page in 0..PIECE {
        // SAFETY: within the mapping, as `piece` is below `PIECES`.
        let at = unsafe { memory.0.add((piece * PIECE + page) * PAGE) };
        // SAFETY: as above; nobody else knows of it.
        unsafe { at.write_volatile(1) };
    }
}

#[test]
fn pages_are_told_with_the_code_that_touches_them_first() {
    let Some(mut bpf) = load() else { return };
    let pid = std::process::id();
    bpf.watch(pid).unwrap();
    assert!(bpf.start_touches().unwrap() >= 1);
    let memory = Fresh::map();
    let (begin, end) = (memory.0.addr() as u64, (memory.0.addr() + BYTES) as u64);
    let function: extern "C" fn(&Fresh, usize) = fill;
    let start = function as usize as u64;
    let mut events = Vec::new();
    let mut turn = |piece| {
        fill(&memory, piece);
        std::thread::sleep(Duration::from_millis(10));
        events.extend(drain(&mut bpf));
    };
    (0..PIECES).for_each(&mut turn);
    // Again: they are there.
    (0..PIECES).for_each(&mut turn);
    let told = stacks(&events, PAGE_STACK);
    assert!(told.iter().all(|event| event.head.tgid == pid));
    let of_fill: Vec<_> =
        told.iter().filter(|event| (begin..end).contains(&event.head.key)).collect();
    // What it calls to write is another function where nothing is optimised.
    let in_fill = |event: &&&&Stack| {
        event.chain().iter().any(|address| (start..start + 512).contains(address))
    };
    assert_eq!(of_fill.iter().filter(in_fill).count(), of_fill.len());
    let pages: u64 = of_fill.iter().map(|event| u64::from(event.head.weight)).sum();
    println!("{} stacks stand for {pages} of {} pages", of_fill.len(), PIECE * PIECES);
    let all = (PIECE * PIECES) as u64;
    assert!(pages > all / 2 && pages < all * 3 / 2, "{pages} of {all}");
    // Few are taken, whatever the rate.
    assert!((40..2000).contains(&of_fill.len()), "{}", of_fill.len());
    assert!(bpf.counters().unwrap().page_stacks >= told.len() as u64);
}
