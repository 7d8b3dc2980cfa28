//! One stopped thread of another process: calls made in its name, and everything put back afterwards.
//!
//! Only this thread stops; the others go on. While it is stopped no signal reaches its handlers: they wait, as
//! they would for any thread that blocks them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::error::InjectError;
use super::raw;

pub(super) use libc::user_regs_struct as Registers;

/// Bytes below the stack pointer that a function may use (System V ABI, AMD64, 3.2.2).
pub(super) const RED_ZONE: u64 = 128;

/// Signals that code brings upon itself: blocked, the kernel would end the process over them.
const OWN_FAULTS: [Signal; 5] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP];

/// How long a thread may take to stop in the middle of a call that took too long.
const AGAIN: Duration = Duration::from_secs(10);

/// Direction flag: functions are entered with it clear.
const DIRECTION: u64 = 0x400;

/// A stopped thread. Dropped, it goes on from where it was, with everything as it was.
#[derive(Debug)]
pub(super) struct Tracee {
    pid: u32,
    tid: Pid,
    memory: File,
    saved: Option<Saved>,
    stopped_at: Instant,
}

/// What a call changes.
#[derive(Debug)]
struct Saved {
    registers: Registers,
    vectors: Vec<u8>,
    mask: u64,
}

/// Why a thread stopped.
enum Stop {
    /// We asked it to.
    Asked,
    Signal(Signal),
}

impl Tracee {
    /// Stops a thread. `None`: it ended, or a signal was on its way to it, which it takes first.
    pub(super) fn stop(pid: u32, tid: u32, until: Instant) -> Result<Option<Self>, InjectError> {
        let failed = |source: io::Error| InjectError::Trace { pid, what: "stop a thread", source };
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
        let memory = memory.map_err(|source| InjectError::Process { pid, source })?;
        let tid = Pid::from_raw(tid.cast_signed());
        match ptrace::seize(tid, Options::empty()) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        let tracee = Self { pid, tid, memory, saved: None, stopped_at: Instant::now() };
        ptrace::interrupt(tid).map_err(|error| failed(error.into()))?;
        match tracee.wait("stop a thread", until)? {
            Stop::Asked => Ok(Some(tracee)),
            Stop::Signal(signal) => {
                // Its own business first.
                tracee.let_go(Some(signal));
                Ok(None)
            }
        }
    }

    pub(super) fn registers(&self) -> Result<Registers, InjectError> {
        self.done("read a thread's registers", ptrace::getregs(self.tid))
    }

    /// Bytes of the process's memory, as many as are there.
    pub(super) fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.memory.read_at(rest, address.wrapping_add(filled as u64)) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    /// Keeps everything that calls change. `registers`: what the thread goes on with.
    pub(super) fn prepare(&mut self, registers: Registers) -> Result<(), InjectError> {
        const WHAT: &str = "keep a thread's state";
        let vectors = self.done(WHAT, raw::vectors(self.tid))?;
        let mask = self.done(WHAT, raw::signal_mask(self.tid))?;
        let own = OWN_FAULTS.iter().fold(0, |bits, &signal| bits | 1 << (signal as u32 - 1));
        self.done(WHAT, raw::set_signal_mask(self.tid, !own))?;
        self.saved = Some(Saved { registers, vectors, mask });
        Ok(())
    }

    /// Calls `function` with `arguments`, the bytes of `text` somewhere on the stack, their address in place of each
    /// argument that is `None`; returns to `trap`, the address of a breakpoint instruction.
    pub(super) fn call(
        &self,
        what: &'static str,
        function: u64,
        arguments: &[Option<u64>],
        text: &[u8],
        trap: u64,
        until: Instant,
    ) -> Result<u64, InjectError> {
        let Some(saved) = &self.saved else {
            return Err(self.error(what, io::ErrorKind::Other.into()));
        };
        let below = saved.registers.rsp.wrapping_sub(RED_ZONE + text.len() as u64) & !15;
        let stack = below.wrapping_sub(8);
        let written = self.memory.write_all_at(text, below);
        written
            .and_then(|()| self.memory.write_all_at(&trap.to_le_bytes(), stack))
            .map_err(|source| self.error(what, source))?;
        let argument = |index: usize| match arguments.get(index) {
            Some(Some(value)) => *value,
            Some(None) => below,
            None => 0,
        };
        let registers = Registers {
            rip: function,
            rsp: stack,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            rcx: argument(3),
            rax: 0,
            // In no system call: nothing is to be started over.
            orig_rax: u64::MAX,
            eflags: saved.registers.eflags & !DIRECTION,
            ..saved.registers
        };
        self.done(what, ptrace::setregs(self.tid, registers))?;
        loop {
            self.done(what, ptrace::cont(self.tid, None))?;
            match self.wait(what, until)? {
                Stop::Signal(Signal::SIGTRAP) => {
                    let registers = self.registers()?;
                    if registers.rip == trap.wrapping_add(1) {
                        return Ok(registers.rax);
                    }
                    return Err(self.refused(what, "a breakpoint"));
                }
                Stop::Signal(signal) if OWN_FAULTS.contains(&signal) => {
                    return Err(self.refused(what, signal.as_str()));
                }
                // Stopped with its process, or by a signal that cannot be blocked: it goes on with us.
                Stop::Asked | Stop::Signal(_) => {}
            }
        }
    }

    pub(super) fn tid(&self) -> u32 {
        self.tid.as_raw().cast_unsigned()
    }

    /// It goes on, with this signal first.
    fn let_go(&self, signal: Option<Signal>) {
        let _gone = ptrace::detach(self.tid, signal);
    }

    /// How long the thread has been stopped.
    pub(super) fn stopped(&self) -> Duration {
        self.stopped_at.elapsed()
    }

    fn wait(&self, what: &'static str, until: Instant) -> Result<Stop, InjectError> {
        // Most stops take microseconds.
        let mut pause = Duration::from_micros(20);
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            match waitpid(self.tid, Some(flags)) {
                Ok(WaitStatus::StillAlive) if Instant::now() >= until => {
                    let within = self.stopped();
                    return Err(InjectError::Late { pid: self.pid, what, within });
                }
                Ok(WaitStatus::StillAlive) => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(1));
                }
                Ok(WaitStatus::PtraceEvent(..)) => return Ok(Stop::Asked),
                Ok(WaitStatus::Stopped(_, signal)) => return Ok(Stop::Signal(signal)),
                Ok(_) | Err(Errno::ECHILD) => return Err(InjectError::Ended { pid: self.pid }),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(self.error(what, error.into())),
            }
        }
    }

    fn refused(&self, what: &'static str, answer: &str) -> InjectError {
        InjectError::Refused { pid: self.pid, what, answer: answer.to_owned() }
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

impl Drop for Tracee {
    fn drop(&mut self) {
        if let Some(Saved { registers, vectors, mask }) = self.saved.take() {
            // In the middle of a call that took too long it still runs.
            if ptrace::getregs(self.tid).is_err() && ptrace::interrupt(self.tid).is_ok() {
                let _stopped = self.wait("stop a thread again", Instant::now() + AGAIN);
            }
            // A thread that ended meanwhile has nothing to put back.
            let _gone = raw::set_vectors(self.tid, &vectors);
            let _gone = raw::set_signal_mask(self.tid, mask);
            let _gone = ptrace::setregs(self.tid, registers);
        }
        self.let_go(None);
    }
}
