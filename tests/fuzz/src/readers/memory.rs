//! Readers of memory that others write: rings, interpreters, stacks and code, buffers of another library.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use warplens::python::{self, Memory};
use warplens::shim::{Location, WorkerRing};
use warplens::stack::{Maker, Record};
use warplens::unwind::{self, Copied, Registers};
use warplens_cuda::rehearsal::{self, Shared, Wild};
use wire::kernel::{PythonFrame, StackCopy, event_kind};
use wire::limits::{GRAPH_ENTRIES, PYTHON_FRAMES};
use wire::shim::{
    CAPTURE_STACKS_OFFSET, CAPTURES_OFFSET, CONTROL_OFFSET, CURSORS_OFFSET, Cursors, GRAPHS_OFFSET,
    Header, Level, MAGIC, NAMES_OFFSET, RING_OFFSET, STATS_OFFSET, TOTAL_BYTES,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::Taken;

/// Where the parts of a ring begin.
const PARTS: [usize; 8] = [
    CONTROL_OFFSET,
    STATS_OFFSET,
    CURSORS_OFFSET,
    RING_OFFSET,
    NAMES_OFFSET,
    GRAPHS_OFFSET,
    CAPTURES_OFFSET,
    CAPTURE_STACKS_OFFSET,
];

/// A ring as a worker has it, whose every byte the worker may write at any time while the agent reads: control page, stats page,
/// cursors, slots, names, graph table, capture stacks.
pub(super) fn ring(input: &[u8]) {
    let worker = ring_file();
    let mut taken = Taken(input);
    let mut written = vec![(CONTROL_OFFSET, RING_OFFSET - CONTROL_OFFSET)];
    let mut ring = None;
    let (mut records, mut names) = (Vec::new(), Vec::new());
    while !taken.is_empty() {
        let what = taken.byte();
        if what & 0x80 == 0 {
            let part = PARTS[usize::from(what & 7)];
            let at =
                part + usize::try_from(taken.number::<3>()).unwrap_or(0) % (TOTAL_BYTES - part);
            let length = usize::from(taken.byte()).min(TOTAL_BYTES - at);
            let bytes = taken.bytes(length);
            worker.write_all_at(bytes, at as u64).expect("write to the ring");
            written.push((at, bytes.len()));
            continue;
        }
        if ring.is_none() {
            let links = vec![PathBuf::from(format!("/proc/self/fd/{}", worker.as_raw_fd()))];
            match WorkerRing::attach(&Location { pid: std::process::id(), links }) {
                Ok(attached) => ring = Some(attached),
                Err(_) => break,
            }
        }
        let Some(ring) = &mut ring else { break };
        match what & 7 {
            0 => ring.ask(Level::Stacks, 99),
            1 => ring.drain_rest(&mut records, &mut names),
            2 => {
                let news = ring.graph_news();
                assert!(news.entries.len() <= GRAPH_ENTRIES);
            }
            3 => {
                let entry = u32::try_from(taken.number::<3>()).unwrap_or(0);
                let filled = filled(worker);
                ring.keep_capture(entry, &[7, u64::from(entry)]);
                written.push((CAPTURE_STACKS_OFFSET + 8 * filled.max(1), 3 * 8));
                written.push((CAPTURES_OFFSET + 4 * (entry as usize), 4));
            }
            4 => drop((ring.status(), ring.devices(), ring.is_mapped(), ring.captures_refused())),
            _ => ring.drain(1000, &mut records, &mut names),
        }
        records.clear();
        names.clear();
    }
    drop(ring);
    for (at, length) in written {
        let length = length.min(TOTAL_BYTES.saturating_sub(at));
        worker.write_all_at(&vec![0; length], at as u64).expect("write to the ring");
    }
}

/// Words used of the capture stacks, as far as they can be.
fn filled(worker: &File) -> usize {
    let mut word = [0; 8];
    let at = CURSORS_OFFSET + std::mem::offset_of!(Cursors, captures);
    worker.read_exact_at(&mut word, at as u64).expect("read the ring");
    usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX).min(TOTAL_BYTES)
}

/// A whole ring of zeros behind a right header.
fn ring_file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("warplens-fuzz-ring", flags).expect("a memfd");
        let size = TOTAL_BYTES as u64;
        rustix::fs::fallocate(&memory, FallocateFlags::empty(), 0, size)
            .expect("memory for a ring");
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals).expect("seals");
        let header = Header {
            magic: MAGIC,
            wire_version: wire::WIRE_VERSION,
            flags: 0,
            total_bytes: size,
            loaded_ns: 1,
            pid: std::process::id(),
            reserved: 0,
            shim_version: [0; 32],
        };
        let file = File::from(memory);
        file.write_all_at(header.as_bytes(), 0).expect("write the header");
        file
    })
}

/// The other way round: what an agent, which maps it writable, may do to a shim.
pub(super) fn shim(input: &[u8]) {
    let mut shared = Shared::get().lock().expect("nobody panicked");
    let mut rest = input;
    while let Ok((wild, tail)) = Wild::read_from_prefix(rest) {
        let (name, tail) =
            tail.split_at(tail.len().min(usize::from(wild.reserved.to_le_bytes()[0])));
        shared.after(&wild, name);
        rest = tail;
    }
}

/// Buffers of CUPTI, with records that begin where its library says.
pub(super) fn activity(input: &[u8]) {
    let mut taken = Taken(input);
    let (count, with_source) = (usize::from(taken.byte()), taken.byte() & 1 == 1);
    let steps: Vec<u32> = (0..count)
        .map(|_| match taken.number::<2>() {
            0xffff => u32::MAX,
            at => u32::try_from(at).unwrap_or(u32::MAX),
        })
        .collect();
    rehearsal::activity(taken.0, with_source, &steps);
}

/// Memory of an interpreter: what the input holds, and nothing around it.
struct Pieces<'a>(&'a [u8]);

/// Where the interpreter's memory begins.
const INTERPRETER: u64 = 0x10_0000;

impl Memory for Pieces<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let at = address.checked_sub(INTERPRETER).and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| self.0.get(at..)?.get(..into.len()));
        bytes.is_some_and(|bytes| {
            into.copy_from_slice(bytes);
            true
        })
    }
}

/// All that is read of a Python interpreter in another process's memory.
pub(super) fn interpreter(input: &[u8]) {
    let mut taken = Taken(input);
    let runtime = INTERPRETER + taken.number::<2>();
    let start = INTERPRETER + taken.number::<2>();
    let evaluation = start..start + taken.number::<1>();
    let places = python::rehearse(&Pieces(taken.0), runtime, evaluation);
    assert!(places.len() < 1 << 12);
}

/// Registers and a stack from the front of the input.
fn registers(taken: &mut Taken<'_>) -> Registers {
    std::array::from_fn(|_| taken.number::<8>())
}

const STACK: u64 = 0x7000;

/// Unwind information of a file that a process maps, by registers and a stack that it made up; and code without any.
pub(super) fn unwind_tables(input: &[u8]) {
    let mut taken = Taken(input);
    let registers = registers(&mut taken);
    let stack = taken.bytes(256);
    let addresses: [u64; 8] = std::array::from_fn(|_| taken.number::<3>());
    let copied = Copied { registers: &registers, start: STACK, bytes: stack, longer: false };
    let _callers = unwind::rehearse_file(taken.0, &addresses, &copied);
    let _followed = unwind::rehearse_code(taken.0, registers[16] & !0xff, &copied);
}

/// What the kernel programs copied of a thread, which had put anything there. Of this process: its mappings and files are
/// those that are unwound by.
pub(super) fn stack_copies(input: &[u8]) {
    static MAKER: OnceLock<Mutex<Maker>> = OnceLock::new();
    let mut maker = MAKER.get_or_init(|| Mutex::new(Maker::new())).lock().expect("nobody panicked");
    let _any = Record::parse(input).map(|record| record.kernel().len());
    let mut bytes = input.to_vec();
    bytes.resize(bytes.len().max(size_of::<StackCopy>()), 0);
    let Ok((head, _)) = StackCopy::mut_from_prefix(&mut bytes) else { return };
    head.kind = event_kind::STACK_COPY;
    head.tgid = std::process::id();
    // Numbers below a page stand for addresses of code: nobody comes upon one.
    let function: super::Feed = stack_copies;
    let code = function as usize as u64;
    let place = |word: u64| if word < 4096 { code.wrapping_add(word) } else { word };
    head.registers = head.registers.map(place);
    let frames = usize::try_from(head.python_frames).unwrap_or(0).min(PYTHON_FRAMES);
    let stack = size_of::<StackCopy>() + frames * size_of::<PythonFrame>();
    for word in bytes.get_mut(stack..).unwrap_or_default().chunks_exact_mut(8) {
        let number = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        word.copy_from_slice(&place(number).to_le_bytes());
    }
    let _event = maker.make(&bytes);
}
