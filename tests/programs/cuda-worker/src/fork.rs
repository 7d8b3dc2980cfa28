//! Forks after cuInit, as a careless host does: CUDA is unusable in the child, and must say so.

use anyhow::{Context as _, Result};
use cudarc::driver::{result, sys};
use serde::Serialize;

use crate::client::Client;

/// What the child found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// Every CUDA call in the child answered with an error.
    pub(crate) refused: bool,
    pub(crate) exit_status: i32,
}

/// Forks; the child asks CUDA for memory and exits. Waits for it.
pub(crate) fn child_launch(client: &Client) -> Result<Child> {
    client.context().bind_to_thread().context("bind the context before the fork")?;
    // SAFETY: no thread of this program exists yet; the child makes CUDA calls, which the
    // driver must refuse, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: the driver answers an error in a forked child; a result is never used.
        let memory = unsafe { result::malloc_sync(4096) };
        // SAFETY: no argument; only the answer is looked at.
        let synchronized = unsafe { sys::cuCtxSynchronize() };
        let refused = memory.is_err() && synchronized.result().is_err();
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    anyhow::ensure!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: `pid` is our child, `status` a live local.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    anyhow::ensure!(waited == pid, "wait for the child: {}", std::io::Error::last_os_error());
    let exit_status = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -status };
    Ok(Child { pid, refused: exit_status == 0, exit_status })
}
