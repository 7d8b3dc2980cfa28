//! Which threads sleep: the program on `sched_switch`, and a look at those that sleep still.

use std::fs;

use aya::maps::{HashMap, MapData, MapError};
use wire::kernel::{Sleeper, WAIT_MIN_NS, WaitEvent, event_kind};

use super::attach::absent_is_fine;
use super::error::BpfError;
use super::load::Bpf;
use super::pod::MapValue;

pub(super) const THREAD_SWITCH: &str = "thread_switch";

/// `BPF_NOEXIST` of `linux/bpf.h`.
const BPF_NOEXIST: u64 = 1;

/// The map of sleeping threads.
pub(super) type Sleepers = HashMap<MapData, u32, MapValue<Sleeper>>;

/// What `/proc/PID/status` says of a process's first thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheduled {
    sleeps: bool,
    /// How often it went to sleep.
    times: u64,
}

impl Scheduled {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
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
    /// A first thread that sleeps already when its process is watched goes unseen until it wakes,
    /// which in a server without requests is never. It counts as asleep from `now_ns` on if it was
    /// asleep then and has not run since.
    pub(super) fn adopt_sleeper(&mut self, pid: u32, now_ns: u64) -> Result<(), BpfError> {
        let failed = |source| BpfError::map("SLEEPERS", source);
        let Some(before) = Scheduled::read(pid).filter(|thread| thread.sleeps) else {
            return Ok(());
        };
        let sleeper = Sleeper { since_ns: now_ns, tgid: pid, told: 1, signature: 0 };
        match self.sleepers.insert(pid, MapValue(sleeper), BPF_NOEXIST) {
            // Told by the programs already, or no room: told when it sleeps the next time.
            Err(MapError::SyscallError(_)) => return Ok(()),
            other => other.map_err(failed)?,
        }
        if Scheduled::read(pid) == Some(before) {
            return Ok(());
        }
        // It ran meanwhile. What stands there may be its next sleep, which the programs saw.
        match self.sleepers.get(&pid, 0) {
            Ok(MapValue(found)) if found == sleeper => {
                absent_is_fine(self.sleepers.remove(&pid)).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    /// Whether threads that sleep are told at all; [`Bpf::missing`] says why not.
    pub fn tells_threads(&self) -> bool {
        self.tells_threads
    }

    /// Every told thread that sleeps at `now_ns` and has for long enough, as the bytes of the
    /// record the kernel programs write when it wakes. A sleep that ends while this looks is in the
    /// ring buffer afterwards: read that next.
    pub fn sleepers(&self, now_ns: u64, mut sink: impl FnMut(WaitEvent)) -> Result<(), BpfError> {
        for entry in &self.sleepers {
            let (tid, MapValue(sleeper)) =
                entry.map_err(|source| BpfError::map("SLEEPERS", source))?;
            if !self.attached.contains_key(&sleeper.tgid) {
                continue;
            }
            // A thread that went to sleep while this looked has slept for no time yet.
            if now_ns.saturating_sub(sleeper.since_ns) < WAIT_MIN_NS {
                continue;
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
        Ok(())
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
