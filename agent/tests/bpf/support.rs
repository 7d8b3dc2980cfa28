//! Loading, decoding, and a library to probe.

use std::ffi::{CStr, CString, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use warplens::bpf::host::Host;
use warplens::bpf::{Bpf, Setup};
use wire::kernel::{ProcessEvent, PythonFrame, StackCopy, WaitEvent, event_kind};
use zerocopy::FromBytes;

/// Long enough for any scheduler; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The programs, or `None` after saying why they cannot be had here.
pub(crate) fn load() -> Option<Bpf> {
    load_with(Setup::default())
}

/// [`load`], where no more than these features of `doctor` are needed.
pub(crate) fn load_for(needed: &[&str]) -> Option<Bpf> {
    let features = Host::read().features();
    let obstacle = features
        .iter()
        .filter(|feature| needed.contains(&feature.probe.feature()))
        .find_map(|feature| feature.obstacle.as_ref());
    if let Some(obstacle) = obstacle {
        println!("SKIP bpf: {obstacle}");
        return None;
    }
    let bpf = Bpf::load().expect("this host has what it takes");
    // What is missing is known to be.
    let known = features.iter().filter(|feature| feature.obstacle.is_some()).count();
    assert!(bpf.missing().len() <= known, "{:?}", bpf.missing());
    Some(bpf)
}

pub(crate) fn load_with(setup: Setup) -> Option<Bpf> {
    let obstacles: Vec<String> =
        Host::read().features().into_iter().filter_map(|feature| feature.obstacle).collect();
    if let Some(obstacle) = obstacles.first() {
        println!("SKIP bpf: {obstacle}");
        return None;
    }
    let bpf = Bpf::load_with(setup).expect("this host has what it takes");
    assert!(bpf.missing().is_empty(), "{:?}", bpf.missing());
    Some(bpf)
}

/// An event as the kernel programs wrote it.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Stack(Box<Stack>),
    Process(ProcessEvent),
    Wait(WaitEvent),
}

impl Event {
    fn is(&self, kind: u32, tgid: u32) -> bool {
        matches!(self, Self::Process(event) if event.kind == kind && event.tgid == tgid)
    }

    pub(crate) fn is_exec(&self, tgid: u32) -> bool {
        self.is(event_kind::EXEC, tgid)
    }

    pub(crate) fn is_exit(&self, tgid: u32) -> bool {
        self.is(event_kind::EXIT, tgid)
    }
}

/// A copied stack.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) head: StackCopy,
    pub(crate) python: Vec<PythonFrame>,
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("head", &self.head)
            .field("python", &self.python)
            .finish_non_exhaustive()
    }
}

impl Stack {
    fn parse(record: &[u8]) -> Self {
        let (head, rest) = StackCopy::read_from_prefix(record).expect("the head of a stack");
        let frames = head.python_frames as usize * size_of::<PythonFrame>();
        let (python, rest) = rest.split_at(frames);
        // The ring pads a record to eight bytes and says its true length.
        assert_eq!(rest.len(), head.stack_bytes as usize);
        let python = python
            .chunks_exact(size_of::<PythonFrame>())
            .map(|frame| PythonFrame::read_from_bytes(frame).expect("a frame's length"))
            .collect();
        Self { head, python, bytes: rest.to_vec() }
    }

    /// The word that stood at `address`.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.head.stack_start)?).ok()?;
        Some(u64::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    pub(crate) fn instruction(&self) -> u64 {
        self.head.registers[16]
    }

    pub(crate) fn stack_pointer(&self) -> u64 {
        self.head.registers[7]
    }

    /// The instruction and the return addresses behind it, by the chain of frame pointers.
    pub(crate) fn chain(&self) -> Vec<u64> {
        let mut chain = vec![self.instruction()];
        let mut frame = self.head.registers[6];
        while let (Some(next), Some(back)) = (self.word(frame), self.word(frame + 8)) {
            chain.push(back);
            if next <= frame {
                break;
            }
            frame = next;
        }
        chain
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Event {
    let (kind, _) = u32::read_from_prefix(bytes).expect("an event starts with its kind");
    match kind {
        event_kind::STACK_COPY => Event::Stack(Box::new(Stack::parse(bytes))),
        event_kind::EXEC | event_kind::EXIT => {
            let (event, _) =
                ProcessEvent::read_from_prefix(bytes).expect("a process event's length");
            Event::Process(event)
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

pub(crate) fn stacks(events: &[Event], of: u32) -> Vec<&Stack> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Stack(stack) if stack.head.of == of => Some(&**stack),
            Event::Stack(_) | Event::Process(_) | Event::Wait(_) => None,
        })
        .collect()
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "never saw {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the first thread of a process sleeps.
pub(crate) fn until_asleep(pid: u32) {
    let path = format!("/proc/{pid}/stat");
    until("sleep", || fs::read_to_string(&path).unwrap().contains(") S ").then_some(()));
}

/// Kills a child that would run for ever.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The sleeps of a thread that were told.
pub(crate) fn waits(events: &[Event], tid: u32) -> Vec<WaitEvent> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Wait(wait) if wait.tid == tid => Some(*wait),
            Event::Wait(_) | Event::Stack(_) | Event::Process(_) => None,
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

pub(crate) fn tid() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
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
