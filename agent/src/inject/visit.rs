//! Threads of a process, one after the other, sent through calls.

use std::fs;
use std::time::{Duration, Instant};

use crate::proc::{self, Blocked, Mapping};
use crate::unwind::Unwinder;

use super::Injected;
use super::arch::{self, Registers, Start};
use super::cave::{self, Cave};
use super::error::InjectError;
use super::image::Image;
use super::memory::Memory;
use super::place;
use super::room::{self, Answers, Found, Order};
use super::tracee::Tracee;

/// How long to look for a thread at a safe place, and what a stop may take beside what is called.
const LOOK: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(2);

/// Between two looks at all threads.
const PAUSE: Duration = Duration::from_millis(10);

/// Memory may have come to be where some was to be mapped.
const MAP_TRIES: u32 = 3;
const MAPPED: Duration = Duration::from_millis(200);

/// Of one process.
pub(super) struct Visit<'a, F> {
    pid: u32,
    image: &'a Image,
    /// The threads that may be stopped.
    of: F,
    unwinder: Unwinder,
    room: u64,
    so_far: Injected,
}

/// A thread at a safe place, and the registers that it goes on with.
struct Ready {
    tracee: Tracee,
    again: Registers,
    cave: Cave,
}

impl<'a, F: Fn(u32) -> bool> Visit<'a, F> {
    /// Sees to it that there is a room.
    pub(super) fn begin(pid: u32, image: &'a Image, of: F) -> Result<Self, InjectError> {
        let unsupported =
            |reason: &str| InjectError::Unsupported { pid, reason: reason.to_owned() };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|source| InjectError::Process { pid, source })?;
        if let Some(reason) = arch::UNSUPPORTED.or_else(|| arch::refuses(&status)) {
            return Err(unsupported(reason));
        }
        if !room::is_large_enough() {
            return Err(unsupported("this processor's vector registers are not known"));
        }
        let so_far = Injected::default();
        let mut visit = Self { pid, image, of, unwinder: Unwinder::new(), room: 0, so_far };
        visit.room = match room::find(&visit.mappings()?, &image.memory) {
            Found::Free(room) => room,
            Found::Taken => return Err(unsupported("another agent is entering it")),
            Found::None => visit.map()?,
        };
        Ok(visit)
    }

    /// Sends a thread through what `fill` puts into an order; what was answered.
    pub(super) fn run<T>(
        &mut self,
        what: &'static str,
        until: Instant,
        fill: impl FnOnce(&mut Order) -> T,
    ) -> Result<(Answers, T), InjectError> {
        let Ready { tracee, again, cave } = self.ready()?;
        let wake = tracee.unheard();
        let mut order = Order::new(self.room, wake);
        let asked = fill(&mut order);
        let failed = |source| InjectError::Trace { pid: self.pid, what, source };
        tracee.memory.write(self.room, order.bytes()).map_err(failed)?;
        let start = arch::run(&again, cave.address, self.room);
        let room = self.room;
        let through = |memory: &Memory| Answers::read(memory, room).is_some();
        self.send(tracee, what, &start, wake, until, through)?;
        let answers = Answers::read(&self.image.memory, self.room);
        answers.map(|answers| (answers, asked)).ok_or(InjectError::Ended { pid: self.pid })
    }

    /// Bytes of the process's memory, as many as are there.
    pub(super) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        self.image.memory.read(address, length)
    }

    pub(super) fn end(self) -> Injected {
        self.so_far
    }

    /// Maps a room and marks it.
    fn map(&mut self) -> Result<u64, InjectError> {
        const WHAT: &str = "mmap";
        let pid = self.pid;
        let unsupported =
            |reason: &str| InjectError::Unsupported { pid, reason: reason.to_owned() };
        for _ in 0..MAP_TRIES {
            let chosen = room::choose(&self.mappings()?);
            let room = chosen.ok_or_else(|| unsupported("its memory is full"))?;
            let Ready { tracee, again, cave } = self.ready()?;
            let wake = tracee.unheard();
            let start = arch::map(&again, cave.address, room, room::BYTES, wake);
            self.send(tracee, WHAT, &start, wake, Instant::now() + STOP, |_memory| true)?;
            if self.is_mapped(room)? {
                let failed = |source| InjectError::Trace { pid, what: WHAT, source };
                self.image.memory.write(room, room::mark()).map_err(failed)?;
                return Ok(room);
            }
        }
        Err(unsupported("it cannot have more memory: a limit, or a seccomp filter, perhaps"))
    }

    /// A thread that could not say when it was through may be on its way still.
    fn is_mapped(&self, room: u64) -> Result<bool, InjectError> {
        let until = Instant::now() + MAPPED;
        loop {
            let is_there = room::was_mapped(&self.mappings()?, room);
            if is_there || Instant::now() >= until {
                return Ok(is_there);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn send(
        &mut self,
        tracee: Tracee,
        what: &'static str,
        start: &Start,
        wake: Option<u32>,
        until: Instant,
        through: impl Fn(&Memory) -> bool,
    ) -> Result<(), InjectError> {
        let tid = tracee.tid();
        let stopped = tracee.send(what, start, wake, until, through)?;
        self.so_far = Injected {
            tid,
            stops: self.so_far.stops + 1,
            stopped: self.so_far.stopped.max(stopped),
        };
        Ok(())
    }

    /// A thread at a safe place, stopped, with the code where it can be sent through it. Its process's first thread,
    /// which may be the one that launches, comes last.
    fn ready(&mut self) -> Result<Ready, InjectError> {
        let begin = Instant::now();
        let mut looked = 0;
        while begin.elapsed() < LOOK {
            let mappings = self.mappings()?;
            let no_cave = || InjectError::Unsupported {
                pid: self.pid,
                reason: "no library of its has room for code".to_owned(),
            };
            let cave = cave::find(self.pid, &mappings, &self.image.memory).ok_or_else(no_cave)?;
            let mut threads = proc::threads(self.pid);
            if threads.is_empty() {
                return Err(InjectError::Ended { pid: self.pid });
            }
            threads.sort_by_key(|&tid| tid == self.pid);
            threads.retain(|&tid| (self.of)(tid) && may_be_safe(self.pid, tid));
            for tid in threads {
                looked += 1;
                let Some(tracee) = Tracee::stop(self.pid, tid, Instant::now() + STOP)? else {
                    continue;
                };
                // Stopped, it stays what it is: all that was found out is true of it, or nothing.
                if !self.image.is_there() {
                    return Err(InjectError::Another { pid: self.pid });
                }
                let safe = place::safe(&tracee, self.pid, &mappings, &mut self.unwinder)?;
                let Some(again) = safe else { continue };
                if !cave.written {
                    let failed =
                        |source| InjectError::Trace { pid: self.pid, what: "write code", source };
                    tracee.memory.write(cave.address, arch::code()).map_err(failed)?;
                }
                return Ok(Ready { tracee, again, cave });
            }
            std::thread::sleep(PAUSE);
        }
        Err(InjectError::NoSafeThread { pid: self.pid, within: LOOK, looked })
    }

    fn mappings(&self) -> Result<Vec<Mapping>, InjectError> {
        proc::maps(self.pid).map_err(|source| InjectError::Process { pid: self.pid, source })
    }
}

/// What can be told without stopping the thread.
fn may_be_safe(pid: u32, tid: u32) -> bool {
    Blocked::read(pid, tid).is_some_and(|Blocked { syscall, arguments, .. }| {
        u64::try_from(syscall).is_ok_and(|number| arch::may_wait_in(number, arguments[1]))
    })
}
