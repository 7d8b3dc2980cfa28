//! Where the threads of a process sleep when it is met. The kernel programs take a stack when a thread
//! goes to sleep; of these they see the end at most.

use super::{ObserveError, Observer};
use crate::bpf::Bpf;
use crate::observe::clock::now;
use crate::observe::target::{Interest, Target};
use crate::pipeline::Input;
use crate::proc;

/// Threads looked at of one process: a vLLM worker has 50 to 200. Each costs some 20 us.
const THREADS_MAX: usize = 512;

impl Observer {
    /// Hands on the stacks of threads that slept before the process was watched.
    pub(super) fn look_into_sleepers(&mut self, target: &Target) -> Result<(), ObserveError> {
        if !self.wants_stacks()
            || target.interest != Interest::Selected
            || !self.bpf.as_ref().is_some_and(Bpf::tells_threads)
        {
            return Ok(());
        }
        let pid = target.pid;
        for tid in proc::threads(pid).into_iter().take(THREADS_MAX) {
            let slept = |bpf: &Option<Bpf>| bpf.as_ref().is_some_and(|bpf| bpf.slept_before(tid));
            if !slept(&self.bpf) {
                continue;
            }
            let stack = self.maker.sleeper(pid, tid, now().0);
            // It is the same sleep, so what was read is where it is.
            if let Some(event) = stack.filter(|_| slept(&self.bpf)) {
                self.feed(Input::KernelEvent(event))?;
            }
        }
        Ok(())
    }
}
