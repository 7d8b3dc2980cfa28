//! CUPTI's own thread: fills buffers as work ends and hands full ones back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

use sim_channel::lock;

use crate::delivery::{self, Extent};

/// How often it looks while work is out: often enough that a 1 MiB buffer of 25 000 records/s never
/// backs up, seldom enough to be cheap.
const PERIOD: Duration = Duration::from_millis(5);

static STARTED: Once = Once::new();
static ASLEEP: AtomicBool = AtomicBool::new(false);
static TURN: Mutex<()> = Mutex::new(());
static WOKEN: Condvar = Condvar::new();

/// Starts the thread, once.
pub(crate) fn start() {
    STARTED.call_once(|| {
        // Without it full buffers still come back with every flush.
        drop(std::thread::Builder::new().name("cupti-worker".to_owned()).spawn(work));
    });
}

/// Wakes it when there is something to do again.
pub(crate) fn wake() {
    if ASLEEP.load(Ordering::Acquire) {
        let _turn = lock(&TURN);
        ASLEEP.store(false, Ordering::Release);
        WOKEN.notify_one();
    }
}

fn work() {
    loop {
        if delivery::anything_waits() {
            std::thread::sleep(PERIOD);
            // Only refused inside a callback, which this thread is not in here.
            delivery::run(Extent::Full).unwrap_or_default();
            continue;
        }
        let mut turn = lock(&TURN);
        ASLEEP.store(true, Ordering::Release);
        while ASLEEP.load(Ordering::Acquire) && !delivery::anything_waits() {
            turn = WOKEN
                .wait_timeout(turn, Duration::from_secs(1))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        ASLEEP.store(false, Ordering::Release);
    }
}
