//! Knows whether this process is a child of one that had called `cuInit`, however it was forked.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

const PAGE: usize = 4096;

/// A word the kernel clears in every forked child (`MADV_WIPEONFORK`).
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// Remembers that this process uses the driver.
pub(crate) fn mark() {
    if word().is_some() {
        return;
    }
    // SAFETY: a fresh anonymous mapping of one page; no existing memory is involved.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return;
    }
    // SAFETY: `page` is the mapping made above, owned by nobody else.
    unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) };
    WORD.store(page.cast(), Ordering::Release);
    if let Some(word) = word() {
        word.store(1, Ordering::Release);
    }
}

/// Whether the driver's state here is only a copy of a parent's.
pub(crate) fn forked() -> bool {
    word().is_some_and(|word| word.load(Ordering::Relaxed) == 0)
}

fn word() -> Option<&'static AtomicU32> {
    let word = WORD.load(Ordering::Acquire);
    // SAFETY: null, or the start of a page that `mark` mapped and nobody unmaps; an all-zero page is
    // a valid AtomicU32.
    unsafe { word.as_ref() }
}
