//! One launch and one wait per call, where a trace shows several records of it.
//!
//! The runtime calls the driver, and CUPTI records a synchronisation beside its call. Events come
//! in order of time here, so the outermost comes first.

use std::collections::HashMap;

use analysis::event::{Event, Launch, Sync};
use analysis::ids::{Correlation, Ns};

use super::convert::UNKNOWN_THREAD;

/// Threads whose last launch is remembered. A worker has some hundred; beyond that an inner call
/// may be told beside its outer one.
const THREADS: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Once {
    /// Per thread: the last launch call.
    launches: HashMap<u32, (Correlation, Ns)>,
    /// Until when a call is known to wait.
    waiting: Ns,
    /// Until when a blocking call of each thread lasts.
    waits: HashMap<u32, Ns>,
}

impl Once {
    /// Whether `event` is to be fed.
    pub(super) fn admits(&mut self, event: &Event) -> bool {
        match event {
            Event::Launch(launch) => self.launch(launch),
            Event::Sync(sync) => self.sync(sync),
            _ => true,
        }
    }

    fn launch(&mut self, launch: &Launch) -> bool {
        let known = self.launches.get(&launch.thread);
        let inner = known.is_some_and(|&(correlation, exit)| {
            correlation == launch.correlation && launch.enter <= exit
        });
        if !inner && (self.launches.len() < THREADS || known.is_some()) {
            let exit = launch.exit.unwrap_or(launch.enter);
            self.launches.insert(launch.thread, (launch.correlation, exit));
        }
        !inner
    }

    fn sync(&mut self, sync: &Sync) -> bool {
        if sync.thread == UNKNOWN_THREAD {
            return sync.enter > self.waiting;
        }
        let known = self.waits.get(&sync.thread).copied();
        let inner = known.is_some_and(|until| sync.exit <= until);
        if !inner {
            self.waiting = self.waiting.max(sync.exit);
            if self.waits.len() < THREADS || known.is_some() {
                self.waits.insert(sync.thread, sync.exit);
            }
        }
        !inner
    }
}
