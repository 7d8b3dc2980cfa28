//! The process's exit: the control thread must not be inside CUPTI while exit handlers take the
//! driver apart, and what was recorded must not be lost.

mod first;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::Duration;

pub(crate) use first::First;

use crate::bell;
use crate::boundary::at_boundary;
use crate::gate::ALIVE;
use crate::teller::Teller;
use crate::thread_local;

/// What the shim's own thread does.
pub(crate) trait Machine: Send {
    /// One turn: reads the control page and does what it asks for. Returns how long to sleep.
    fn turn(&mut self) -> Duration;

    /// The last turn, at the process's exit.
    fn finish(&mut self);
}

/// The machine; whoever holds the lock may call CUPTI.
static MACHINE: Mutex<Option<Box<dyn Machine>>> = Mutex::new(None);
static EXITING: AtomicBool = AtomicBool::new(false);

/// The process in which a thread is starting the shim; 0: none. A forked child has another number, and no such thread.
static STARTING: AtomicU32 = AtomicU32::new(0);

/// A turn takes milliseconds, and so does a start; a stuck one must not keep the process from ending.
const PATIENCE: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(5);

fn tries() -> u128 {
    PATIENCE.as_millis() / STEP.as_millis()
}

/// Gives the machine to its thread and registers the exit handler.
pub(crate) fn adopt(machine: Box<dyn Machine>) {
    if let Ok(mut slot) = MACHINE.lock() {
        *slot = Some(machine);
    }
    // SAFETY: the handler is a plain function that catches its panics. Should registration fail,
    // the last records of the process stay with CUPTI.
    let _full = unsafe { libc::atexit(at_exit) };
}

/// A thread is about to start the shim: should the process exit meanwhile, it waits.
pub(crate) fn begin_start() {
    STARTING.store(std::process::id(), Ordering::Release);
    // SAFETY: as in `adopt`; without it an exit does not wait.
    let _full = unsafe { libc::atexit(wait_for_start) };
}

pub(crate) fn end_start() {
    STARTING.store(0, Ordering::Release);
}

extern "C" fn wait_for_start() {
    at_boundary((), || {
        for _ in 0..tries() {
            if STARTING.load(Ordering::Acquire) != std::process::id() {
                return;
            }
            thread::sleep(STEP);
        }
    });
}

/// Body of the control thread.
pub(crate) fn run() {
    loop {
        if EXITING.load(Ordering::Acquire) {
            return;
        }
        let sleep = match MACHINE.lock() {
            Ok(mut slot) => match slot.as_mut() {
                Some(machine) if !EXITING.load(Ordering::Acquire) => machine.turn(),
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
        if !Teller::get().is_some_and(|teller| teller.gate.has(ALIVE)) {
            return;
        }
        EXITING.store(true, Ordering::Release);
        bell::close();
        // Exiting from inside a CUDA call, as a signal handler may: this thread can hold locks that
        // a flush would wait for. The last turn's records stay with CUPTI.
        if thread_local::current().open.get() != 0 {
            return close();
        }
        for _ in 0..tries() {
            match MACHINE.try_lock() {
                Ok(mut slot) => {
                    if let Some(machine) = slot.as_mut() {
                        machine.finish();
                    }
                    *slot = None;
                    return;
                }
                Err(TryLockError::WouldBlock) => thread::sleep(STEP),
                // A turn panicked: its state is not to be trusted.
                Err(TryLockError::Poisoned(_)) => break,
            }
        }
        close();
    });
}

fn close() {
    if let Some(teller) = Teller::get() {
        teller.gate.close();
    }
}
