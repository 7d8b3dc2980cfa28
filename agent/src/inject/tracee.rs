//! One stopped thread of another process, and the way it is sent on.
//!
//! Only this thread stops; the others go on. What it runs for us ends by itself with everything as it was
//! ([`arch`]), so an agent that is killed meanwhile takes nothing with it.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::proc;

use super::arch::{self, Registers, Start, Waiting};
use super::error::InjectError;
use super::memory::Memory;
use super::raw;

/// Signals that code brings upon itself: blocked, the kernel would end the process over them.
const OWN_FAULTS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP];

/// Signals that do nothing where nobody handles them, but stop a thread that is traced.
const UNHEARD: [Signal; 4] = [Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCHLD, Signal::SIGCONT];

/// How long a thread may take to stop while it runs for us.
const AGAIN: Duration = Duration::from_secs(10);

/// Where the thread is, for who lets it go.
#[derive(Debug)]
enum Course {
    /// Stopped where it was.
    Untouched,
    /// On its way for us, or through with it.
    Sent,
    /// Let go.
    Gone,
}

/// A stopped thread. Dropped, it goes on from where it was, with everything as it was.
#[derive(Debug)]
pub(super) struct Tracee {
    pid: u32,
    tid: Pid,
    pub(super) memory: Memory,
    course: Course,
    stopped_at: Instant,
}

/// Why a thread stopped.
enum Stop {
    /// We asked it to, or its process is stopped.
    Asked,
    Signal(Signal),
}

impl Tracee {
    /// Stops a thread. `None`: it ended, or a signal was on its way to it, which it takes first.
    pub(super) fn stop(pid: u32, tid: u32, until: Instant) -> Result<Option<Self>, InjectError> {
        let failed = |source: io::Error| InjectError::Trace { pid, what: "stop a thread", source };
        // A thread may end at any time, and its process goes on: whoever looks for another one sees whether it does.
        let memory = match Memory::of(pid, tid) {
            Ok(memory) => memory,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(source) => return Err(InjectError::Process { pid, source }),
        };
        let tid = Pid::from_raw(tid.cast_signed());
        match ptrace::seize(tid, Options::empty()) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(None),
            // So a kernel refuses a thread on its last steps, too.
            Err(Errno::EPERM) if proc::thread_over(tid.as_raw().cast_unsigned()) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error.into())),
        }
        let stopped_at = Instant::now();
        let mut tracee = Self { pid, tid, memory, course: Course::Untouched, stopped_at };
        match ptrace::interrupt(tid) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        match tracee.wait("stop a thread", until) {
            Err(InjectError::Ended { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(Stop::Asked) => Ok(Some(tracee)),
            Ok(Stop::Signal(signal)) => {
                // Its own business first.
                tracee.let_go(Some(signal));
                Ok(None)
            }
        }
    }

    pub(super) fn registers(&self) -> Result<Registers, InjectError> {
        self.done("read a thread's registers", ptrace::getregs(self.tid))
    }

    /// How it goes on, if it waits in a system call that its program made to wait.
    pub(super) fn waiting(&self) -> Result<Option<Waiting>, InjectError> {
        let registers = self.registers()?;
        Ok(arch::waiting(&registers, |at, length| self.memory.read(at, length)))
    }

    /// The number of a signal that it can send itself unheard by its program.
    pub(super) fn unheard(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/task/{}/status", self.pid, self.tid));
        let status = status.ok()?;
        let mask = |key: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(key))?;
            u64::from_str_radix(text.trim(), 16).ok()
        };
        let heard = mask("SigCgt:")? | mask("SigBlk:")?;
        let numbers = UNHEARD.into_iter().map(|signal| signal as u32);
        numbers.into_iter().find(|number| heard & 1 << (number - 1) == 0)
    }

    /// Sends it through what `start` says, until it is `through`, and lets it go. `wake`: the signal that it sends
    /// itself then. How long its program was without it.
    pub(super) fn send(
        mut self,
        what: &'static str,
        start: &Start,
        wake: Option<u32>,
        until: Instant,
        through: impl Fn(&Memory) -> bool,
    ) -> Result<Duration, InjectError> {
        const KEEP: &str = "keep a thread's state";
        let again = self.waiting()?.map(|waiting| waiting.again);
        let vectors = self.done(KEEP, raw::vectors(self.tid))?;
        let mask = self.done(KEEP, raw::signal_mask(self.tid))?;
        self.memory.write(start.stack, &start.bytes).map_err(|source| self.error(what, source))?;
        self.done(what, ptrace::setregs(self.tid, start.registers))?;
        self.course = Course::Sent;
        self.done(what, ptrace::cont(self.tid, None))?;
        // Most take microseconds.
        let mut pause = Duration::from_micros(20);
        let mut asked = false;
        loop {
            match self.look(what)? {
                None if Instant::now() >= until => {
                    return Err(InjectError::Late { pid: self.pid, what, within: self.stopped() });
                }
                None => {
                    if wake.is_none() && !asked && through(&self.memory) {
                        // It is on its way again: only a stopped thread can be let go.
                        asked = self.done(what, ptrace::interrupt(self.tid)).is_ok();
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(1));
                }
                Some(Stop::Signal(signal))
                    if Some(signal as u32) == wake && through(&self.memory) =>
                {
                    break;
                }
                Some(Stop::Signal(signal))
                    if OWN_FAULTS.contains(&signal) && !through(&self.memory) =>
                {
                    // What it ran broke: back to where it was, from here.
                    let _gone = raw::set_vectors(self.tid, &vectors);
                    let _gone = raw::set_signal_mask(self.tid, mask);
                    let _gone = again.map(|again| ptrace::setregs(self.tid, again));
                    let answer = signal.as_str().to_owned();
                    return Err(InjectError::Refused { pid: self.pid, what, answer });
                }
                Some(Stop::Asked) if asked => break,
                // Its own signals reach it; stopped with its process, it goes on with us.
                Some(stop) => {
                    let signal = match stop {
                        Stop::Signal(signal) => Some(signal),
                        Stop::Asked => None,
                    };
                    self.done(what, ptrace::cont(self.tid, signal))?;
                }
            }
        }
        let stopped = self.stopped();
        if asked {
            self.start_over();
        }
        self.let_go(None);
        Ok(stopped)
    }

    pub(super) fn tid(&self) -> u32 {
        self.tid.as_raw().cast_unsigned()
    }

    /// How long the thread has been stopped.
    fn stopped(&self) -> Duration {
        self.stopped_at.elapsed()
    }

    /// Makes its system call again, if the kernel would not.
    fn start_over(&self) {
        if let Ok(Some(Waiting { again, by_kernel: false })) = self.waiting() {
            let _gone = ptrace::setregs(self.tid, again);
        }
    }

    /// It goes on, with this signal first.
    fn let_go(&mut self, signal: Option<Signal>) {
        self.course = Course::Gone;
        let _gone = ptrace::detach(self.tid, signal);
    }

    fn wait(&self, what: &'static str, until: Instant) -> Result<Stop, InjectError> {
        let mut pause = Duration::from_micros(20);
        loop {
            if let Some(stop) = self.look(what)? {
                return Ok(stop);
            }
            if Instant::now() >= until {
                return Err(InjectError::Late { pid: self.pid, what, within: self.stopped() });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    /// Whether it stopped.
    fn look(&self, what: &'static str) -> Result<Option<Stop>, InjectError> {
        match waitpid(self.tid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => Ok(None),
            Ok(WaitStatus::PtraceEvent(..)) => Ok(Some(Stop::Asked)),
            Ok(WaitStatus::Stopped(_, signal)) => Ok(Some(Stop::Signal(signal))),
            Ok(_) | Err(Errno::ECHILD) => Err(InjectError::Ended { pid: self.pid }),
            Err(error) => Err(self.error(what, error.into())),
        }
    }

    fn error(&self, what: &'static str, source: io::Error) -> InjectError {
        InjectError::Trace { pid: self.pid, what, source }
    }

    fn done<T>(&self, what: &'static str, outcome: nix::Result<T>) -> Result<T, InjectError> {
        outcome.map_err(|error| match error {
            Errno::ESRCH => InjectError::Ended { pid: self.pid },
            error => self.error(what, error.into()),
        })
    }
}

/// No such file, or no such process: what `/proc` says of a thread that ended.
fn is_gone(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::ENOENT | Errno::ESRCH))
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if matches!(self.course, Course::Gone) {
            return;
        }
        // Only a stopped thread can be let go.
        if ptrace::getregs(self.tid).is_err() && ptrace::interrupt(self.tid).is_ok() {
            let _stopped = self.wait("stop a thread again", Instant::now() + AGAIN);
        }
        // One that was sent goes on by itself with what it was sent for.
        if matches!(self.course, Course::Untouched) {
            self.start_over();
        }
        self.let_go(None);
    }
}
