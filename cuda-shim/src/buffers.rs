//! Activity buffers: a fixed pool with a lock-free free list, and one discard buffer for when it is
//! empty (a null buffer crashes CUPTI before API 27).

use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// 630 kernel records of the shortest kind. Small, because one unfinished kernel holds its buffer back.
pub(crate) const BUFFER_BYTES: usize = 128 << 10;
/// One bit each in the free mask: 8 MiB, 40 000 records under way.
const BUFFERS: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Pool {
    base: NonNull<u8>,
    free: AtomicU64,
}

// SAFETY: buffers are handed out through the atomic mask, one owner each.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// Where a returned buffer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Pool(usize),
    Discard,
    /// Not ours: another client's buffer, or a confused library.
    Foreign,
}

impl Pool {
    /// Maps the pool and the discard buffer; pages come when first touched.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                (BUFFERS + 1) * BUFFER_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, free: AtomicU64::new(u64::MAX) })
    }

    /// A zeroed buffer, or the discard buffer and `false`.
    pub(crate) fn take(&self) -> (*mut u8, bool) {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |mask| {
            (mask != 0).then(|| mask & (mask - 1))
        });
        match taken {
            Ok(mask) => (self.address(mask.trailing_zeros() as usize), true),
            Err(_) => (self.address(BUFFERS), false),
        }
    }

    pub(crate) fn origin(&self, buffer: *const u8) -> Origin {
        let offset = (buffer as usize).wrapping_sub(self.base.as_ptr() as usize);
        match offset / BUFFER_BYTES {
            _ if !offset.is_multiple_of(BUFFER_BYTES) => Origin::Foreign,
            index if index < BUFFERS => Origin::Pool(index),
            BUFFERS => Origin::Discard,
            _ => Origin::Foreign,
        }
    }

    /// Clears the `used` bytes and gives buffer `index` back.
    pub(crate) fn put(&self, index: usize, used: usize) {
        // SAFETY: the buffer is ours until its bit is set again; `used` is cut to its size.
        unsafe { self.address(index).write_bytes(0, used.min(BUFFER_BYTES)) };
        self.free.fetch_or(1 << index, Ordering::AcqRel);
    }

    fn address(&self, index: usize) -> *mut u8 {
        debug_assert!(index <= BUFFERS);
        // SAFETY: the mapping holds BUFFERS + 1 buffers.
        unsafe { self.base.add(index * BUFFER_BYTES) }.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_handed_out_once_then_the_discard_buffer() {
        let pool = Pool::new().unwrap();
        let mut seen: Vec<_> = (0..BUFFERS).map(|_| pool.take()).collect();
        assert!(seen.iter().all(|(_, pooled)| *pooled));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), BUFFERS);
        let (discard, pooled) = pool.take();
        assert!(!pooled);
        assert_eq!(pool.origin(discard), Origin::Discard);
        let Origin::Pool(index) = pool.origin(seen[5].0) else { panic!("not from the pool") };
        pool.put(index, 64);
        assert_eq!(pool.take(), (seen[5].0, true));
    }

    #[test]
    fn buffers_come_back_zeroed() {
        let pool = Pool::new().unwrap();
        let (buffer, _) = pool.take();
        // SAFETY: a pool buffer has BUFFER_BYTES bytes and is ours.
        unsafe { buffer.write_bytes(7, 1000) };
        let Origin::Pool(index) = pool.origin(buffer) else { panic!("not from the pool") };
        pool.put(index, 1000);
        let (again, _) = pool.take();
        assert_eq!(again, buffer);
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(again, 1001) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn foreign_addresses_are_told_apart() {
        let pool = Pool::new().unwrap();
        let (buffer, _) = pool.take();
        assert_eq!(pool.origin(buffer.wrapping_add(8)), Origin::Foreign);
        assert_eq!(pool.origin(std::ptr::null()), Origin::Foreign);
        let past = buffer.wrapping_add((BUFFERS + 1) * BUFFER_BYTES);
        assert_eq!(pool.origin(past), Origin::Foreign);
    }
}
