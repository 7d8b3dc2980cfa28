//! Makes one unwound stack of what the kernel programs copied: kernel's, native and Python's frames, leaf
//! first, in places. The bytes of the user's stack end here.

use std::collections::HashMap;

use wire::kernel::{PythonLayout, SLEPT_BEFORE, StackEvent, event_kind, python_walk, stack_flag};
use wire::limits::STACK_FRAMES;
use zerocopy::{FromZeros, IntoBytes};

use super::sleeper::Sleeper;
use super::{Asleep, Place, Record, Remark, reason};
use crate::pipeline::Symbol;
use crate::python::{Native, PythonError, PythonLosses, PythonSymbols, Runtime, merge};
use crate::unwind::{Copied, End, NativeFrame, UnwindLosses, Unwinder};

/// DWARF number of `rdi`: a system call's first argument.
pub(super) const FIRST_ARGUMENT: usize = 5;

/// Everything that is known of the watched processes' code.
#[derive(Debug, Default)]
pub struct Maker {
    unwinder: Unwinder,
    interpreters: HashMap<u32, Runtime>,
    python: PythonSymbols,
    /// Kept between stacks for its room.
    frames: Vec<NativeFrame>,
    /// Records that were none.
    malformed: u64,
}

/// What became of the stacks, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackLosses {
    pub unwind: UnwindLosses,
    pub python: PythonLosses,
    /// Records of the kernel programs that are shorter than they say.
    pub malformed: u64,
}

impl Maker {
    pub fn new() -> Self {
        Self { python: PythonSymbols::new(), ..Self::default() }
    }

    /// Looks for Python in a process; what the kernel programs need to walk it, or `None` where there is
    /// none.
    pub fn find_python(&mut self, pid: u32) -> Result<Option<PythonLayout>, PythonError> {
        let Self { unwinder, interpreters, .. } = self;
        let runtime = Runtime::find(pid, |address| unwinder.function_at(pid, address))?;
        let Some(runtime) = runtime else {
            return Ok(None);
        };
        let layout = runtime.layout();
        interpreters.insert(pid, runtime);
        Ok(Some(layout))
    }

    /// The process ended or executes another program.
    pub fn forget(&mut self, pid: u32) {
        self.unwinder.forget(pid);
        self.interpreters.remove(&pid);
        self.python.forget(pid);
    }

    /// The bytes of a [`StackEvent`], as far as it has places; `None` for a record that is malformed.
    pub fn make(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let Some(record) = Record::parse(record) else {
            self.malformed += 1;
            return None;
        };
        Some(self.unwound(&record))
    }

    /// As [`Maker::make`], of a thread that slept already when its process was met: where, as far as it can be
    /// told from outside. `None`: it does not sleep, or not at one place.
    pub fn sleeper(&mut self, pid: u32, tid: u32, time_ns: u64) -> Option<Vec<u8>> {
        let runtime = self.interpreters.get(&pid);
        let Sleeper { mut head, python, bytes } = Sleeper::read(pid, tid, runtime, SLEPT_BEFORE)?;
        head.time_ns = time_ns;
        Some(self.unwound(&Record { head, python: python.frames, bytes: &bytes }))
    }

    fn unwound(&mut self, record: &Record<'_>) -> Vec<u8> {
        let mut places: Vec<u64> =
            record.kernel().iter().map(|&address| Place::Kernel(address).to_bits()).collect();
        places.extend(self.user(record).into_iter().map(Place::to_bits));
        if places.len() > STACK_FRAMES {
            places.truncate(STACK_FRAMES - 1);
            places.push(Place::Remark(Remark::TooManyFrames).to_bits());
        }
        event(record, self.reason(record), &places)
    }

    /// User space's part of the stack.
    fn user(&mut self, record: &Record<'_>) -> Vec<Place> {
        let Self { unwinder, interpreters, python, frames, .. } = self;
        let head = &record.head;
        let copied = Copied {
            registers: &head.registers,
            start: head.stack_start,
            bytes: record.bytes,
            longer: head.flags & stack_flag::STACK_LONGER != 0,
        };
        frames.clear();
        let cut = match unwinder.unwind(head.tgid, &copied, frames) {
            End::Root => None,
            End::Cut(remark) => Some(remark),
        };
        let addresses: Vec<u64> = frames.iter().map(|frame| frame.address).collect();
        // Without a walk there is nothing to merge: the thread runs no Python, or its interpreter was found
        // after the stack was taken.
        let walked = !matches!(head.python, python_walk::NONE | python_walk::NO_THREAD_STATE);
        let interpreter = interpreters.get(&head.tgid).filter(|_| walked);
        let Some(runtime) = interpreter else {
            let native = addresses.into_iter().map(Place::User);
            return native.chain(cut.map(Place::Remark)).collect();
        };
        let native = Native { addresses: &addresses, cut };
        merge(runtime.seams(), native, &record.python, head.python, |frame| {
            python.place(runtime, frame, head.time_ns)
        })
    }

    /// Why a thread that went to sleep did, as the flags of its event.
    fn reason(&self, record: &Record<'_>) -> u32 {
        let head = &record.head;
        if head.of != event_kind::OFF_CPU_STACK {
            return 0;
        }
        let asleep = Asleep {
            syscall: head.syscall,
            argument: head.registers[FIRST_ARGUMENT],
            gil: self.interpreters.get(&head.tgid).map(Runtime::gil),
        };
        reason(&asleep).number() << stack_flag::WAIT_KIND_SHIFT
    }

    /// The names of those of these places that are Python's.
    pub fn name_python(&mut self, places: &[u64]) -> Vec<Symbol> {
        self.python.resolve(places)
    }

    pub fn losses(&self) -> StackLosses {
        StackLosses {
            unwind: self.unwinder.losses(),
            python: self.python.losses(),
            malformed: self.malformed,
        }
    }
}

/// An event whose fields are the record's, cut after its last place.
fn event(record: &Record<'_>, reason: u32, places: &[u64]) -> Vec<u8> {
    let head = &record.head;
    let mut event = StackEvent::new_zeroed();
    event.kind = head.of;
    event.frames = u32::try_from(places.len()).unwrap_or(0);
    event.time_ns = head.time_ns;
    event.tgid = head.tgid;
    event.tid = head.tid;
    event.correlation = head.correlation;
    event.weight = head.weight;
    event.thread = head.thread;
    event.cpu = head.cpu;
    event.key = head.key;
    event.flags = head.flags | reason;
    let fixed = size_of::<StackEvent>() - size_of::<[u64; STACK_FRAMES]>();
    let head = event.as_bytes().get(..fixed).unwrap_or_default();
    [head, places.as_bytes()].concat()
}
