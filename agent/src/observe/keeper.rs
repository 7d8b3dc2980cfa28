//! A second thread, for when the observing one is held up: by a slow disk under the libraries it reads or the
//! recording it writes. Meanwhile the kernel's buffers are emptied and the shims hear that the agent is there.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::priority::Priority;
use crate::bpf::Intake;
use crate::shim::Pulse;

/// Between two looks. The smallest buffer of the kernel's, of sleeps, holds 13 000; eight busy workers have some
/// thousand a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An observing thread that did not come round for longer does not read the rings either: the shims may sleep.
/// A ring holds 6 s of the fastest worker's records.
const HELD_UP_MAX: Duration = Duration::from_secs(10);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug)]
struct State {
    over: bool,
    turned: Instant,
    pulses: Vec<Pulse>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, intake: Option<&Intake>, priority: &Priority) {
        priority.raise();
        let mut state = self.lock();
        while !state.over {
            let held_up = state.turned.elapsed();
            if (LOOK_EVERY..HELD_UP_MAX).contains(&held_up) {
                state.pulses.retain(Pulse::beat);
            }
            drop(state);
            intake.map(|intake| intake.keep(LOOK_EVERY));
            let again = self.over.wait_timeout(self.lock(), LOOK_EVERY);
            state = again.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Keeper {
    /// Without a thread to be had, whatever the observing one cannot read in time is lost, and counted as such.
    pub(super) fn start(intake: Option<Intake>, priority: Arc<Priority>) -> Self {
        let state = State { over: false, turned: Instant::now(), pulses: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), over: Condvar::new() });
        let kept = Arc::clone(&shared);
        let thread = thread::Builder::new().name("warplens-keeps".to_owned());
        let thread = thread.spawn(move || kept.keep(intake.as_ref(), &priority)).ok();
        Self { shared, thread }
    }

    /// The observing thread came round.
    pub(super) fn turn(&self) {
        self.shared.lock().turned = Instant::now();
    }

    /// Beats for this ring, too, while it is held.
    pub(super) fn add(&self, pulse: Pulse) {
        self.shared.lock().pulses.push(pulse);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.over.notify_one();
        // A panic of it was printed by itself.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
