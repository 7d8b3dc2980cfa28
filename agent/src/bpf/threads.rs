//! Which threads sleep: the program on `sched_switch`, and a look at those that sleep still.

use std::fs;

use aya::maps::{HashMap, MapData, MapError};
use wire::kernel::{SLEPT_BEFORE, Sleeper, WAIT_MIN_NS, WaitEvent, event_kind};

use super::attach::absent_is_fine;
use super::error::BpfError;
use super::load::Bpf;
use super::pod::MapValue;

pub(super) const THREAD_SWITCH: &str = "thread_switch";

/// `BPF_NOEXIST` of `linux/bpf.h`.
const BPF_NOEXIST: u64 = 1;

/// The map of sleeping threads.
pub(super) type Sleepers = HashMap<MapData, u32, MapValue<Sleeper>>;

/// Threads of one process that are adopted at most: as many as the kernel programs keep.
const THREADS: usize = wire::limits::SLEEPERS as usize;

/// Threads of a process that may sleep already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    First,
    All,
}

/// What `/proc/PID/task/TID/status` says of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheduled {
    sleeps: bool,
    /// How often it went to sleep.
    times: u64,
}

/// Processor time a thread has had, ns; 0 where the kernel does not tell.
fn ran(pid: u32, tid: u32) -> u64 {
    let statistics = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat"));
    statistics.ok().and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0)
}

impl Scheduled {
    fn read(pid: u32, tid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let value = |key| status.lines().find_map(|line: &str| line.strip_prefix(key));
        Some(Self {
            sleeps: value("State:")?.trim_start().starts_with(['S', 'D']),
            times: value("voluntary_ctxt_switches:")?.trim().parse().ok()?,
        })
    }
}

impl Bpf {
    /// Threads that sleep already when their process is watched go unseen until they wake, which in a
    /// server without requests is never.
    pub(super) fn adopt_sleepers(
        &mut self,
        pid: u32,
        whom: Adopted,
        now_ns: u64,
    ) -> Result<(), BpfError> {
        self.adopt(pid, pid, now_ns)?;
        if whom == Adopted::First {
            return Ok(());
        }
        // A process that ends meanwhile has no threads to adopt.
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Ok(());
        };
        threads
            .flatten()
            .filter_map(|thread| thread.file_name().to_str()?.parse().ok())
            .filter(|tid| *tid != pid)
            .take(THREADS)
            .try_for_each(|tid| self.adopt(pid, tid, now_ns))
    }

    /// A thread counts as asleep from `now_ns` on if it was asleep then and has not run since.
    fn adopt(&mut self, pid: u32, tid: u32, now_ns: u64) -> Result<(), BpfError> {
        let failed = |source| BpfError::map("SLEEPERS", source);
        let Some(before) = Scheduled::read(pid, tid).filter(|thread| thread.sleeps) else {
            return Ok(());
        };
        let told = u32::from(pid == tid);
        let sleeper = Sleeper {
            since_ns: now_ns,
            tgid: pid,
            told,
            signature: SLEPT_BEFORE,
            ran_ns: ran(pid, tid),
        };
        match self.sleepers.insert(tid, MapValue(sleeper), BPF_NOEXIST) {
            // Told by the programs already, or no room: told when it sleeps the next time.
            Err(MapError::SyscallError(_)) => return Ok(()),
            other => other.map_err(failed)?,
        }
        if Scheduled::read(pid, tid) == Some(before) {
            return Ok(());
        }
        // It ran meanwhile. What stands there may be its next sleep, which the programs saw.
        match self.sleepers.get(&tid, 0) {
            Ok(MapValue(found)) if found == sleeper => {
                absent_is_fine(self.sleepers.remove(&tid)).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    /// Whether the thread is in the sleep it was in when its process was first watched.
    pub fn slept_before(&self, tid: u32) -> bool {
        matches!(self.sleepers.get(&tid, 0), Ok(MapValue(sleeper)) if sleeper.signature == SLEPT_BEFORE)
    }

    /// Whether threads that sleep are told at all; [`Bpf::missing`] says why not.
    pub fn tells_threads(&self) -> bool {
        self.tells_threads
    }

    /// First threads and threads that launch that sleep at `now_ns` and have for long enough, as the
    /// record the kernel programs write when they wake. A sleep that ends while this looks is in the
    /// ring buffer afterwards: read that next. They are asked for one by one, because among all that sleep
    /// they are few.
    pub fn sleepers(&self, now_ns: u64, mut sink: impl FnMut(WaitEvent)) -> Result<(), BpfError> {
        let mut look = |tid: u32| match self.sleepers.get(&tid, 0) {
            Ok(MapValue(sleeper)) => {
                self.tell(tid, sleeper, now_ns, &mut sink);
                Ok(())
            }
            Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(BpfError::map("SLEEPERS", source)),
        };
        self.attached.keys().copied().try_for_each(&mut look)?;
        self.launchers
            .keys()
            .try_for_each(|tid| look(tid.map_err(|source| BpfError::map("LAUNCHERS", source))?))
    }

    /// Every watched thread that sleeps at `now_ns` and has for long enough, for the end of an
    /// observation.
    pub fn all_sleepers(
        &self,
        now_ns: u64,
        mut sink: impl FnMut(WaitEvent),
    ) -> Result<(), BpfError> {
        for entry in &self.sleepers {
            let (tid, MapValue(sleeper)) =
                entry.map_err(|source| BpfError::map("SLEEPERS", source))?;
            self.tell(tid, sleeper, now_ns, &mut sink);
        }
        Ok(())
    }

    fn tell(&self, tid: u32, sleeper: Sleeper, now_ns: u64, sink: &mut impl FnMut(WaitEvent)) {
        if !self.attached.contains_key(&sleeper.tgid) {
            return;
        }
        let shortest = if sleeper.told == 1 { WAIT_MIN_NS } else { self.off_cpu_min_ns };
        // A thread that went to sleep while this looked has slept for no time yet.
        if now_ns.saturating_sub(sleeper.since_ns) < shortest {
            return;
        }
        sink(WaitEvent {
            kind: event_kind::WAIT,
            tgid: sleeper.tgid,
            tid,
            open: 1,
            from_ns: sleeper.since_ns,
            to_ns: now_ns,
            signature: sleeper.signature,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_sleep_from_everything_else() {
        let check = |state: &str, sleeps: bool| {
            let text = format!(
                "Name:\tx\nState:\t{state}\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t9\n"
            );
            assert_eq!(Scheduled::parse(&text), Some(Scheduled { sleeps, times: 12 }), "{state}");
        };
        check("S (sleeping)", true);
        check("D (disk sleep)", true);
        check("R (running)", false);
        check("T (stopped)", false);
        check("Z (zombie)", false);
        assert_eq!(Scheduled::parse("State:\tS (sleeping)\n"), None);
    }
}
