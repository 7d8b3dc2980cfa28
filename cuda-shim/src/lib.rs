//! The library that the CUDA driver loads into a worker (`CUDA_INJECTION64_PATH`).
//!
//! It copies CUPTI's records into a shared ring and samples launch stacks into a probe point.
//! After start-up it does not block, allocate, lock or make a system call in a CUDA callback; it
//! never writes to the host's stdout or stderr, installs no signal handler, is inert in a forked
//! child, and in doubt turns itself off and says why in its stats page.
//!
//! This file holds the door the driver knocks on, and the names of the parts.

mod activity;
mod attendance;
mod bell;
mod boundary;
mod buffers;
mod calls;
mod completion;
mod config;
mod control;
mod cost;
mod cupti;
mod devices;
mod exit;
mod gate;
mod graphs;
mod heap;
mod holding;
mod loader;
mod memory;
mod names;
mod neighbour;
mod plain;
mod probe;
mod records;
mod region;
#[doc(hidden)]
pub mod rehearsal;
mod room;
mod sampling;
mod shim;
mod slots;
mod start;
mod teller;
mod thread_local;

/// Called by an agent that brought this library into a running process, on a thread of that process that it holds up
/// meanwhile: the start, which takes tens of milliseconds, is done beside it. Answers 1 always.
#[unsafe(no_mangle)]
pub extern "C" fn warplens_enter() -> i32 {
    boundary::at_boundary((), start::start_beside);
    1
}

/// Called by the driver inside the first `cuInit`, before it looks for devices. Answers 1 always:
/// a 0 would make the driver call again.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjection() -> i32 {
    boundary::at_boundary((), start::start);
    1
}
