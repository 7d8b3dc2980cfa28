//! The process's exit: the control thread must not be inside CUPTI while exit handlers take the
//! driver apart, and what was recorded must not be lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::Duration;

use crate::bell;
use crate::boundary::at_boundary;
use crate::control::Control;
use crate::gate::ALIVE;
use crate::shim::Shim;
use crate::thread_local;

/// The level machine; whoever holds the lock may call CUPTI.
static CONTROL: Mutex<Option<Control>> = Mutex::new(None);
static EXITING: AtomicBool = AtomicBool::new(false);

/// A turn takes milliseconds; a stuck one must not keep the process from ending.
const PATIENCE: Duration = Duration::from_millis(300);

/// Gives the level machine to its thread and registers the exit handler.
pub(crate) fn adopt(control: Control) {
    if let Ok(mut slot) = CONTROL.lock() {
        *slot = Some(control);
    }
    // SAFETY: the handler is a plain function that catches its panics. Should registration fail,
    // the last records of the process stay with CUPTI.
    let _full = unsafe { libc::atexit(at_exit) };
}

/// Body of the control thread.
pub(crate) fn run() {
    loop {
        if EXITING.load(Ordering::Acquire) {
            return;
        }
        let sleep = match CONTROL.lock() {
            Ok(mut slot) => match slot.as_mut() {
                Some(control) if !EXITING.load(Ordering::Acquire) => control.turn(),
                _ => return,
            },
            // A turn panicked: the gate is closed and stays so.
            Err(_) => return bell::close(),
        };
        bell::sleep(sleep);
    }
}

extern "C" fn at_exit() {
    at_boundary((), || {
        // In a forked child the gate's page was wiped: the lock may be held for ever there.
        if !Shim::get().is_some_and(|shim| shim.gate.has(ALIVE)) {
            return;
        }
        EXITING.store(true, Ordering::Release);
        bell::close();
        // Exiting from inside a CUDA call, as a signal handler may: this thread can hold locks that
        // a flush would wait for. The last turn's records stay with CUPTI.
        if thread_local::current().open.get() != 0 {
            return close();
        }
        let tries = PATIENCE.as_millis() / 5;
        for _ in 0..tries {
            match CONTROL.try_lock() {
                Ok(mut slot) => {
                    if let Some(control) = slot.as_mut() {
                        control.finish();
                    }
                    *slot = None;
                    return;
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
                // A turn panicked: its state is not to be trusted.
                Err(TryLockError::Poisoned(_)) => break,
            }
        }
        close();
    });
}

fn close() {
    if let Some(shim) = Shim::get() {
        shim.gate.close();
    }
}
