//! Reading what another process decides the length of, without letting it decide how much we read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest command line and environment read, bytes. The kernel's own limit is a few MiB; vLLM's
/// longest, with all options as JSON, has some kilobytes.
pub(super) const LINE_MAX: u64 = 256 << 10;

/// At most `limit` bytes of a file, from its start.
pub(crate) fn at_most(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The words of `/proc/PID/cmdline`; none of a process that is gone or of the kernel.
pub(super) fn words(pid: u32) -> Vec<String> {
    let bytes = at_most(format!("/proc/{pid}/cmdline"), LINE_MAX).unwrap_or_default();
    split(&bytes)
}

/// Empty words are left out: setproctitle leaves zeros behind its title.
pub(super) fn split(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}
