//! Loading, decoding, and a library to probe.

use std::ffi::{CStr, CString, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use warplens::bpf::Bpf;
use warplens::bpf::host::Host;
use wire::kernel::{ProcessEvent, StackEvent, WaitEvent, event_kind};
use zerocopy::FromBytes;

/// Long enough for any scheduler; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The programs, or `None` after saying why they cannot be had here.
pub(crate) fn load() -> Option<Bpf> {
    load_with_ring(wire::limits::RING_BYTES)
}

pub(crate) fn load_with_ring(ring_bytes: u32) -> Option<Bpf> {
    let obstacles: Vec<String> =
        Host::read().features().into_iter().filter_map(|feature| feature.obstacle).collect();
    if let Some(obstacle) = obstacles.first() {
        println!("SKIP bpf: {obstacle}");
        return None;
    }
    let bpf = Bpf::load_with_ring(ring_bytes).expect("this host has what it takes");
    assert!(bpf.missing().is_empty(), "{:?}", bpf.missing());
    Some(bpf)
}

/// An event as the kernel programs wrote it.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Stack(Box<StackEvent>),
    Process(ProcessEvent),
    Wait(WaitEvent),
}

pub(crate) fn decode(bytes: &[u8]) -> Event {
    let (kind, _) = u32::read_from_prefix(bytes).expect("an event starts with its kind");
    match kind {
        event_kind::LAUNCH_STACK | event_kind::CPU_SAMPLE => Event::Stack(Box::new(
            StackEvent::read_from_bytes(bytes).expect("a stack event's length"),
        )),
        event_kind::EXEC | event_kind::EXIT => {
            Event::Process(ProcessEvent::read_from_bytes(bytes).expect("a process event's length"))
        }
        event_kind::WAIT => {
            Event::Wait(WaitEvent::read_from_bytes(bytes).expect("a wait event's length"))
        }
        other => panic!("unknown event kind {other}"),
    }
}

/// Everything that waits in the ring buffer.
pub(crate) fn drain(bpf: &mut Bpf) -> Vec<Event> {
    let mut events = Vec::new();
    while bpf.poll(|bytes| events.push(decode(bytes))) > 0 {}
    events
}

pub(crate) fn stacks(events: &[Event], kind: u32) -> Vec<&StackEvent> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Stack(stack) if stack.kind == kind => Some(&**stack),
            Event::Stack(_) | Event::Process(_) | Event::Wait(_) => None,
        })
        .collect()
}

/// Collects events until `done` says so of all that came, or panics.
pub(crate) fn wait_for(
    bpf: &mut Bpf,
    what: &str,
    mut done: impl FnMut(&[Event]) -> bool,
) -> Vec<Event> {
    let start = Instant::now();
    let mut events = Vec::new();
    loop {
        events.extend(drain(bpf));
        if done(&events) {
            return events;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "no {what} within {PATIENCE:?}; saw {} events",
            events.len()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where `address` lies: a path that reaches the mapped file whatever became of its name, and the
/// offset in it.
pub(crate) fn locate(address: usize) -> (PathBuf, u64) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let range = fields.next()?;
            let (start, end) = range.split_once('-')?;
            let offset = fields.nth(1)?;
            let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
            (hex(start)..hex(end)).contains(&address).then(|| {
                let path = format!("/proc/{}/map_files/{range}", std::process::id());
                (PathBuf::from(path), (address - hex(start) + hex(offset)) as u64)
            })
        })
        .expect("every function is mapped")
}

/// A shared library compiled for a test and loaded into this process.
pub(crate) struct Library {
    /// A handle of dlopen, as a number so that threads may share it.
    handle: usize,
}

impl Library {
    /// Compiles C `source` to `DIR/NAME`.
    pub(crate) fn compile(dir: &Path, name: &str, source: &str) -> PathBuf {
        let (input, output) = (dir.join("source.c"), dir.join(name));
        fs::write(&input, source).unwrap();
        let status = Command::new("cc")
            .args([
                "-O2",
                "-shared",
                "-fPIC",
                "-fcf-protection=none",
                "-fno-omit-frame-pointer",
                "-o",
            ])
            .arg(&output)
            .arg(&input)
            .status()
            .expect("the C compiler that links Rust programs");
        assert!(status.success());
        output
    }

    pub(crate) fn open(path: &Path) -> Self {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the tests' own libraries have no constructors.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "dlopen {path:?}");
        Self { handle: handle as usize }
    }

    pub(crate) fn address(&self, symbol: &CStr) -> usize {
        // SAFETY: the handle came from dlopen and is never closed.
        let address = unsafe { libc::dlsym(self.handle as *mut c_void, symbol.as_ptr()) };
        assert!(!address.is_null(), "no {symbol:?}");
        address as usize
    }
}
