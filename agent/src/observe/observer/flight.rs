//! The latest past in memory, and how targets ended.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::decode::{self, KernelEvent};
use analysis::event::ProcessInfo;
use analysis::ids::Ns;
use wire::kernel::event_kind;

use super::{ObserveError, Observer, WorkerLogs};
use crate::flight::{Snapshot, Stats};
use crate::kernel_log::Xid;
use crate::observe::clock::now;
use crate::observe::target::Target;

/// Ends told that nobody asked for, and statuses of processes that are not buried yet. Only bound memory.
const ENDINGS_MAX: usize = 256;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowEnded {
    Code(u8),
    Signal {
        number: u8,
        core: bool,
    },
    /// Nobody told.
    Unknown,
}

impl HowEnded {
    /// From what `wait` tells.
    pub fn from_status(status: u32) -> Self {
        let low = |shift: u32, mask: u32| u8::try_from(status >> shift & mask).unwrap_or(0);
        match low(0, 0x7f) {
            0 => Self::Code(low(8, 0xff)),
            number => Self::Signal { number, core: status & 0x80 != 0 },
        }
    }
}

/// A target that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub info: ProcessInfo,
    pub at: Ns,
    /// It launched work: its ring was read.
    pub worker: bool,
    pub how: HowEnded,
    /// Of its device, shortly before.
    pub xid: Option<Xid>,
}

/// What is known of ends until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Endings {
    statuses: HashMap<u32, u32>,
    told: Vec<Ending>,
    /// Of those.
    logs: Vec<WorkerLogs>,
}

impl Endings {
    /// The kernel's word on how a process ended.
    pub(super) fn hear(&mut self, event: &[u8]) {
        let kind = event.first_chunk().copied().map(u32::from_ne_bytes);
        if kind == Some(event_kind::EXIT)
            && let Ok(KernelEvent::Exit { tgid, status: Some(status), .. }) =
                decode::kernel_event(event)
        {
            if self.statuses.len() >= ENDINGS_MAX {
                self.statuses.clear();
            }
            self.statuses.insert(tgid, status);
        }
    }

    /// How it ended.
    pub(super) fn bury(&mut self, target: &Target, at: Ns, xid: Option<Xid>) -> HowEnded {
        let status = self.statuses.remove(&target.pid);
        let how = status.map_or(HowEnded::Unknown, HowEnded::from_status);
        if self.told.len() < ENDINGS_MAX {
            let worker = target.ring.is_some();
            self.logs.push(WorkerLogs { pid: target.pid, sources: Arc::clone(&target.logs) });
            self.told.push(Ending { info: target.info.clone(), at, worker, how, xid });
        }
        how
    }
}

impl Observer {
    /// The latest past as it is at this instant; `None` where it is not kept.
    pub fn flight(&mut self) -> Result<Option<Snapshot>, ObserveError> {
        if self.flight.is_some() {
            self.look_at_sleepers()?;
        }
        Ok(self.flight.as_mut().map(|flight| flight.snapshot(now())))
    }

    /// How much of the past is kept.
    pub fn flight_stats(&self) -> Option<Stats> {
        self.flight.as_ref().map(|flight| flight.stats(now()))
    }

    /// Targets that ended since the last call.
    pub fn take_endings(&mut self) -> Vec<Ending> {
        std::mem::take(&mut self.endings.told)
    }

    /// Logs of targets that ended since the last call.
    pub fn take_logs_of_ended(&mut self) -> Vec<WorkerLogs> {
        std::mem::take(&mut self.endings.logs)
    }

    pub(super) fn turn_flight(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.turn(now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_wait_tells_them() {
        assert_eq!(HowEnded::from_status(0), HowEnded::Code(0));
        assert_eq!(HowEnded::from_status(3 << 8), HowEnded::Code(3));
        assert_eq!(HowEnded::from_status(9), HowEnded::Signal { number: 9, core: false });
        assert_eq!(HowEnded::from_status(0x8b), HowEnded::Signal { number: 11, core: true });
    }
}
