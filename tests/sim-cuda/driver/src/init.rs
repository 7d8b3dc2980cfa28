//! `cuInit`: injection first, devices second, exactly in the order the real driver was measured to have.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sim_channel::callback::resource;
use sim_channel::find::Library;
use sim_channel::{State, lock};

use crate::error::{Cu, INVALID_VALUE, NO_DEVICE, NOT_INITIALIZED};
use crate::{config, fork, resource as callbacks, truth};

static STATE: AtomicU32 = AtomicU32::new(State::Before as u32);
/// `InitializeInjection` returned something other than 0: it is never called again.
static INJECTED: AtomicBool = AtomicBool::new(false);
static INIT: Mutex<()> = Mutex::new(());

thread_local! {
    static INJECTING: Cell<bool> = const { Cell::new(false) };
}

/// Where the driver stands.
pub(crate) fn state() -> State {
    if fork::forked() {
        return State::Forked;
    }
    match STATE.load(Ordering::Acquire) {
        1 => State::Injecting,
        2 => State::Ready,
        3 => State::NoDevice,
        _ => State::Before,
    }
}

/// Whether ordinary calls may go on.
pub(crate) fn check() -> Cu {
    match state() {
        State::Ready | State::Injecting => Ok(()),
        State::Before | State::NoDevice | State::Forked => Err(NOT_INITIALIZED),
    }
}

/// `cuInit`.
pub(crate) fn initialize(flags: u32) -> Cu {
    if state() == State::Forked {
        return Err(NOT_INITIALIZED);
    }
    if flags != 0 {
        return Err(INVALID_VALUE);
    }
    // A call from inside `InitializeInjection` goes straight to the devices: the real driver answers
    // it without deadlock.
    if INJECTING.get() {
        return discover();
    }
    let first = {
        let _turn = lock(&INIT);
        fork::mark();
        let before = state() == State::Before;
        if before {
            STATE.store(stage(State::Injecting), Ordering::Release);
        }
        inject();
        if before {
            STATE.store(stage(State::Ready), Ordering::Release);
            if !config::get().visible.is_empty() {
                truth::start();
            }
        }
        before
    };
    discover()?;
    if first {
        callbacks::plain(resource::CU_INIT_FINISHED, 0, 0);
    }
    Ok(())
}

/// The state to be in, or `NoDevice` where there is none.
fn stage(with_devices: State) -> u32 {
    if config::get().visible.is_empty() { State::NoDevice as u32 } else { with_devices as u32 }
}

fn discover() -> Cu {
    if config::get().visible.is_empty() { Err(NO_DEVICE) } else { Ok(()) }
}

/// Loads the library that `CUDA_INJECTION64_PATH` names and calls its entry point. A missing file or
/// symbol is ignored in silence; an answer of 0 means that the next `cuInit` asks again.
fn inject() {
    if INJECTED.load(Ordering::Acquire) {
        return;
    }
    let Some(path) = std::env::var("CUDA_INJECTION64_PATH").ok().filter(|path| !path.is_empty())
    else {
        return;
    };
    let Ok(path) = CString::new(path) else { return };
    let Some(library) = Library::open(&path, libc::RTLD_NOW) else {
        return;
    };
    let Some(symbol) = library.symbol(c"InitializeInjection") else {
        return;
    };
    // SAFETY: the interface of CUDA_INJECTION64_PATH fixes this signature for this name.
    let initialize =
        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> i32>(symbol) };
    INJECTING.set(true);
    let answer = initialize();
    INJECTING.set(false);
    if answer != 0 {
        INJECTED.store(true, Ordering::Release);
    }
}
