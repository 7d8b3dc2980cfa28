//! The sampled heap in the process of these tests: they allocate as any program does. One at a time, because it is one
//! heap.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use warplens_cuda::rehearsal::heap::{Counts, Heap, counts};

static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A small generator, so that the runs are the same (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn since(before: Counts) -> Counts {
    let after = counts();
    Counts {
        samples: after.samples - before.samples,
        frees: after.frees - before.frees,
        frees_unseen: after.frees_unseen - before.frees_unseen,
        refused: after.refused - before.refused,
        kept: after.kept - before.kept,
    }
}

const MEAN: u64 = 8192;

/// The chance of a block to be a sample.
fn chance(size: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small sizes")]
    let ratio = size as f64 / MEAN as f64;
    1.0 - (-ratio).exp()
}

#[test]
fn what_lives_is_told_from_what_was_freed() {
    let _alone = alone();
    let heap = Heap::find().unwrap();
    let before = counts();
    heap.begin(MEAN);
    let workers: Vec<_> = (1..5)
        .map(|seed| {
            thread::spawn(move || {
                let mut random = Random(seed);
                let mut kept = Vec::new();
                for number in 0..40_000 {
                    let mut block: Vec<u8> = Vec::with_capacity(16 + random.below(4080));
                    block.push(1);
                    if number % 10 == 0 {
                        kept.push(block);
                    } else if number % 3 == 0 {
                        block.reserve_exact(5000);
                    }
                }
                kept
            })
        })
        .collect();
    let kept: Vec<Vec<Vec<u8>>> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    let found = since(before);
    let expected: f64 = kept.iter().flatten().map(|block| chance(block.capacity())).sum();
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let live = (found.samples - found.frees) as f64;
    // The variance of a sum of chances is at most their sum; some blocks are the test's own.
    assert!((live - expected).abs() < 5.0 * expected.sqrt() + 5.0, "{live} of {expected}");
    assert!(found.samples > 10_000, "{found:?}");
    // Freed by another thread than the one that allocated.
    drop(kept);
    let found = since(before);
    heap.end();
    assert!(found.samples - found.frees < 20, "{found:?}");
    assert_eq!((found.frees_unseen, found.refused, found.kept), (0, 0, 0));
}

#[test]
fn a_heap_that_comes_and_goes_harms_nobody() {
    let _alone = alone();
    let heap = Heap::find().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 1..5 {
            let done = &done;
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut live: Vec<Vec<u8>> = vec![Vec::new(); 256];
                while !done.load(Ordering::Relaxed) {
                    let place = random.below(256);
                    let size = 1 + random.below(10_000);
                    if random.below(4) == 0 {
                        live[place].resize(size, 7);
                    } else {
                        assert!(live[place].iter().all(|&byte| byte == 7));
                        live[place] = vec![7; size];
                    }
                }
            });
        }
        for _ in 0..150 {
            heap.begin(512);
            thread::sleep(std::time::Duration::from_millis(2));
            heap.end();
        }
        done.store(true, Ordering::Relaxed);
    });
    // Every slot leads back: nothing is sampled where every byte would be.
    let before = counts();
    heap.begin(1);
    heap.end();
    let began = since(before);
    drop(vec![1_u8; 1 << 20]);
    thread::spawn(|| drop(vec![1_u8; 1 << 20])).join().unwrap();
    assert_eq!(since(before).samples, began.samples);
}

/// The allocator's function as a program looks it up.
fn looked_up(name: &std::ffi::CStr) -> *mut c_void {
    // SAFETY: a NUL-terminated name.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

fn allocating(address: *mut c_void) -> unsafe extern "C" fn(usize) -> *mut c_void {
    // SAFETY: `malloc`, or what stands in for it.
    unsafe { std::mem::transmute(address) }
}

fn freeing(address: *mut c_void) -> unsafe extern "C" fn(*mut c_void) {
    // SAFETY: `free`, or what stands in for it.
    unsafe { std::mem::transmute(address) }
}

#[test]
fn who_looks_the_function_up_is_seen_and_led_back() {
    let _alone = alone();
    let heap = Heap::find().unwrap();
    let own = [looked_up(c"malloc"), looked_up(c"free")];
    heap.begin(1);
    let stand_ins = [looked_up(c"malloc"), looked_up(c"free")];
    heap.end();
    let back = [looked_up(c"malloc"), looked_up(c"free")];
    assert_ne!(own, stand_ins);
    assert_eq!(own, back);
    // Who kept the address of a stand-in goes on calling it, and it does what it should.
    let (malloc, free) = (allocating(stand_ins[0]), freeing(stand_ins[1]));
    let before = counts();
    // SAFETY: a call like any other.
    let block = unsafe { malloc(1 << 20) };
    // SAFETY: its own, freed once.
    unsafe { free(block) };
    assert_eq!(since(before), Counts::default());
}

/// A free that goes past is noticed when the address is handed out again.
#[test]
fn a_free_that_went_past_is_noticed() {
    let _alone = alone();
    let heap = Heap::find().unwrap();
    let hidden = freeing(looked_up(c"free"));
    let before = counts();
    heap.begin(1);
    for _ in 0..100 {
        // SAFETY: a call like any other.
        let block = unsafe { libc::malloc(48) };
        // SAFETY: its own, freed once, past the stand-in.
        unsafe { hidden(block) };
    }
    let found = since(before);
    heap.end();
    assert!(found.frees_unseen >= 95, "{found:?}");
}
