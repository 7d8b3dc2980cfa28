//! The shim brought into a process that was started without it.
//!
//! A thread of the process, asleep at a place where it holds no lock that loading a library takes ([`place`]), is
//! stopped and sent through code of ours ([`arch`]), which lies in the unused end of a library's last page
//! ([`cave`]): it makes the calls that it finds in a piece of memory ([`room`]), puts everything back by itself,
//! and goes on with what it was doing. So it is sent three times the first time: to map that memory; to make a
//! file in memory, which is filled from outside meanwhile; and to load it and knock at its door. No file is
//! needed in the process's own mounts, and an agent that is killed at any instant takes nothing with it.

mod arch;
mod cave;
mod error;
mod image;
mod library;
mod memory;
mod outcome;
mod place;
#[expect(unsafe_code, reason = "requests of ptrace that no library offers")]
mod raw;
mod room;
mod tracee;
mod visit;

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::proc::Mapping;
use crate::shim::library_with;
use wire::shim::PROBE_SYMBOL;

pub use error::InjectError;
use image::Image;
use library::Library;
pub use outcome::Outcome;
use room::{First, Function, When};
use visit::Visit;

/// What is called in the library that was brought in: it starts beside the thread that calls it, which is held up for
/// as long as the call takes.
const DOOR: &[u8] = b"warplens_enter\0";

/// What the CUDA driver calls in a library it loads: the door of a shim that has no other.
const DRIVERS_DOOR: &[u8] = b"InitializeInjection\0";

/// Name of the file in memory, as `/proc/PID/maps` shows it.
const FILE: &[u8] = b"libwarplens_cuda.so\0";

/// Of `linux/memfd.h`: closed on exec; may be executed, which kernels before 6.3 do not know.
const MFD_CLOEXEC: u64 = 1;
const MFD_EXEC: u64 = 0x10;

/// `RTLD_NOW | RTLD_NODELETE`: complete or not at all, and never unloaded, as it has threads.
const RTLD: u64 = 2 | 0x1000;

/// Loading the library: reading it, relocating it, and its start, which asks CUPTI.
const LOAD: Duration = Duration::from_secs(20);

/// How long to try, and how often, while a process starts or turns into another program.
const START: Duration = Duration::from_secs(2);
const START_PAUSE: Duration = Duration::from_millis(20);

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// The thread that was stopped last.
    pub tid: u32,
    /// How often a thread was stopped.
    pub stops: u32,
    /// The longest stop, from the request until the thread was through.
    pub stopped: Duration,
}

/// Brings `shim`, the bytes of a library, into a running process that uses CUDA.
///
/// # Errors
/// Where the process is not there or not ours, has the shim, has no CUDA driver, cannot be entered, or refuses; it goes
/// on as it was.
pub fn inject(pid: u32, shim: &[u8]) -> Result<Injected, InjectError> {
    inject_through(pid, shim, |_tid| true)
}

/// As [`inject`], into any process: of one without CUDA the heap can be sampled.
///
/// # Errors
/// As [`inject`], but that it has no CUDA driver.
pub fn inject_any(pid: u32, shim: &[u8]) -> Result<Injected, InjectError> {
    entered(pid, |image| bring(pid, shim, image, |_tid| true))
}

/// As [`inject`], through these threads.
pub fn inject_through(
    pid: u32,
    shim: &[u8],
    of: impl Fn(u32) -> bool,
) -> Result<Injected, InjectError> {
    entered(pid, |image| {
        if !image.mappings.iter().any(is_driver) {
            return Err(InjectError::NoDriver { pid });
        }
        bring(pid, shim, image, &of)
    })
}

fn is_driver(mapping: &Mapping) -> bool {
    mapping.executable && mapping.file_name().starts_with("libcuda.so")
}

/// What `enter` comes to with the program that the process executes. It may be about to become another: a script that
/// starts a server, before it is the server.
fn entered<T>(
    pid: u32,
    enter: impl Fn(&Image) -> Result<T, InjectError>,
) -> Result<T, InjectError> {
    let begin = Instant::now();
    loop {
        let image = Image::of(pid)?;
        match enter(&image) {
            Err(_) if image.is_changing() => {}
            outcome => return outcome,
        }
        if begin.elapsed() >= START {
            return Err(InjectError::Another { pid });
        }
        std::thread::sleep(START_PAUSE);
    }
}

/// Brings the library into a process that does not have it.
fn bring(
    pid: u32,
    shim: &[u8],
    image: &Image,
    of: impl Fn(u32) -> bool,
) -> Result<Injected, InjectError> {
    if let Ok(Some(library)) = library_with(pid, PROBE_SYMBOL, "libwarplens") {
        return Err(InjectError::Present { pid, library: library.display().to_string() });
    }
    let library = Library::of(pid, &image.mappings)?;
    let mut visit = Visit::begin(pid, image, of)?;
    let file = make_file(&mut visit, &library, pid)?;
    let path = format!("/proc/{pid}/fd/{file}");
    let filled =
        fs::File::options().write(true).open(path).and_then(|mut copy| copy.write_all(shim));
    match filled {
        Ok(()) => load(&mut visit, &library, pid, file, door(shim))?,
        Err(source) => {
            visit.run("close", Instant::now() + LOAD, |order| {
                let file = First::Value(u64::from(file));
                order.call(When::Always, Function::At(library.close), file, 0)
            })?;
            return Err(InjectError::Trace { pid, what: "fill a file in memory", source });
        }
    }
    Ok(visit.end())
}

/// Sends a thread of a running process through everything but calls: whether it can be entered at all, without
/// bringing anything in.
///
/// # Errors
/// As [`inject`].
pub fn rehearse(pid: u32, of: impl Fn(u32) -> bool) -> Result<Injected, InjectError> {
    entered(pid, |image| {
        let mut visit = Visit::begin(pid, image, &of)?;
        visit.run("a rehearsal", Instant::now() + LOAD, |_order| ())?;
        Ok(visit.end())
    })
}

/// A file in the process's memory; its descriptor there.
fn make_file(
    visit: &mut Visit<'_, impl Fn(u32) -> bool>,
    library: &Library,
    pid: u32,
) -> Result<u32, InjectError> {
    let make = |visit: &mut Visit<'_, _>, flags| {
        let (answers, file) = visit.run("memfd_create", Instant::now() + LOAD, |order| {
            let make = Function::At(library.memfd_create);
            order.call(When::Always, make, First::Text(FILE), flags)
        })?;
        // An `int`: the upper half of the register may be anything.
        let descriptor = i32::try_from(answers.of(file) & 0xffff_ffff).ok();
        Ok(descriptor.and_then(|descriptor| u32::try_from(descriptor).ok()))
    };
    let mut file = make(visit, MFD_CLOEXEC | MFD_EXEC)?;
    if file.is_none() {
        file = make(visit, MFD_CLOEXEC)?;
    }
    file.ok_or_else(|| InjectError::Refused {
        pid,
        what: "memfd_create",
        answer: "an error: a seccomp filter, perhaps".to_owned(),
    })
}

/// The door of this library.
fn door(shim: &[u8]) -> &'static [u8] {
    let has_ours = shim.windows(DOOR.len()).any(|bytes| bytes == DOOR);
    if has_ours { DOOR } else { DRIVERS_DOOR }
}

/// Loads the file, closes it, and knocks at the library's door.
fn load(
    visit: &mut Visit<'_, impl Fn(u32) -> bool>,
    library: &Library,
    pid: u32,
    file: u32,
    door: &[u8],
) -> Result<(), InjectError> {
    // The path is no other library's: the loader tells them apart by their paths, too.
    let path = format!("/proc/self/./fd/{file}\0");
    let (answers, (handle, why, door)) = visit.run("dlopen", Instant::now() + LOAD, |order| {
        let at = Function::At;
        let text = First::Text(path.as_bytes());
        let handle = order.call(When::Always, at(library.dlopen), text, RTLD);
        let why = order.call(When::Unless(handle), at(library.dlerror), First::Value(0), 0);
        order.call(When::Always, at(library.close), First::Value(u64::from(file)), 0);
        let name = order.text(door);
        let door = order.call(When::If(handle), at(library.dlsym), First::Of(handle), name);
        order.call(When::If(door), Function::Of(door), First::Value(0), 0);
        (handle, why, door)
    })?;
    let refused = |what, answer: String| Err(InjectError::Refused { pid, what, answer });
    if answers.of(handle) == 0 {
        let bytes = visit.read(answers.of(why), 512);
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        return refused("dlopen", String::from_utf8_lossy(text).into_owned());
    }
    if answers.of(door) == 0 {
        return refused("dlsym", "nothing: the library is not the shim".to_owned());
    }
    Ok(())
}
