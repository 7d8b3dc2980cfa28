//! One perf event: opened, told what to do, read. All `unsafe` of this folder is here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use perf_event_open_sys::bindings::{
    ENABLE, PERF_FLAG_FD_CLOEXEC, PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_FORMAT_TOTAL_TIME_RUNNING,
    PERIOD, SET_BPF, perf_event_attr,
};
use perf_event_open_sys::perf_event_open;

/// An event of one CPU or one thread. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Event(File);

/// What an event counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) value: u64,
    /// How long it was to count, and how long it did: less where counters are shared.
    pub(super) enabled: u64,
    pub(super) running: u64,
}

impl Event {
    /// Of everything that runs on `cpu`.
    pub(super) fn on_cpu(attributes: &mut perf_event_attr, cpu: u32) -> io::Result<Self> {
        let cpu = i32::try_from(cpu).map_err(io::Error::other)?;
        Self::open(attributes, -1, cpu)
    }

    /// Of the thread `tid`, on every CPU.
    pub(super) fn of_thread(attributes: &mut perf_event_attr, tid: u32) -> io::Result<Self> {
        let tid = i32::try_from(tid).map_err(io::Error::other)?;
        Self::open(attributes, tid, -1)
    }

    fn open(attributes: &mut perf_event_attr, pid: i32, cpu: i32) -> io::Result<Self> {
        attributes.size = u32::try_from(size_of::<perf_event_attr>()).map_err(io::Error::other)?;
        let flags = PERF_FLAG_FD_CLOEXEC.into();
        // SAFETY: the kernel reads `size` bytes of attributes, which is the size of the type behind
        // the reference, and may write to it.
        let fd = unsafe { perf_event_open(attributes, pid, cpu, -1, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else has its number.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Runs the kernel program behind `program` at every sample from here on.
    pub(super) fn run_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: both descriptors are open as long as they are borrowed; the kernel takes a number.
        told(unsafe { libc::ioctl(self.0.as_raw_fd(), SET_BPF.into(), program.as_raw_fd()) })
    }

    /// Starts a period of this length anew.
    pub(super) fn set_period(&self, period: u64) -> io::Result<()> {
        // SAFETY: the descriptor is open; the kernel reads the one number behind the pointer.
        told(unsafe { libc::ioctl(self.0.as_raw_fd(), PERIOD.into(), &raw const period) })
    }

    pub(super) fn enable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open; the kernel takes a number, of which 0 means this event only.
        told(unsafe { libc::ioctl(self.0.as_raw_fd(), ENABLE.into(), 0) })
    }

    /// What it counted so far, descendants of its thread included where it is inherited.
    pub(super) fn counted(&self) -> io::Result<Counted> {
        let mut words = [[0; 8]; 3];
        (&self.0).read_exact(words.as_flattened_mut())?;
        let [value, enabled, running] = words.map(u64::from_ne_bytes);
        Ok(Counted { value, enabled, running })
    }
}

/// The format of what [`Event::counted`] reads.
pub(super) const COUNT_FORMAT: u64 =
    PERF_FORMAT_TOTAL_TIME_ENABLED as u64 | PERF_FORMAT_TOTAL_TIME_RUNNING as u64;

fn told(outcome: i32) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
