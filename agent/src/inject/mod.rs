//! The shim brought into a process that was started without it.
//!
//! One thread of the process, asleep at a place where it holds no lock that loading a library takes
//! ([`place`]), is stopped for some milliseconds and calls in its own name: it makes a file in memory, which is
//! filled from outside, loads it, and knocks at its door. Then everything is put back, and it goes on with what it
//! was doing. No file is needed in the process's own mounts.

mod error;
mod library;
mod place;
#[expect(unsafe_code, reason = "requests of ptrace that no library offers")]
mod raw;
mod tracee;

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::proc::{self, Blocked, Mapping};
use crate::shim::library_with;
use crate::unwind::Unwinder;
use wire::shim::PROBE_SYMBOL;

pub use error::InjectError;
use library::Library;
use tracee::Tracee;

/// What the CUDA driver calls in a library it loads.
const DOOR: &[u8] = b"InitializeInjection\0";

/// Name of the file in memory, as `/proc/PID/maps` shows it.
const FILE: &[u8] = b"libwarplens_cuda.so\0";

/// Of `linux/memfd.h`: closed on exec; may be executed, which kernels before 6.3 do not know.
const MFD_CLOEXEC: u64 = 1;
const MFD_EXEC: u64 = 0x10;

/// `RTLD_NOW | RTLD_NODELETE`: complete or not at all, and never unloaded, as it has threads.
const RTLD: u64 = 2 | 0x1000;

/// How long to look for a thread at a safe place, and what a stop may take beside loading the library.
const LOOK: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(2);
/// Loading the library: reading it, relocating it, and its start, which asks CUPTI.
const LOAD: Duration = Duration::from_secs(20);
/// Between two looks at all threads.
const PAUSE: Duration = Duration::from_millis(10);

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The thread that was stopped, and for how long.
    pub tid: u32,
    pub stopped: Duration,
}

/// Brings `shim`, the bytes of a library, into a running process.
///
/// # Errors
/// Where the process is not there or not ours, has the shim, has no CUDA driver, cannot be entered, or refuses; it goes
/// on as it was.
pub fn inject(pid: u32, shim: &[u8]) -> Result<Injected, InjectError> {
    // Its first thread may be the one that launches: any other comes first.
    inject_through(pid, shim, |tid| tid != pid).or_else(|error| match error {
        InjectError::NoSafeThread { .. } => inject_through(pid, shim, |tid| tid == pid),
        other => Err(other),
    })
}

/// As [`inject`], through one of these threads.
pub fn inject_through(
    pid: u32,
    shim: &[u8],
    of: impl Fn(u32) -> bool,
) -> Result<Injected, InjectError> {
    let mappings = proc::maps(pid).map_err(|source| InjectError::Process { pid, source })?;
    if let Ok(Some(library)) = library_with(pid, PROBE_SYMBOL, "libwarplens") {
        return Err(InjectError::Present { pid, library: library.display().to_string() });
    }
    if !mappings.iter().any(|map| map.executable && map.file_name().starts_with("libcuda.so")) {
        return Err(InjectError::NoDriver { pid });
    }
    let library = Library::of(pid, &mappings)?;
    let tracee = stop(pid, &mappings, of)?;
    enter(&tracee, &library, pid, shim)?;
    Ok(Injected { tid: tracee.tid(), stopped: tracee.stopped() })
}

/// A thread at a safe place, stopped and prepared for calls.
fn stop(pid: u32, mappings: &[Mapping], of: impl Fn(u32) -> bool) -> Result<Tracee, InjectError> {
    let mut unwinder = Unwinder::new();
    let begin = Instant::now();
    let mut looked = 0;
    while begin.elapsed() < LOOK {
        let threads = proc::threads(pid);
        if threads.is_empty() {
            return Err(InjectError::Ended { pid });
        }
        for tid in threads.into_iter().filter(|&tid| of(tid) && may_be_safe(pid, tid)) {
            looked += 1;
            let Some(mut tracee) = Tracee::stop(pid, tid, Instant::now() + STOP)? else {
                continue;
            };
            let registers = tracee.registers()?;
            if let Some(resumed) = place::safe(&tracee, pid, &registers, mappings, &mut unwinder) {
                tracee.prepare(resumed)?;
                return Ok(tracee);
            }
        }
        std::thread::sleep(PAUSE);
    }
    Err(InjectError::NoSafeThread { pid, within: LOOK, looked })
}

/// What can be told without stopping the thread.
fn may_be_safe(pid: u32, tid: u32) -> bool {
    Blocked::read(pid, tid).is_some_and(|Blocked { syscall, arguments, .. }| {
        u64::try_from(syscall).is_ok_and(|number| place::waits_in(number, arguments[1]))
    })
}

fn enter(tracee: &Tracee, library: &Library, pid: u32, shim: &[u8]) -> Result<(), InjectError> {
    let until = Instant::now() + LOAD;
    let call = |what, function, arguments: &[Option<u64>], text: &[u8]| {
        tracee.call(what, function, arguments, text, library.trap, until)
    };
    let make = |flags| call("memfd_create", library.memfd_create, &[None, Some(flags)], FILE);
    // An `int`: the upper half of the register may be anything.
    let descriptor = |answer: u64| i32::try_from(answer & 0xffff_ffff).ok();
    let mut file = descriptor(make(MFD_CLOEXEC | MFD_EXEC)?);
    if file.is_none() {
        file = descriptor(make(MFD_CLOEXEC)?);
    }
    let refused =
        |what, answer: &str| InjectError::Refused { pid, what, answer: answer.to_owned() };
    let file =
        file.ok_or_else(|| refused("memfd_create", "an error: a seccomp filter, perhaps"))?;
    let filled = fs::File::options()
        .write(true)
        .open(format!("/proc/{pid}/fd/{file}"))
        .and_then(|mut copy| copy.write_all(shim));
    let loaded = match filled {
        // The path is no other library's: the loader tells them apart by their paths, too.
        Ok(()) => {
            let path = format!("/proc/self/./fd/{file}\0");
            call("dlopen", library.dlopen, &[None, Some(RTLD)], path.as_bytes())
        }
        Err(source) => Err(InjectError::Trace { pid, what: "fill a file in memory", source }),
    };
    let closed = call("close", library.close, &[Some(u64::from(file.cast_unsigned()))], &[]);
    let handle = loaded?;
    closed?;
    if handle == 0 {
        let text = call("dlerror", library.dlerror, &[], &[])?;
        let bytes = tracee.read(text, 512);
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        return Err(refused("dlopen", &String::from_utf8_lossy(text)));
    }
    let door = call("dlsym", library.dlsym, &[Some(handle), None], DOOR)?;
    if door == 0 {
        return Err(refused("dlsym", "nothing: the library is not the shim"));
    }
    call("InitializeInjection", door, &[], &[]).map(drop)
}
