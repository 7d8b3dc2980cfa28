//! What no library offers of ptrace: vector registers and the mask of signals.

use nix::errno::Errno;
use nix::unistd::Pid;

use super::arch::VECTOR_SET;

/// Vector registers as the kernel hands them over, with tiles 11 KiB.
const VECTORS: usize = 32 << 10;

/// Of `linux/ptrace.h`.
const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;
const MASK_BYTES: usize = 8;

pub(super) fn vectors(tid: Pid) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; VECTORS];
    let mut slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes to `iov_base`, which is that long, and says how many.
    let outcome =
        unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid.as_raw(), VECTOR_SET, &raw mut slice) };
    Errno::result(outcome)?;
    bytes.truncate(slice.iov_len);
    Ok(bytes)
}

pub(super) fn set_vectors(tid: Pid, bytes: &[u8]) -> nix::Result<()> {
    let mut slice =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel reads `iov_len` bytes from `iov_base`, which is that long.
    let outcome =
        unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid.as_raw(), VECTOR_SET, &raw mut slice) };
    Errno::result(outcome).map(drop)
}

pub(super) fn signal_mask(tid: Pid) -> nix::Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the kernel writes `MASK_BYTES` bytes to `mask`, which has as many.
    let outcome =
        unsafe { libc::ptrace(PTRACE_GETSIGMASK, tid.as_raw(), MASK_BYTES, &raw mut mask) };
    Errno::result(outcome).map(|_| mask)
}

pub(super) fn set_signal_mask(tid: Pid, mask: u64) -> nix::Result<()> {
    // SAFETY: the kernel reads `MASK_BYTES` bytes from `mask`, which has as many.
    let outcome =
        unsafe { libc::ptrace(PTRACE_SETSIGMASK, tid.as_raw(), MASK_BYTES, &raw const mask) };
    Errno::result(outcome).map(drop)
}
